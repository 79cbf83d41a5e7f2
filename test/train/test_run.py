"""A whole run on made-up demonstrations: a checkpoint comes out, also when it is interrupted."""

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
from vla_ros.train.trainer import Run, Trainer

SETTINGS = [
    "cameras=[front]",
    "image_size=32",
    "batch=4",
    "steps=5",
    "evaluate=0",
    "network={channels: 4, keypoints: 4, trunk: 16, blocks: 1, language: hash}",
    "demos={episodes: 2, rounds: 0}",
]


def demonstrations(folder: Path, names: tuple[str, ...]) -> Path:
    """A folder in which the demonstrations are there already, so nothing is simulated."""
    info = DemoInfo("pick_place", "so101", names, ("front",), ("x",), 32, 0.05, 32)
    writer, rng = DemoWriter(folder / "demos", info, "expert"), np.random.default_rng(0)
    for number in range(2):
        images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
        joints, labels = rng.normal(size=(6, len(names))), rng.normal(size=(6, 32, len(names)))
        truth = np.zeros((6, 1))
        writer.write(Episode({"front": images}, *(x.astype(np.float32) for x in (joints, labels, truth)), "do"), number)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return demonstrations(tmp_path, ("a", "b"))


def trainer(out: Path, minutes: float = 1.0, *more: str) -> Trainer:
    return Trainer(Run(load_config(None, [*SETTINGS, *more]), 0, minutes, out, "python -m vla_ros.train"))


def test_a_run_ends_with_a_checkpoint_that_says_how_it_was_made(out: Path) -> None:
    path = trainer(out).run()
    model, info = load_checkpoint(path, "so101", ("b", "a"))
    assert (info.instruction, info.command, info.seed) == ("do", "python -m vla_ros.train", 0)
    assert (info.notes["steps"], info.notes["frames"]) == (5, 12)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_an_action_transformer_is_chosen_by_the_settings(out: Path) -> None:
    sizes = "width: 16, layers: 1, attention: 2, gripper: [b], horizons: [8, 16, 32]"
    path = trainer(out, 1.0, f"actor={{head: flow, {sizes}}}", "actor.consensus.least=4").run()
    model, info = load_checkpoint(path, "so101", ("b", "a"))
    assert info.model.actor is not None
    assert (info.model.actor.head, info.model.actor.horizons, info.model.actor.consensus.least) == (
        "flow",
        (8, 16, 32),
        4,
    )
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_an_interrupt_keeps_what_was_learned(out: Path, monkeypatch, capsys) -> None:
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
    assert "kept what was learned" in capsys.readouterr().out
    assert load_checkpoint(out / "policy.safetensors")[1].notes["steps"] == 3


def test_a_validation_drives_the_policy_of_then_in_the_simulator(tmp_path: Path) -> None:
    trainer(demonstrations(tmp_path, JOINTS), 1.0, "track={validate: 5, episodes: 1}", "demos.processes=1").run()
    (row,) = [r for r in read_curve(tmp_path / "curve.jsonl") if "success" in r]
    assert (row["step"], row["success"], row["tries"]) == (5, 0.0, 1)


def test_no_time_is_said_and_leaves_nothing(out: Path) -> None:
    with pytest.raises(ConfigError, match="left no time to learn"):
        trainer(out, minutes=0.0).run()
    assert not (out / "policy.safetensors").exists()


def test_training_may_not_use_scenes_of_the_evaluation(out: Path) -> None:
    run = Run(load_config(None, SETTINGS), 500_000, 1.0, out, "")
    with pytest.raises(ConfigError, match="below 1000000; choose a smaller --seed"):
        Trainer(run).run()


def test_the_configuration_is_given_as_an_option_or_among_the_settings(out: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _n: None)
    config = out / "tiny.yaml"
    config.write_text("\n".join(s.replace("=", ": ", 1) for s in SETTINGS))
    assert command.main(["batch=2", f"config={config}", "--out", str(out), "steps=2"]) == 0
    assert load_checkpoint(out / "policy.safetensors")[1].notes["steps"] == 2
    for given in (["--config", str(config), f"config={config}"], [f"config={config}", f"config={config}"]):
        assert command.main([*given, "--out", str(out)]) == 1
        assert "train: give one configuration, as --config FILE or config=FILE; got" in capsys.readouterr().err
    assert command.main(["config=beats.yaml", "--out", str(out)]) == 1
    assert "cannot read beats.yaml" in capsys.readouterr().err


def test_a_mistyped_setting_is_answered_with_a_sentence(out: Path, capsys) -> None:
    assert command.main(["--out", str(out), "demos.episode=3"]) == 1
    assert 'did you mean "episodes"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("network.encoder=keypoints", 'did you mean "keypoint"'),
        ("network.norm=groups", 'did you mean "group"'),
        ("network.head=foo", 'unknown head "foo"'),
        ("network.encoder=siglip", "needs an action transformer"),
        ("actor.head=beat", 'did you mean "beast"'),
        ("actor.horizons=[3, 40]", "must be the 32 steps of the head"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_before_anything_is_recorded(
    tmp_path: Path, capsys, given: str, says: str
) -> None:
    assert command.main(["--out", str(tmp_path / "out"), given]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
