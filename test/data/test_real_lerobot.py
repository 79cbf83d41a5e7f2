"""LeRobot reads datasets of this package, and this package reads those of LeRobot.

LeRobot needs other versions of torch and therefore its own environment: set `VLA_LEROBOT_PYTHON` to its Python. Without
it, and without LeRobot in this environment, the tests are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from data.test_lerobot import EPISODES, INFO
from data.test_training_data import NO_AV, write_video_dataset

from vla_ros.cli import main
from vla_ros.data.episodes import DemoDataset
from vla_ros.data.lerobot.episodes import save_demos
from vla_ros.data.lerobot.reader import read_dataset, read_header
from vla_ros.data.lerobot.writer import write_dataset

PYTHON = os.environ.get("VLA_LEROBOT_PYTHON") or (sys.executable if importlib.util.find_spec("lerobot") else "")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="LeRobot is not installed; set VLA_LEROBOT_PYTHON to a Python that has it"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demos: Path) -> Path:
    root = tmp_path_factory.mktemp("lerobot")
    save_demos(root / "ours", INFO, EPISODES, fps=10)
    assert main(["export", str(demos), str(root / "exported")]) == 0
    script = Path(__file__).with_name("real_lerobot.py")
    with_video = importlib.util.find_spec("av") is not None
    if with_video:
        write_video_dataset(root, 64)
    video = root / "video" if with_video else "none"
    paths = (root / "ours", video, root / "exported", root / "theirs", root / "result.npz")
    command = [PYTHON, str(script), *map(str, paths)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "hf"), "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def test_lerobot_reads_our_datasets(folder: Path) -> None:
    result = np.load(folder / "result.npz")
    assert (result["episodes"], result["frames"], result["fps"], str(result["robot"])) == (3, 16, 10, "so101")
    assert result["starts"].tolist() == [0, 4, 11]
    assert result["tasks"].tolist() == [e.instruction for e in EPISODES for _ in range(len(e))]
    assert set(result["features"]) == {
        "action",
        "observation.images.front",
        "observation.images.wrist",
        "observation.state",
    }
    joints = np.concatenate([e.joints for e in EPISODES])
    np.testing.assert_array_equal(result["observation.state"], joints)
    np.testing.assert_allclose(result["mean"], joints.mean(axis=0), rtol=1e-5)
    assert result["front_mean"].shape == (3, 1, 1)
    labels = np.concatenate([e.labels for e in EPISODES])
    np.testing.assert_array_equal(result["labels"], labels.reshape(16, -1))
    np.testing.assert_array_equal(result["ground_truth"], np.concatenate([e.ground_truth for e in EPISODES]))
    np.testing.assert_array_equal(result["action"][:, 0], labels[:, 1])
    last = np.isin(np.arange(16), [3, 10, 15])
    assert (result["action_is_pad"] == np.stack([np.zeros(16, bool), last], axis=1)).all()
    np.testing.assert_array_equal(result["action"][~last, 1], labels[1:, 1][~last[:-1]])
    for name in INFO.cameras:
        np.testing.assert_array_equal(result[name], np.concatenate([e.images[name] for e in EPISODES]))
    np.testing.assert_array_equal(result["part"], EPISODES[1].joints)


def test_lerobot_reads_exported_demonstrations(folder: Path, demos: Path) -> None:
    result, recorded = np.load(folder / "result.npz"), DemoDataset(demos)
    count = len(recorded)
    assert result["exported.fps"] == 10
    assert result["exported.task"].tolist() == ["put the red cube in the bowl"] * count
    np.testing.assert_array_equal(result["exported.episode_index"], recorded.locate(np.arange(count))[:, 0])
    np.testing.assert_allclose(result["exported.timestamp"], recorded.locate(np.arange(count))[:, 1] / 10, atol=1e-6)
    np.testing.assert_array_equal(result["exported.observation.state"], recorded.stacked("joints"))
    np.testing.assert_array_equal(result["exported.action"], recorded.stacked("labels")[:, 1])
    for name in ("front", "wrist"):
        images = np.concatenate([e.images[name] for e in recorded.episodes])
        np.testing.assert_array_equal(result[f"exported.{name}"], images)


def test_lerobot_deletes_an_episode_and_recomputes_the_statistics(folder: Path, demos: Path) -> None:
    """It computes the new statistics from those per episode, which we wrote."""
    result, left = np.load(folder / "result.npz"), DemoDataset(demos).episodes[1]
    np.testing.assert_array_equal(result["rest.state"], left.joints)
    np.testing.assert_allclose(result["rest.mean"], left.joints.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(result["rest.std"], left.joints.std(axis=0), rtol=1e-4)
    assert result["rest.count"].tolist() == [len(left)]
    colours = left.images["front"].reshape(-1, 3).mean(axis=0) / 255.0
    np.testing.assert_allclose(result["rest.front"], colours[:, None, None], rtol=1e-6)


def test_statistics_per_episode_equal_those_of_lerobot(folder: Path) -> None:
    """In name, type and value; LeRobot approximates quantiles, and its deviation of pixels overflows 8 bits."""
    theirs = pq.read_table(folder / "theirs" / "meta" / "episodes")
    header, _ = read_header(folder / "theirs")
    write_dataset(folder / "again", header, read_dataset(folder / "theirs"))
    ours = pq.read_table(folder / "again" / "meta" / "episodes")
    for name in (n for n in theirs.column_names if "next.done" not in n):  # LeRobot stores a bool, we store a number
        assert ours.schema.field(name).type == theirs.schema.field(name).type, name
        approximate = name.rpartition("/")[2].startswith("q") or name.endswith("front/std")
        for mine, expected in zip(ours[name].to_pylist(), theirs[name].to_pylist(), strict=True):
            if name.startswith("stats/") and not approximate:
                np.testing.assert_allclose(mine, expected, rtol=1e-6, atol=1e-9, err_msg=name)
            elif not name.startswith("stats/"):
                assert mine == expected, name
    assert set(ours.column_names) == set(theirs.column_names)


def test_we_read_datasets_of_lerobot(folder: Path) -> None:
    header, _ = read_header(folder / "theirs")
    assert (header.fps, header.robot, header.vectors["action"]) == (10, "r", ("a", "b"))
    episodes = list(read_dataset(folder / "theirs"))
    assert [(len(e), e.task) for e in episodes] == [(3, "task 0"), (5, "task 1")]
    for number, episode in enumerate(episodes):
        k = np.arange(len(episode))
        np.testing.assert_array_equal(episode.vectors["observation.state"], np.stack([k * 0 + number, k], axis=1))
        assert episode.vectors["next.done"][:, 0].tolist() == [0.0] * (len(episode) - 1) + [1.0]
        image = episode.images["observation.images.front"]
        np.testing.assert_array_equal(image[:, 3, 5], np.stack([10 * k, k * 0 + number, k * 0 + 200], axis=1))


@NO_AV
def test_videos_are_exchanged_in_both_directions(folder: Path, tmp_path: Path) -> None:
    original = np.concatenate([e.images["front"] for e in write_video_dataset(tmp_path, 64)[1]]).astype(float)
    decoded = np.load(folder / "result.npz")["video"].astype(float)
    assert decoded.shape == original.shape
    assert np.abs(decoded - original).mean() < 6.0
    header, _ = read_header(folder / "theirs_video")
    assert header.videos == ("observation.images.front",)
    episodes = list(read_dataset(folder / "theirs_video"))
    assert [len(e) for e in episodes] == [4, 6]
    for episode in episodes:  # several episodes share one video file of LeRobot
        for k, image in enumerate(episode.images["observation.images.front"].astype(float)):
            expected = np.full((64, 64, 3), 30.0)
            expected[:, 8 * k : 8 * k + 16] = 220.0
            assert np.abs(image - expected).mean() < 12.0, k
