"""LeRobot datasets: layout, lossless round trip, atomic writing, statistics, refused datasets."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import DemoDataset, DemoInfo, Episode
from vla_ros.data.lerobot import writer as lerobot
from vla_ros.data.lerobot.episodes import load_demos, save_demos
from vla_ros.data.lerobot.reader import read_dataset, read_header
from vla_ros.data.lerobot.statistics import FeatureStatistics
from vla_ros.data.lerobot.writer import DatasetHeader, Frames, write_dataset

JOINTS = ("shoulder", "elbow", "gripper")
INFO = DemoInfo("pick_place", "so101", JOINTS, ("front", "wrist"), ("cube_x", "held"), 16, 0.05, 8)


def episode(seed: int, frames: int) -> Episode:
    rng = np.random.default_rng(seed)
    images = {name: rng.integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8) for name in INFO.cameras}
    arrays = [rng.normal(size=(frames, *shape)).astype(np.float32) for shape in ((3,), (8, 3), (2,))]
    return Episode(images, *arrays, f"task {seed % 2}", {"seed": seed})


EPISODES = [episode(0, 4), episode(1, 7), episode(2, 5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_demos(tmp_path / "set", INFO, EPISODES, fps=10)
    return tmp_path / "set"


def same(data: DemoDataset, info: DemoInfo = INFO, episodes: Sequence[Episode] = EPISODES) -> None:
    assert data.info == info
    assert len(data.episodes) == len(episodes)
    for back, expected in zip(data.episodes, episodes, strict=True):
        assert (back.instruction, back.metadata) == (expected.instruction, expected.metadata)
        for name in ("joints", "labels", "ground_truth"):
            np.testing.assert_array_equal(getattr(back, name), getattr(expected, name))
            assert getattr(back, name).dtype == np.float32
        for name in info.cameras:
            np.testing.assert_array_equal(back.images[name], expected.images[name])


def test_round_trip_without_loss(folder: Path) -> None:
    same(load_demos(folder))


def test_files(folder: Path) -> None:
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert names == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
    ]
    assert [p.name for p in folder.parent.iterdir()] == ["set"]


def test_info(folder: Path) -> None:
    info = json.loads((folder / "meta" / "info.json").read_text())
    expected = {
        "codebase_version": "v3.0",
        "robot_type": "so101",
        "fps": 10,
        "total_episodes": 3,
        "total_frames": 16,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "splits": {"train": "0:3"},
    }
    assert {key: info[key] for key in expected} == expected
    assert info["features"]["observation.state"] == {"dtype": "float32", "shape": [3], "names": list(JOINTS)}
    assert info["features"]["observation.images.front"] == {
        "dtype": "image",
        "shape": [16, 16, 3],
        "names": ["height", "width", "channels"],
    }
    for key, dtype in (("timestamp", "float32"), ("index", "int64"), ("task_index", "int64")):
        assert info["features"][key] == {"dtype": dtype, "shape": [1], "names": None}


def test_data(folder: Path) -> None:
    file = pq.ParquetFile(folder / "data" / "chunk-000" / "file-000.parquet")
    assert file.num_row_groups == 3
    table = file.read()
    assert table.schema.field("action").type == pa.list_(pa.float32(), 3)
    assert table.schema.field("observation.images.front").type == lerobot.IMAGE
    assert table.column_names == list(json.loads((folder / "meta" / "info.json").read_text())["features"])
    assert table["index"].to_pylist() == list(range(16))
    assert table["frame_index"].to_pylist() == [*range(4), *range(7), *range(5)]
    assert table["episode_index"].to_pylist() == [0] * 4 + [1] * 7 + [2] * 5
    assert table["task_index"].to_pylist() == [0] * 4 + [1] * 7 + [0] * 5
    np.testing.assert_array_equal(table["timestamp"], (np.array(table["frame_index"]) / 10).astype(np.float32))
    # The target one frame (two waypoints) later.
    np.testing.assert_array_equal(np.stack(table["action"].to_pylist())[:4], EPISODES[0].labels[:, 1])


def test_episodes_and_tasks(folder: Path) -> None:
    rows = pq.read_table(folder / "meta" / "episodes").to_pylist()
    assert {key: value for key, value in rows[1].items() if not key.startswith("stats/")} == {
        "episode_index": 1,
        "tasks": ["task 1"],
        "length": 7,
        "data/chunk_index": 0,
        "data/file_index": 0,
        "dataset_from_index": 4,
        "dataset_to_index": 11,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }
    tasks = pq.read_table(folder / "meta" / "tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["task 0", "task 1"]}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics(folder: Path) -> None:
    stats = json.loads((folder / "meta" / "stats.json").read_text())
    state = np.concatenate([e.joints for e in EPISODES]).astype(np.float64)
    np.testing.assert_allclose(stats["observation.state"]["mean"], state.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(stats["observation.state"]["std"], state.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(stats["observation.state"]["q90"], np.quantile(state, 0.9, axis=0), rtol=1e-12)
    assert stats["observation.state"]["count"] == [16]
    pixels = np.concatenate([e.images["front"] for e in EPISODES]).reshape(-1, 3) / 255.0
    front = {key: np.array(value) for key, value in stats["observation.images.front"].items()}
    assert front["mean"].shape == (3, 1, 1)
    np.testing.assert_allclose(front["mean"].ravel(), pixels.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(front["std"].ravel(), pixels.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(front["q10"].ravel(), np.quantile(pixels, 0.1, axis=0), atol=1 / 255)
    assert stats["frame_index"]["max"] == [6.0]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_statistics_of_an_episode_equal_those_of_its_own_dataset(tmp_path: Path, folder: Path, number: int) -> None:
    row = pq.read_table(folder / "meta" / "episodes").to_pylist()[number]
    save_demos(tmp_path / "alone", INFO, [EPISODES[number]], fps=10)
    alone = json.loads((tmp_path / "alone" / "meta" / "stats.json").read_text())
    of_the_dataset = ("episode_index", "index", "task_index")  # indices start at 0 in a dataset of one episode
    own = {key: value for key, value in row.items() if key.startswith("stats/")}
    assert set(own) == {f"stats/{key}/{name}" for key, stats in alone.items() for name in stats}
    assert {k for k in own if k.startswith("stats/action/")} == {
        f"stats/action/{name}" for name in ("min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99")
    }
    for key in alone.keys() - set(of_the_dataset):
        assert {name: own[f"stats/{key}/{name}"] for name in alone[key]} == alone[key], key
    assert own["stats/episode_index/min"] == own["stats/episode_index/max"] == [number]
    assert own["stats/index/count"] == [len(EPISODES[number])]
    np.testing.assert_allclose(own["stats/observation.state/mean"], EPISODES[number].joints.mean(axis=0), rtol=1e-5)


def test_a_single_colour_has_zero_deviation() -> None:
    statistics = FeatureStatistics()
    statistics.add(np.full((2, 4, 4, 3), 51, dtype=np.uint8))
    stats = statistics.result()
    assert stats["std"] == [[[0.0]]] * 3
    assert stats["q01"] == stats["max"] == [[[0.2]]] * 3


def test_files_are_split_at_the_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lerobot, "FILE_BYTES", 1)
    monkeypatch.setattr(lerobot, "FILES_PER_CHUNK", 2)
    save_demos(tmp_path / "set", INFO, EPISODES, fps=20)
    paths = [f"chunk-00{c}/file-00{f}.parquet" for c, f in ((0, 0), (0, 1), (1, 0))]
    assert sorted(str(p.relative_to(tmp_path / "set" / "data")) for p in tmp_path.glob("set/data/*/*")) == paths
    rows = pq.read_table(tmp_path / "set" / "meta" / "episodes").to_pylist()
    assert [(r["data/chunk_index"], r["data/file_index"]) for r in rows] == [(0, 0), (0, 1), (1, 0)]
    same(load_demos(tmp_path / "set"))


def test_a_feature_with_one_value(tmp_path: Path) -> None:
    header = DatasetHeader(30, "r", {"action": ("x",)}, {})
    write_dataset(tmp_path / "set", header, [Frames({"action": np.ones((3, 1), dtype=np.float32)}, {}, "go")])
    assert pq.read_table(tmp_path / "set" / "data").schema.field("action").type == pa.float32()
    (back,) = read_dataset(tmp_path / "set")
    assert back.vectors["action"].shape == (3, 1)


def test_episodes_are_not_kept_in_memory(tmp_path: Path) -> None:
    references: list[weakref.ref[Episode]] = []

    def made() -> Iterator[Episode]:
        for seed in range(4):
            assert sum(ref() is not None for ref in references) <= 1  # the last
            one = episode(seed, 4)
            references.append(weakref.ref(one))
            yield one

    save_demos(tmp_path / "set", INFO, made(), fps=10)
    assert len(references) == 4


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[Episode]:
        yield EPISODES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_demos(tmp_path / "set", INFO, broken(), fps=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("invalid", "fps", "message"),
    [
        (replace(EPISODES[0], joints=np.zeros((4, 2), dtype=np.float32)), 10, "joints of an episode must have shape"),
        (replace(EPISODES[0], images={}), 10, "images of front"),
        (
            replace(EPISODES[0], ground_truth=np.full((4, 2), np.nan, dtype=np.float32)),
            10,
            "ground_truth .* must be finite",
        ),
        (EPISODES[0], 7, "is not a multiple of the waypoint period"),
        (EPISODES[0], 0, "is not a multiple of the waypoint period"),
        (EPISODES[0], 1, "is not a multiple of the waypoint period"),
    ],
)
def test_an_invalid_episode_leaves_nothing(invalid: Episode, fps: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        save_demos(tmp_path / "set", INFO, [EPISODES[1], invalid], fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (DatasetHeader(10, "r", {"a/b": ("x",)}, {}), "a/b"),
        (DatasetHeader(10, "r", {"index": ("x",)}, {}), "index"),
        (DatasetHeader(10, "r", {}, {}), "at least one vector feature"),
        (DatasetHeader(10.5, "r", {"a": ("x",)}, {}), "integer number of frames"),
    ],
)
def test_invalid_headers_are_refused(header: DatasetHeader, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        write_dataset(tmp_path / "set", header, [])


def test_an_existing_folder_and_no_episodes_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="already exists"):
        save_demos(folder, INFO, EPISODES, fps=10)
    with pytest.raises(ConfigError, match="at least one episode"):
        save_demos(folder.parent / "other", INFO, [], fps=10)
    assert [p.name for p in folder.parent.iterdir()] == ["set"]


def change(folder: Path, **values) -> None:
    path = folder / "meta" / "info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_extra(folder: Path, **values) -> None:
    extra = json.loads((folder / "meta" / "info.json").read_text())["vla_ros"]
    change(folder, vla_ros={**extra, **values})


def empty(folder: Path) -> None:
    file = folder / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(file).slice(0, 0), file)


DAMAGE = [
    (lambda f: change(f, fps=29.97), "has 29.97 frames per second; .* an integer"),
    (lambda f: change(f, fps=0), "has 0 frames per second"),
    (lambda f: change_extra(f, metadata=[]), r"does not match its info.json .*sizes"),
    (lambda f: change_extra(f, demonstrations={**INFO.to_json(), "cameras": ["top"]}), r"\['observation.images.top'\]"),
    (empty, "is damaged"),
    (lambda f: (f / "meta" / "info.json").unlink(), "is not a LeRobot dataset"),
    (lambda f: (f / "meta" / "info.json").write_text("[]"), "is not a LeRobot dataset"),
    (lambda f: change(f, codebase_version="v2.1"), "reads v3.0"),
    (lambda f: change(f, total_frames=17), "has 16 frames; its info.json declares 17"),
    (lambda f: change(f, vla_ros={}), "not one of demonstrations"),
    (lambda f: (f / "meta" / "tasks.parquet").unlink(), "is damaged"),
    (lambda f: (f / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1, interrupted"), "is damaged"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_a_damaged_dataset_is_refused(damage, message: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(ConfigError, match=message):
        load_demos(folder)


def test_header(folder: Path) -> None:
    header, info = read_header(folder)
    assert (header.fps, header.robot, header.vectors["action"], header.images["observation.images.wrist"]) == (
        *(10, "so101", JOINTS),
        (16, 16),
    )
    assert info["vla_ros"]["metadata"][2] == {"seed": 2}
