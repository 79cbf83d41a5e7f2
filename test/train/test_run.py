"""Complete training runs on synthetic demonstrations, also interrupted ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import DemoInfo, DemoWriter, Episode
from vla_ros.policy.network.checkpoint import load_checkpoint
from vla_ros.sim.so101.scene import JOINTS
from vla_ros.train import __main__ as command
from vla_ros.train.config import load_config
from vla_ros.train.learner import Learner
from vla_ros.train.learning_curve import read_curve
from vla_ros.train.trainer import Trainer, TrainingRequest

SETTINGS = [
    "cameras=[front]",
    "image_size=32",
    "batch=4",
    "steps=5",
    "evaluate=0",
    "joint_weights={}",
    "network={channels: 4, keypoints: 4, language: hash, grippers: [], "
    "transformer: {width: 16, layers: 1, attention_heads: 2}}",
    "demos={episodes: 2, rounds: 0}",
]


def demonstrations(folder: Path, names: tuple[str, ...]) -> Path:
    """Write all demonstrations, so that nothing is simulated."""
    info = DemoInfo("pick_place", "so101", names, ("front",), ("x",), 32, 0.05, 32)
    writer, rng = DemoWriter(folder / "demos", info, "expert"), np.random.default_rng(0)
    for number in range(2):
        images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
        joints, labels = rng.normal(size=(6, len(names))), rng.normal(size=(6, 32, len(names)))
        ground_truth = np.zeros((6, 1))
        writer.write(
            Episode({"front": images}, *(x.astype(np.float32) for x in (joints, labels, ground_truth)), "do"), number
        )
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return demonstrations(tmp_path, ("a", "b"))


def trainer(out: Path, minutes: float = 1.0, *more: str) -> Trainer:
    return Trainer(TrainingRequest(load_config(None, [*SETTINGS, *more]), 0, minutes, out, "python -m vla_ros.train"))


def test_a_run_ends_with_a_checkpoint_that_records_how_it_was_made(out: Path) -> None:
    path = trainer(out).run()
    model, info = load_checkpoint(path, "so101", ("b", "a"))
    assert (info.instruction, info.command, info.seed) == ("do", "python -m vla_ros.train", 0)
    assert (info.notes["steps"], info.notes["frames"]) == (5, 12)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_head_and_horizons_are_chosen_by_the_settings(out: Path) -> None:
    settings = "head=flow", "network.grippers=[b]", "horizons=[8,16,32]", "network.consensus.min_steps=4"
    path = trainer(out, 1.0, *settings).run()
    model, info = load_checkpoint(path, "so101", ("b", "a"))
    network = info.model.network
    assert (network.head, network.mixture.horizons, network.consensus.min_steps) == ("flow", (8, 16, 32), 4)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_an_interrupt_saves_the_weights(out: Path, monkeypatch, capsys) -> None:
    step = Learner.step

    def interrupted(self: Learner, progress: float):
        if self.step_count == 3:
            raise KeyboardInterrupt
        return step(self, progress)

    monkeypatch.setattr(Learner, "step", interrupted)
    monkeypatch.setattr(torch, "set_num_threads", lambda _n: None)
    config = out / "tiny.yaml"
    config.write_text("\n".join(s.replace("=", ": ", 1) for s in SETTINGS))
    assert command.main(["--config", str(config), "--out", str(out)]) == 130
    assert "the weights so far are in" in capsys.readouterr().out
    assert load_checkpoint(out / "policy.safetensors")[1].notes["steps"] == 3


def test_a_validation_runs_the_current_policy_in_the_simulator(tmp_path: Path) -> None:
    trainer(
        demonstrations(tmp_path, JOINTS),
        1.0,
        "track={validate: 5, episodes: 1}",
        "demos.processes=1",
        "network.grippers=[gripper]",
    ).run()
    (row,) = [r for r in read_curve(tmp_path / "curve.jsonl") if "success" in r]
    assert (row["step"], row["success"], row["episodes"]) == (5, 0.0, 1)


def test_too_short_a_time_limit_is_reported_and_writes_nothing(out: Path) -> None:
    with pytest.raises(ConfigError, match="left no time for training"):
        trainer(out, minutes=0.0).run()
    assert not (out / "policy.safetensors").exists()


def test_training_must_not_use_evaluation_scenes(out: Path) -> None:
    request = TrainingRequest(load_config(None, SETTINGS), 500_000, 1.0, out, "")
    with pytest.raises(ConfigError, match="below 1000000; use a smaller --seed"):
        Trainer(request).run()


def test_the_configuration_file_is_an_option_or_a_setting(out: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _n: None)
    config = out / "tiny.yaml"
    config.write_text("\n".join(s.replace("=", ": ", 1) for s in SETTINGS))
    assert command.main(["batch=2", f"config={config}", "--out", str(out), "steps=2"]) == 0
    assert load_checkpoint(out / "policy.safetensors")[1].notes["steps"] == 2
    for given in (["--config", str(config), f"config={config}"], [f"config={config}", f"config={config}"]):
        assert command.main([*given, "--out", str(out)]) == 1
        assert "train: give one configuration file, as --config FILE or config=FILE; got" in capsys.readouterr().err
    assert command.main(["config=beats.yaml", "--out", str(out)]) == 1
    assert "cannot read beats.yaml" in capsys.readouterr().err


def test_a_misspelled_setting_is_reported(out: Path, capsys) -> None:
    assert command.main(["--out", str(out), "demos.episode=3"]) == 1
    assert 'did you mean "episodes"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("network.encoder=keypoints", 'did you mean "keypoint"'),
        ("network.norm=groups", 'did you mean "group"'),
        ("network.head=foo", 'unknown action head "foo"'),
        ("head=beat", 'did you mean "beast"'),
        ("horizons=[3, 40]", "must be all 10 steps of the head"),
    ],
)
def test_an_impossible_network_is_refused_before_recording(tmp_path: Path, capsys, setting: str, message: str) -> None:
    assert command.main(["--out", str(tmp_path / "out"), setting]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
