"""The real LeRobot opens what we write, and we read what it writes.

It needs an environment of its own, for LeRobot asks for other versions of torch than we do: put the path of its
Python into `VLA_LEROBOT_PYTHON`. Without it, and without LeRobot here, the test is skipped.
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
from data.test_source import NO_AV, film

from vla_ros.cli import main
from vla_ros.data.episodes import DemoDataset
from vla_ros.data.lerobot.episodes import save_demos
from vla_ros.data.lerobot.reader import read_dataset, read_head
from vla_ros.data.lerobot.writer import write_dataset

PYTHON = os.environ.get("VLA_LEROBOT_PYTHON") or (sys.executable if importlib.util.find_spec("lerobot") else "")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="LeRobot is not installed; VLA_LEROBOT_PYTHON names a Python that has it"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demos: Path) -> Path:
    root = tmp_path_factory.mktemp("lerobot")
    save_demos(root / "ours", INFO, EPISODES, fps=10)
    assert main(["export", str(demos), str(root / "exported")]) == 0
    script = Path(__file__).with_name("real_lerobot.py")
    with_film = importlib.util.find_spec("av") is not None
    if with_film:
        film(root, 64)
    moving = root / "film" if with_film else "none"
    places = (root / "ours", moving, root / "exported", root / "theirs", root / "seen.npz")
    command = [PYTHON, str(script), *map(str, places)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "hf"), "PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def test_lerobot_opens_what_we_write(folder: Path) -> None:
    seen = np.load(folder / "seen.npz")
    assert (seen["episodes"], seen["frames"], seen["fps"], str(seen["robot"])) == (3, 16, 10, "so101")
    assert seen["starts"].tolist() == [0, 4, 11]
    assert seen["tasks"].tolist() == [e.instruction for e in EPISODES for _ in range(len(e))]
    assert set(seen["features"]) == {
        "action",
        "observation.images.front",
        "observation.images.wrist",
        "observation.state",
    }
    joints = np.concatenate([e.joints for e in EPISODES])
    np.testing.assert_array_equal(seen["observation.state"], joints)
    np.testing.assert_allclose(seen["mean"], joints.mean(axis=0), rtol=1e-5)
    assert seen["front_mean"].shape == (3, 1, 1)
    labels = np.concatenate([e.labels for e in EPISODES])
    np.testing.assert_array_equal(seen["labels"], labels.reshape(16, -1))
    np.testing.assert_array_equal(seen["truth"], np.concatenate([e.truth for e in EPISODES]))
    np.testing.assert_array_equal(seen["action"][:, 0], labels[:, 1])
    last = np.isin(np.arange(16), [3, 10, 15])
    assert (seen["action_is_pad"] == np.stack([np.zeros(16, bool), last], axis=1)).all()
    np.testing.assert_array_equal(seen["action"][~last, 1], labels[1:, 1][~last[:-1]])
    for name in INFO.cameras:
        np.testing.assert_array_equal(seen[name], np.concatenate([e.images[name] for e in EPISODES]))
    np.testing.assert_array_equal(seen["part"], EPISODES[1].joints)


def test_lerobot_opens_what_was_recorded_and_exported(folder: Path, demos: Path) -> None:
    seen, recorded = np.load(folder / "seen.npz"), DemoDataset(demos)
    count = len(recorded)
    assert seen["exported.fps"] == 10
    assert seen["exported.task"].tolist() == ["put the red cube in the bowl"] * count
    np.testing.assert_array_equal(seen["exported.episode_index"], recorded.locate(np.arange(count))[:, 0])
    np.testing.assert_allclose(seen["exported.timestamp"], recorded.locate(np.arange(count))[:, 1] / 10, atol=1e-6)
    np.testing.assert_array_equal(seen["exported.observation.state"], recorded.stacked("joints"))
    np.testing.assert_array_equal(seen["exported.action"], recorded.stacked("labels")[:, 1])
    for name in ("front", "wrist"):
        images = np.concatenate([e.images[name] for e in recorded.episodes])
        np.testing.assert_array_equal(seen[f"exported.{name}"], images)


def test_lerobot_takes_an_episode_out_and_describes_the_rest(folder: Path, demos: Path) -> None:
    """It makes the new statistics of those per episode, which we wrote."""
    seen, left = np.load(folder / "seen.npz"), DemoDataset(demos).episodes[1]
    np.testing.assert_array_equal(seen["rest.state"], left.joints)
    np.testing.assert_allclose(seen["rest.mean"], left.joints.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(seen["rest.std"], left.joints.std(axis=0), rtol=1e-4)
    assert seen["rest.count"].tolist() == [len(left)]
    colours = left.images["front"].reshape(-1, 3).mean(axis=0) / 255.0
    np.testing.assert_allclose(seen["rest.front"], colours[:, None, None], rtol=1e-6)


def test_statistics_per_episode_are_those_lerobot_writes(folder: Path) -> None:
    """In name, type and value; only its quantiles are rough, and its deviation of pixels overflows their 8 bits."""
    theirs = pq.read_table(folder / "theirs" / "meta" / "episodes")
    head, _ = read_head(folder / "theirs")
    write_dataset(folder / "again", head, read_dataset(folder / "theirs"))
    ours = pq.read_table(folder / "again" / "meta" / "episodes")
    for name in (n for n in theirs.column_names if "next.done" not in n):  # a bool there, a number here
        assert ours.schema.field(name).type == theirs.schema.field(name).type, name
        rough = name.rpartition("/")[2].startswith("q") or name.endswith("front/std")
        for mine, wanted in zip(ours[name].to_pylist(), theirs[name].to_pylist(), strict=True):
            if name.startswith("stats/") and not rough:
                np.testing.assert_allclose(mine, wanted, rtol=1e-6, atol=1e-9, err_msg=name)
            elif not name.startswith("stats/"):
                assert mine == wanted, name
    assert set(ours.column_names) == set(theirs.column_names)


def test_we_read_what_lerobot_writes(folder: Path) -> None:
    head, _ = read_head(folder / "theirs")
    assert (head.fps, head.robot, head.vectors["action"]) == (10, "r", ("a", "b"))
    episodes = list(read_dataset(folder / "theirs"))
    assert [(len(e), e.task) for e in episodes] == [(3, "task 0"), (5, "task 1")]
    for number, episode in enumerate(episodes):
        k = np.arange(len(episode))
        np.testing.assert_array_equal(episode.vectors["observation.state"], np.stack([k * 0 + number, k], axis=1))
        assert episode.vectors["next.done"][:, 0].tolist() == [0.0] * (len(episode) - 1) + [1.0]
        image = episode.images["observation.images.front"]
        np.testing.assert_array_equal(image[:, 3, 5], np.stack([10 * k, k * 0 + number, k * 0 + 200], axis=1))


@NO_AV
def test_lerobot_sees_our_film_and_we_see_theirs(folder: Path, tmp_path: Path) -> None:
    drawn = np.concatenate([e.images["front"] for e in film(tmp_path, 64)[1]]).astype(float)
    shots = np.load(folder / "seen.npz")["film"].astype(float)
    assert shots.shape == drawn.shape
    assert np.abs(shots - drawn).mean() < 6.0
    head, _ = read_head(folder / "theirs_film")
    assert head.videos == ("observation.images.front",)
    episodes = list(read_dataset(folder / "theirs_film"))
    assert [len(e) for e in episodes] == [4, 6]
    for episode in episodes:  # several episodes share one of their films
        for k, image in enumerate(episode.images["observation.images.front"].astype(float)):
            wanted = np.full((64, 64, 3), 30.0)
            wanted[:, 8 * k : 8 * k + 16] = 220.0
            assert np.abs(image - wanted).mean() < 12.0, k
