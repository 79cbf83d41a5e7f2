"""LeRobot datasets as training data: label times, names, units, cameras, video, invalid input."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.config import load_robot
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.data.episodes import DemoInfo, Episode
from vla_ros.data.lerobot.episodes import load_demos, save_demos
from vla_ros.data.lerobot.reader import read_dataset
from vla_ros.data.lerobot.training_data import DataConfig, chunk_labels, load_lerobot
from vla_ros.data.lerobot.writer import DatasetHeader, Frames, write_dataset

JOINTS = load_robot("so101").joints
WAYPOINTS, DT_S = 8, 0.05
NO_AV = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason='needs PyAV: pip install "vla_ros[video]"')


def write(
    folder: Path, names: tuple[str, ...] = JOINTS, state: Any = None, key: str = "observation.images.front"
) -> Path:
    """Write two episodes of 6 and 9 frames at 10 per second; the action is the state one frame later."""
    vectors = {"observation.state": names, "action": names}
    episodes = []
    for number, length in enumerate((6, 9)):
        path = np.linspace(0.0, 0.1 * length, length + 1)[:, None] * np.linspace(0.2, 1.0, 6)
        images = {key: np.full((length, 20, 30, 3), (250, 20 * number, 0), dtype=np.uint8)}
        values = {"observation.state": path[:-1].astype(np.float32), "action": path[1:].astype(np.float32)}
        if state is not None:
            values["observation.state"] = state(values["observation.state"])
        episodes.append(Frames(values, images, f"task {number}"))
    write_dataset(folder, DatasetHeader(10, "anything", vectors, {key: (20, 30)}), episodes)
    return folder


def load(folder: Path, **settings: Any) -> list[tuple[DemoInfo, Episode]]:
    return list(load_lerobot(DataConfig(str(folder), **settings), "t", "so101", ("front",), 16, WAYPOINTS, DT_S))


def test_labels_have_the_times_of_the_chunk() -> None:
    # Action i is the target at time (i+1)/fps: linear between these points, the last one is held.
    times = np.arange(1, 8) / 10
    actions = np.stack([times, 3.0 - 2.0 * times], axis=1).astype(np.float32)
    labels = chunk_labels(actions, 10.0, WAYPOINTS, DT_S)
    assert labels.shape == (7, 8, 2)
    expected = np.clip(np.arange(7)[:, None] / 10 + 0.05 * np.arange(1, 9), 0.1, 0.7)
    np.testing.assert_allclose(labels[..., 0], expected, atol=1e-6)
    np.testing.assert_allclose(labels[..., 1], 3.0 - 2.0 * expected, atol=1e-6)


def test_exported_datasets_give_the_first_waypoints_back(tmp_path: Path) -> None:
    """The action that `save_demos` writes is the label one frame later, and is read back as this label."""
    rng = np.random.default_rng(0)
    info = DemoInfo("t", "so101", JOINTS, ("front",), (), 16, 0.05, 8)
    labels = (0.1 * rng.normal(size=(5, 8, 6))).astype(np.float32)
    arrays = (np.zeros((5, 6), np.float32), labels, np.zeros((5, 0), np.float32))
    episode = Episode({"front": np.zeros((5, 16, 16, 3), np.uint8)}, *arrays, "go")
    save_demos(tmp_path / "set", info, [episode], fps=10)
    ((back, made),) = load(tmp_path / "set")
    assert back == info
    np.testing.assert_allclose(made.labels[:, 1], labels[:, 1], atol=1e-6)
    np.testing.assert_allclose(made.labels[:-1, 3], labels[1:, 1], atol=1e-6)


def test_another_dataset_becomes_demonstrations(tmp_path: Path) -> None:
    names = tuple(f"{n}.pos" for n in JOINTS)
    rows = load(
        write(tmp_path / "set", names, key="observation.images.top"), cameras={"front": "observation.images.top"}
    )
    info, episode = rows[1]
    assert (info.joints, info.robot, info.cameras, len(rows)) == (JOINTS, "so101", ("front",), 2)
    assert (episode.instruction, len(episode), episode.metadata) == ("task 1", 9, {"episode": 1})
    assert episode.images["front"].shape == (9, 16, 16, 3)
    assert episode.images["front"][4, 8, 8].tolist() == [250, 20, 0]
    np.testing.assert_allclose(episode.labels[0, 1], 0.1 * np.linspace(0.2, 1.0, 6), atol=1e-6)
    np.testing.assert_allclose(episode.labels[-1, 1:], np.tile(0.9 * np.linspace(0.2, 1.0, 6), (7, 1)), atol=1e-6)


def test_units_and_order_of_columns(tmp_path: Path) -> None:
    names = ("g", *(f"m{k}" for k in range(5)))
    folder = write(tmp_path / "set", names)
    joints = (JOINTS[5], *JOINTS[:5])
    info, episode = load(folder, joints=joints, units="deg", scale={JOINTS[5]: 0.5})[0]
    assert info.joints == joints
    plain = np.linspace(0.0, 0.6, 7)[:-1, None] * np.linspace(0.2, 1.0, 6)
    np.testing.assert_allclose(episode.joints[:, 0], 0.5 * plain[:, 0], atol=1e-6)
    np.testing.assert_allclose(episode.joints[:, 1:], np.radians(plain[:, 1:]), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cameras": {"front": "observation.images.side"}}, 'no camera "front" .*side.; it has front: select'),
        ({"joints": JOINTS[:5]}, r"has 6 columns .*; robot \"so101\" has"),
        ({"joints": (*JOINTS[:5], "jaw")}, "has 6 columns .*jaw"),
        ({"scale": {"griper": 2.0}}, 'did you mean "gripper"'),
        ({"units": "degree"}, 'unknown value of data.units "degree"'),
        ({"scale": {"gripper": 0.0}}, "must be finite and not 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    folder = write(tmp_path / "set")
    with pytest.raises((ConfigError, UnknownName), match=message):
        load(folder, **settings)


def test_other_joints_a_missing_camera_and_degrees_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'has 6 columns .a, b, c, d, e, f.; robot "so101" has shoulder_pan'):
        load(write(tmp_path / "names", tuple("abcdef")))
    with pytest.raises(ConfigError, match=r'no camera "front" .observation.images.front.; it has top'):
        load(write(tmp_path / "camera", key="observation.images.top"))
    with pytest.raises(ConfigError, match=r"shoulder_pan has median 90, .*set data.units=deg"):
        load(write(tmp_path / "degrees", state=lambda x: 0 * x + 90.0))


def test_names_of_converted_datasets_are_read(tmp_path: Path) -> None:
    info = write(tmp_path / "set") / "meta" / "info.json"
    data = json.loads(info.read_text())
    for key in ("observation.state", "action"):
        data["features"][key]["names"] = {"motors": list(JOINTS)}
    info.write_text(json.dumps(data))
    assert load(tmp_path / "set")[0][0].joints == JOINTS
    info.write_text(json.dumps({**data, "codebase_version": "v2.1"}))
    with pytest.raises(ConfigError, match=r"v2.1; this version reads v3.0: convert it"):
        load(tmp_path / "set")


def test_columns_with_the_robots_names_are_not_permuted(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", tuple(f"{n}.pos" for n in JOINTS))
    assert load(folder, joints=JOINTS)[0][0].joints == JOINTS
    with pytest.raises(ConfigError, match=r"names its columns shoulder_pan, .*data.joints would permute them"):
        load(folder, joints=JOINTS[::-1])


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = write(tmp_path / "set")
    file = folder / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(file)
    values = np.stack(table["action"].to_pylist()).astype(np.float32)
    values[8, 5] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), from_pandas=False), 6)
    pq.write_table(table.set_column(table.column_names.index("action"), "action", column), file)
    with pytest.raises(ConfigError, match="action of episode 1 is not finite at frame 2, joint gripper"):
        load(folder)


def test_a_folder_without_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a LeRobot dataset"):
        load(tmp_path)


# ---- video -----------------------------------------------------------------------------------------------------------


def write_video_dataset(folder: Path, side: int = 32) -> tuple[DemoInfo, list[Episode], Path]:
    """Write images of a moving bright square, so that every frame differs from its neighbours."""
    info, rng, episodes = DemoInfo("t", "so101", JOINTS, ("front",), (), side, 0.05, 8), np.random.default_rng(0), []
    for number, length in enumerate((5, 8)):
        images = np.full((length, side, side, 3), 40 + 60 * number, dtype=np.uint8)
        for k in range(length):
            images[k, 4:20, 2 * k : 2 * k + 12] = (220, 200, 180)
        arrays = (rng.normal(size=(length, *s)).astype(np.float32) for s in ((6,), (8, 6), (0,)))
        episodes.append(Episode({"front": images}, *arrays, f"task {number}", {"seed": number}))
    save_demos(folder / "video", info, episodes, fps=10, video=True)
    return info, episodes, folder / "video"


@NO_AV
def test_videos_are_read_back_frame_by_frame(tmp_path: Path) -> None:
    _, episodes, folder = write_video_dataset(tmp_path)
    assert sorted(p.name for p in folder.rglob("*.mp4")) == ["file-000.mp4", "file-001.mp4"]
    for back, expected in zip(load_demos(folder).episodes, episodes, strict=True):
        decoded, original = (e.images["front"].astype(float) for e in (back, expected))
        deviation = np.abs(decoded[:, None] - original[None]).mean(axis=(2, 3, 4))
        assert (deviation.argmin(axis=1) == np.arange(len(expected))).all()
        assert deviation.diagonal().max() < 6.0
        np.testing.assert_array_equal(back.labels, expected.labels)


@NO_AV
def test_a_truncated_or_damaged_video_is_refused(tmp_path: Path) -> None:
    _, _, folder = write_video_dataset(tmp_path)
    first, second = sorted(folder.rglob("*.mp4"))
    second.write_bytes(first.read_bytes())
    with pytest.raises(ConfigError, match="ends 3 frames too early"):
        list(read_dataset(folder))
    second.write_bytes(b"not a video")
    with pytest.raises(ConfigError, match="cannot be decoded"):
        list(read_dataset(folder))
    assert len(list(read_dataset(folder, images=()))) == 2  # the video is not read


@pytest.mark.skipif(importlib.util.find_spec("av") is not None, reason="PyAV is installed")
def test_without_pyav_a_video_is_refused(tmp_path: Path) -> None:
    header = DatasetHeader(
        10, "r", {"action": ("a",)}, {"observation.images.front": (4, 4)}, {}, ("observation.images.front",)
    )
    frames = Frames(
        {"action": np.zeros((2, 1), np.float32)}, {"observation.images.front": np.zeros((2, 4, 4, 3), np.uint8)}, "go"
    )
    with pytest.raises(ConfigError, match="need PyAV"):
        write_dataset(tmp_path / "set", header, [frames])
    assert list(tmp_path.iterdir()) == []
    assert replace(header, videos=()).features()["observation.images.front"]["dtype"] == "image"
