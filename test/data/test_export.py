"""`./vla export`: recorded demonstrations are read back from the dataset; invalid input is one error."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data.test_lerobot import EPISODES, INFO, same
from data.test_training_data import NO_AV

from vla_ros.cli import main
from vla_ros.config import load_robot
from vla_ros.data.episodes import DemoDataset, DemoInfo, DemoWriter, read_episode
from vla_ros.data.lerobot.episodes import load_demos
from vla_ros.data.lerobot.reader import read_dataset
from vla_ros.data.lerobot.training_data import DataConfig, load_lerobot
from vla_ros.policy.network.checkpoint import load_checkpoint
from vla_ros.train import __main__ as training

WAYPOINTS, DT_S = 32, 0.05


@pytest.fixture(scope="module")
def dataset(demos: Path) -> Path:
    folder = demos.parent / "dataset"
    assert main(["export", str(demos), str(folder)]) == 0
    return folder


def test_demonstrations_are_read_back(demos: Path, dataset: Path) -> None:
    recorded = DemoDataset(demos)
    assert [e.metadata["seed"] for e in recorded.episodes] == [0, 1]
    assert {e.instruction for e in recorded.episodes} == {"put the red cube in the bowl"}
    assert np.ptp(recorded.stacked("joints"), axis=0).max() > 0.3  # it moved
    assert recorded.info is not None
    same(load_demos(dataset), recorded.info, recorded.episodes)


def test_training_data_match_the_demonstrations(demos: Path, dataset: Path) -> None:
    recorded = DemoDataset(demos)
    assert recorded.info is not None
    made = list(load_lerobot(DataConfig(str(dataset)), "pick_place", "so101", ("front", "wrist"), 32, WAYPOINTS, DT_S))
    for (info, back), expected in zip(made, recorded.episodes, strict=True):
        assert info == replace(recorded.info, ground_truth_names=())
        assert back.instruction == expected.instruction
        np.testing.assert_array_equal(back.joints, expected.joints)
        for name in info.cameras:
            np.testing.assert_array_equal(back.images[name], expected.images[name])
        # With a frame period of 0.1 s the action is the expert's target two waypoints later.
        np.testing.assert_allclose(back.labels[:, 1], expected.labels[:, 1], atol=1e-6)
        np.testing.assert_allclose(back.labels[:-1, 3], expected.labels[1:, 1], atol=1e-6)


def test_the_action_is_reached_one_frame_later(demos: Path, dataset: Path) -> None:
    """Checked with the measured positions: a wrong frame rate or a shifted row would change the offset."""
    (frames,) = {len(e) for e in DemoDataset(demos).episodes}
    for episode in read_dataset(dataset):
        state, action = episode.vectors["observation.state"], episode.vectors["action"]
        deviation = [np.abs(state[k:] - action[: frames - k]).mean() for k in range(4)]
        assert deviation[1] == min(deviation)
        assert deviation[1] < 0.005  # rad; the motion of one frame is about 0.02


def test_training_on_the_dataset(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _n: None)
    network = (
        "network={channels: 4, keypoints: 4, language: hash, transformer: {width: 16, layers: 1, attention_heads: 2}}"
    )
    settings = ["image_size=32", "batch=4", "steps=2", "evaluate=0", network, "track={held_out: 0, validate: 0}"]
    assert training.main([f"data={dataset}", *settings, "--out", str(tmp_path / "out")]) == 0
    _, info = load_checkpoint(tmp_path / "out" / "policy.safetensors", "so101", load_robot("so101").joints)
    assert (info.instruction, info.notes["frames"]) == ("put the red cube in the bowl", 40)


@NO_AV
def test_videos_show_the_recorded_images(demos: Path, tmp_path: Path) -> None:
    assert main(["export", "--video", str(demos), str(tmp_path / "set")]) == 0
    assert len(list(tmp_path.rglob("*.mp4"))) == 4
    for back, expected in zip(load_demos(tmp_path / "set").episodes, DemoDataset(demos).episodes, strict=True):
        np.testing.assert_array_equal(back.joints, expected.joints)
        for name, images in expected.images.items():
            assert np.abs(back.images[name].astype(float) - images).mean() < 6.0


# ---- invalid input --------------------------------------------------------------------------------------------------


def write(folder: Path, *strides: int | None, info: DemoInfo = INFO) -> Path:
    """Write random demonstrations, one for each stride."""
    for number, stride in enumerate(strides):
        metadata = {} if stride is None else {"stride": stride}
        DemoWriter(folder, info).write(replace(EPISODES[number], metadata=metadata), number)
    return folder


def another_robot(folder: Path) -> Path:
    write(folder, 2, 2)
    _, episode = read_episode(folder / "episode_000001.npz")
    DemoWriter(folder, replace(INFO, robot="panda")).write(episode, 1)
    return folder


def damaged(folder: Path) -> Path:
    (write(folder, 2, 2) / "episode_000001.npz").write_bytes(b"half")
    return folder


def invalid_metadata(folder: Path) -> Path:
    path = write(folder, 2) / "episode_000000.npz"
    with np.load(path) as file:
        content = dict(file)
    content["header"] = np.array(str(content["header"]).replace('"metadata": {"stride": 2}', '"metadata": [1]'))
    np.savez(path, **content)
    return folder


INVALID: list[tuple[Callable[[Path], Path], list[str], str]] = [
    (lambda f: f, [], "the folder .*demos does not exist"),
    (
        lambda f: f.parent,
        [],
        r"contains no demonstrations \(\*.npz\); `./vla train --out OUT` records them in OUT/demos",
    ),
    (lambda f: write(f, 2).parent, [], "contains no demonstrations .*; did you mean .*/demos"),
    (lambda f: write(f, None), [], r"000000.npz does not record its frame rate: give --fps, .* \(10 for 2 x 0.05 s\)"),
    (lambda f: write(f, 0), [], "does not record its frame rate"),
    (lambda f: write(f, None), ["--fps", "7"], "period of 7 frames per second is not a multiple"),
    (lambda f: write(f, 2, None), ["--fps", "20"], "000000.npz was recorded with 10 frames per second, not 20"),
    (lambda f: write(f, 3), [], "000000.npz is 0.15 s; LeRobot needs an integer frame rate"),
    (lambda f: write(f, 2, 1), [], "000001.npz was recorded with 20 frames per second, not 10"),
    (another_robot, [], "000001.npz cannot be in one dataset with episode_000000.npz: robot is panda, not so101"),
    (damaged, [], "000001.npz is not a demonstration"),
    (invalid_metadata, [], "000000.npz is damaged"),
]


@pytest.mark.parametrize(("make", "options", "message"), INVALID)
def test_invalid_input_is_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], Path], options: list[str], message: str
) -> None:
    folder = make(tmp_path / "demos")
    refused(capsys, folder, tmp_path / "set", message, *options)
    assert [p for p in tmp_path.iterdir() if p.name != "demos"] == []


def refused(capsys: pytest.CaptureFixture[str], demos: Path, dataset: Path, message: str, *options: str) -> None:
    assert main(["export", *options, str(demos), str(dataset)]) == 1
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert re.fullmatch(rf"vla export: .*{message}.*\.|vla export: .*{message}.*\?", error), error


def test_the_frame_rate_can_be_given(tmp_path: Path) -> None:
    demos = write(tmp_path / "demos", None, 2)
    assert main(["export", "--fps", "10", str(demos), str(tmp_path / "set")]) == 0
    back = load_demos(tmp_path / "set").episodes
    assert [(len(e), e.metadata) for e in back] == [(4, {}), (7, {"stride": 2})]


def test_dagger_rounds_follow_the_expert(tmp_path: Path) -> None:
    for prefix, number, seed in (("round1", 0, 7), ("expert", 1, 8), ("expert", 0, 9)):
        metadata = {"stride": 2, "seed": seed}
        DemoWriter(tmp_path / "demos", INFO, prefix).write(replace(EPISODES[0], metadata=metadata), number)
    assert main(["export", str(tmp_path / "demos"), str(tmp_path / "set")]) == 0
    assert [e.metadata["seed"] for e in load_demos(tmp_path / "set").episodes] == [9, 8, 7]


def test_an_existing_folder_is_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("mine")
    refused(capsys, write(tmp_path / "demos", 2), tmp_path / "set", "set already exists; choose a new folder")
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["mine"]


@pytest.mark.parametrize("options", [[], pytest.param(["--video"], marks=NO_AV)])
def test_a_full_disk_is_one_error_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    demos = write(tmp_path / "demos", 2, 2, 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))  # as a full disk, but for this process alone
    try:
        refused(capsys, demos, tmp_path / "set", "set cannot be written: File too large", *options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == ["demos"]


def test_without_pyav_videos_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    message = r'videos of LeRobot datasets need PyAV: pip install "vla_ros\[video\]"'
    refused(capsys, write(tmp_path / "demos", 2), tmp_path / "set", message, "--video")
    assert [p.name for p in tmp_path.iterdir()] == ["demos"]


def test_without_pyarrow_there_is_help_and_one_error(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from vla_ros.cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)

    shown = run("export", "--help")
    assert shown.returncode == 0
    assert "./vla export runs/mine/demos runs/dataset" in shown.stdout
    done = run("export", str(write(tmp_path / "demos", 2)), str(tmp_path / "set"))
    assert (done.returncode, done.stderr) == (
        1,
        'vla export: LeRobot datasets need pyarrow: pip install "vla_ros[lerobot]".\n',
    )
    assert [p.name for p in tmp_path.iterdir()] == ["demos"]
