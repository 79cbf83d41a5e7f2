"""Training on a LeRobot dataset by the command line; the learning curve in TensorBoard and wandb."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data.test_training_data import JOINTS, write

from vla_ros.core.errors import ConfigError
from vla_ros.evaluation.evaluate import evaluate
from vla_ros.policy.base import PolicyContext, make_policy
from vla_ros.policy.network.checkpoint import load_checkpoint
from vla_ros.train import __main__ as command
from vla_ros.train.config import load_config
from vla_ros.train.learning_curve import LearningCurve, read_curve

SETTINGS = [
    "cameras=[front]",
    "image_size=16",
    "batch=4",
    "steps=4",
    "evaluate=0",
    "joint_weights={}",
    "network={channels: 4, keypoints: 4, language: hash, transformer: {width: 16, layers: 1, attention_heads: 2}}",
    "spline={control_points: 5, degree: 3, waypoints: 8, dt_s: 0.05}",
    "track={every: 2, held_out: 2, validate: 4}",
]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _n: None)
    return lambda *more: command.main([*SETTINGS, *more, "--out", str(tmp_path / "out")])


def test_a_dataset_gives_a_checkpoint(tmp_path: Path, train) -> None:
    folder = write(tmp_path / "set", tuple(f"{n}.pos" for n in JOINTS))
    assert train(f"data={folder}") == 0
    model, info = load_checkpoint(tmp_path / "out" / "policy.safetensors", "so101", JOINTS)
    assert (info.instruction, info.notes["frames"], info.model.joints) == ("task 0", 6, JOINTS)
    # Statistics are those of the training episodes.
    state = np.linspace(0.0, 0.6, 7)[:-1, None] * np.linspace(0.2, 1.0, 6)
    np.testing.assert_allclose(model.context_encoder.joint_mean.numpy(), state.mean(axis=0), atol=1e-6)
    rows = read_curve(tmp_path / "out" / "curve.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 4]
    assert 0.0 < rows[2]["open_loop_rad"] < 2.0
    assert "auxiliary" not in rows[0]  # a LeRobot dataset has no ground truth


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cameras=[front,side]", 'no camera "side"'),
        ("robot=nobody", 'unknown robot "nobody"'),
        ("data=nowhere", "nowhere is not a LeRobot dataset"),
        ("data.units=miles", 'unknown value of data.units "miles"'),
        ("data.folders=x", 'did you mean "folder"'),
        ("data=3", "data must be a folder, a mapping or null; got 3"),
        ("track.held_out=1", "leaves no episode for training"),
        ("track.every=0", "track.every must be at least 1"),
        ("cameras=[side] evaluate=1", 'not robot "so101" with side: set evaluate=0'),
        ('joint_weights={"griper":2}', 'unknown joint "griper" in joint_weights; did you mean "gripper"'),
        ("cameras=[side] track.episodes=1", "set evaluate=0 and track.episodes=0"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(tmp_path: Path, train, capsys, setting: str, message: str) -> None:
    assert train(f"data={write(tmp_path / 'set')}", *setting.split(" ")) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("train: ")
    assert message in error
    assert not (tmp_path / "out" / "policy.safetensors").exists()


def test_a_robot_can_be_a_file_and_its_name_is_in_the_checkpoint(tmp_path: Path, train) -> None:
    mine = tmp_path / "anywhere.yaml"
    row = "{position: [-3, 3], velocity: 2, acceleration: 10, jerk: 150}"
    mine.write_text("name: mine\njoints:\n" + "".join(f"  {n}: {row}\n" for n in JOINTS))
    assert train(f"data={write(tmp_path / 'set')}", f"robot={mine}") == 0
    checkpoint = tmp_path / "out" / "policy.safetensors"
    assert make_policy("learned", PolicyContext(JOINTS, "mine", checkpoint)).joints == JOINTS
    with pytest.raises(ConfigError, match='trained for robot "mine", not for "so101"'):
        evaluate(checkpoint, 1)


def test_a_dataset_can_be_configured_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: {folder: /somewhere, units: deg, scale: {gripper: 0.0175}}\n")
    data = load_config(file, ["data.cameras={front: observation.image}"]).data
    assert data is not None
    assert (data.folder, data.units, data.scale, data.cameras) == (
        "/somewhere",
        "deg",
        {"gripper": 0.0175},
        {"front": "observation.image"},
    )


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs TensorBoard")
def test_tensorboard_reads_the_curve(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curve = LearningCurve(tmp_path / "curve.jsonl", 0, tensorboard=True)
    curve.add(2, {"rate": 0.5, "action": 3.0})
    curve.add(4, {"rate": 0.25, "success": 1.0})
    curve.close()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in board.Scalars("rate")] == [(2, 0.5), (4, 0.25)]
    assert board.Scalars("success")[0].value == 1.0
    lines = (tmp_path / "curve.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {"step": 4, "rate": 0.25, "success": 1.0}


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason='needs wandb: pip install "vla_ros[wandb]"')
def test_wandb_receives_the_curve_and_the_settings(tmp_path: Path, train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path))
    assert train(f"data={write(tmp_path / 'set')}", "track.wandb=true") == 0
    (log,) = (tmp_path / "out" / "wandb").glob("offline-run-*/run-*.wandb")
    rows = read_curve(tmp_path / "out" / "curve.jsonl")
    values = [json.dumps(value) for row in rows for key, value in row.items() if key != "step"]
    assert len(values) > 4
    record = log.read_bytes().decode(errors="replace")
    assert all(text in record for text in ("network.language", '"hash"', "open_loop_rad", *values))


def test_a_missing_wandb_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"track\.wandb needs wandb"):
        LearningCurve(tmp_path / "curve.jsonl", 0, tensorboard=False, wandb={})


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_a_missing_tensorboard_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs TensorBoard"):
        LearningCurve(tmp_path / "curve.jsonl", 0, tensorboard=True)
