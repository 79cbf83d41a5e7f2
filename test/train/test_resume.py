"""A run that is killed goes on and ends in the same bytes; one of other settings is refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import DemoInfo, DemoWriter, Episode
from vla_ros.train import trainer as runs
from vla_ros.train.batches import BatchMaker
from vla_ros.train.config import load_config
from vla_ros.train.learner import Learner
from vla_ros.train.learning_curve import read_curve
from vla_ros.train.run_state import read_state, unbroken
from vla_ros.train.trainer import Run, Trainer

SETTINGS = (
    "cameras=[front]",
    "image_size=32",
    "batch=4",
    "steps=12",
    "warmup=2",
    "lr=1e-2",
    "bf16=off",
    "network={channels: 4, keypoints: 4, trunk: 16, blocks: 1, language: hash}",
    # Its training draws from torch's numbers; augmentation and noise draw from numpy's.
    "actor={head: flow, width: 16, layers: 1, attention: 2, gripper: [b], horizons: [8, 32]}",
    "demos={episodes: 4, rounds: 1, round_episodes: 2}",
    "track={every: 2, held_out: 4, validate: 5, save_s: 0.0}",
)
INFO = DemoInfo("pick_place", "so101", ("a", "b"), ("front",), ("x",), 32, 0.05, 32)


def episode(seed: int, frames: int = 5) -> Episode:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
    numbers = (rng.normal(size=(frames, *shape)).astype(np.float32) for shape in ((2,), (32, 2), (1,)))
    return Episode({"front": images}, *numbers, "do")


def folder(place: Path) -> Path:
    """Demonstrations, those of the round too, are there already: nothing is simulated."""
    for prefix, first, count in (("expert", 0, 4), ("round1", 100_000, 2)):
        writer = DemoWriter(place / "demos", INFO, prefix)
        for number in range(first, first + count):
            writer.write(episode(number), number)
    return place


def trainer(out: Path, *more: str, resume: bool = True) -> Trainer:
    return Trainer(Run(load_config(None, [*SETTINGS, *more]), 0, 60.0, out, "train", resume))


def child(job: Callable[[], None]) -> int:
    """Do it in a process of its own, which may be killed; its exit status."""
    process = multiprocessing.get_context("fork").Process(target=job)
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_before_step(out: Path, step: int) -> int:
    real = Learner.step

    def job() -> None:
        def mortal(self: Learner, progress: float) -> dict[str, float]:
            if self.step_count == step:
                die()
            return real(self, progress)

        Learner.step = mortal  # type: ignore[method-assign]
        trainer(out).run()

    return child(job)


def killed_while_writing(out: Path, which: int) -> int:
    """In the middle of the `which`-th state: written, but not in its place."""
    real, calls = os.replace, []

    def job() -> None:
        def mortal(old: Path, new: Path) -> None:
            calls.append(new) if Path(new).name == "training.safetensors" else None
            if len(calls) == which:
                die()
            real(old, new)

        os.replace = mortal
        trainer(out).run()

    return child(job)


def steps_done(out: Path) -> int:
    return int(read_state(out / "training.safetensors")[1]["learner"]["step"])


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = folder(tmp_path_factory.mktemp("uncut"))
    trainer(out).run()
    assert not (out / "training.safetensors").exists()
    return out


def test_killed_three_times_and_the_same_bytes(tmp_path: Path, uncut: Path) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 2) == -signal.SIGKILL
    assert steps_done(out) == 2
    assert killed_while_writing(out, 5) == -signal.SIGKILL  # the round has been learned from by then
    assert steps_done(out) == 6
    assert read_state(out / "training.safetensors")[1]["rounds"] == 1
    assert killed_before_step(out, 11) == -signal.SIGKILL
    assert not (out / "policy.safetensors").exists()
    again = trainer(out)
    path = again.run()
    assert path.read_bytes() == (uncut / "policy.safetensors").read_bytes()
    assert again._need().step_count == 12
    assert read_curve(out / "curve.jsonl") == read_curve(uncut / "curve.jsonl")
    assert not list(out.glob("*.part"))


def test_an_interrupt_waits_for_the_step_and_loses_nothing(tmp_path: Path, uncut: Path, monkeypatch) -> None:
    out, real = folder(tmp_path), Learner.loss

    def disturbed(self: Learner, batch):
        if self.step_count == 7 and not (out / "training.safetensors").exists():
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, batch)

    monkeypatch.setattr(Learner, "loss", disturbed)
    with pytest.raises(KeyboardInterrupt):
        trainer(out, "track.save_s=1000.0").run()
    assert (out / "policy.safetensors").exists()
    assert steps_done(out) == 8
    assert trainer(out).run().read_bytes() == (uncut / "policy.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_step_is_done_whole_or_not_at_all(number: signal.Signals) -> None:
    """`./vla bench learning` takes SIGTERM for Ctrl-C, and saves what it has when either comes."""
    before, done = signal.signal(number, signal.default_int_handler), []

    def disturbed() -> None:
        with unbroken():
            os.kill(os.getpid(), number)
            done.append("to the end")

    try:
        with pytest.raises(KeyboardInterrupt):
            disturbed()
        assert signal.getsignal(number) is signal.default_int_handler
        signal.signal(number, signal.SIG_IGN)  # as a shell has it for what it starts in the background
        disturbed()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert done == 2 * ["to the end"]


def test_the_curve_has_loss_rate_and_validation(uncut: Path) -> None:
    rows = read_curve(uncut / "curve.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 5, 6, 8, 10, 10, 12]
    assert set(rows[0]) == {"step", "rate", "action", "truth"}
    assert set(rows[2]) == {"step", "open_loop_rad", "open_loop_first_rad", "open_loop_last_rad"}
    assert all(np.isfinite(list(row.values())).all() for row in rows)


def test_a_state_holds_every_part_that_decides(tmp_path: Path) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 3) == -signal.SIGKILL
    old = trainer(out)
    tensors, header = read_state(old.order.state)
    old._data.begin(header["files"])
    maker = BatchMaker(old._data.learned, old.config, 0)
    learner = Learner(maker, old.config, 0)
    learner.restore(tensors, header["learner"])
    again, plain = learner.state()
    assert plain == header["learner"]
    assert set(again) == set(tensors)
    for name, value in tensors.items():
        assert torch.equal(again[name], value), name
    for part in ("model.", "average.", "optimizer.", "statistics.", "order", "chance"):
        assert any(name.startswith(part) for name in tensors)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("lr=2e-2",), "holds an unfinished run with lr 0.01, not 0.02; give the same settings"),
        (("actor.width=32",), "actor.width 16, not 32"),
    ],
)
def test_other_settings_are_refused_in_one_sentence(tmp_path: Path, more: tuple[str, ...], says: str) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 1) == -signal.SIGKILL
    with pytest.raises(ConfigError, match=says):
        trainer(out, *more).run()
    assert steps_done(out) == 1
    trainer(out, "track.save_s=30.0", "evaluate=3", "steps=12")._unfinished()  # these may differ


def test_a_run_may_begin_anew(tmp_path: Path, uncut: Path) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 5) == -signal.SIGKILL
    path = trainer(out, resume=False).run()
    assert path.read_bytes() == (uncut / "policy.safetensors").read_bytes()


def test_data_that_are_gone_or_changed_are_refused(tmp_path: Path) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 2) == -signal.SIGKILL
    DemoWriter(out / "demos", INFO, "expert").write(episode(9, 7), 0)
    with pytest.raises(ConfigError, match="had 15 frames to learn from, now there are 17"):
        trainer(out).run()
    (out / "demos" / "expert_000000.npz").unlink()
    with pytest.raises(ConfigError, match=r"expert_000000\.npz is not a demonstration"):
        trainer(out).run()


class _Evil:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps(_Evil()), "is not the state of a run"),
        (b"", "is not the state of a run"),
    ],
)
def test_a_state_that_is_none_is_refused(tmp_path: Path, monkeypatch, content: bytes, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "training.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        trainer(tmp_path).run()
    assert not (tmp_path / "ran").exists()


def test_a_state_of_another_version_is_refused(tmp_path: Path, monkeypatch) -> None:
    out = folder(tmp_path)
    monkeypatch.setattr("vla_ros.train.run_state.FORMAT", 2)
    assert killed_before_step(out, 1) == -signal.SIGKILL
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="state format 2; this version reads 1"):
        trainer(out).run()


def test_the_curve_goes_on_where_the_state_does(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    path.write_text("".join(json.dumps({"step": k, "x": k}) + "\n" for k in (1, 2, 3)) + '{"step": 4, "x"')
    curve = runs.Curve(path, 2, tensorboard=False)
    curve.add(3, {"x": 9})
    curve.close()
    assert read_curve(path) == [{"step": 1, "x": 1}, {"step": 2, "x": 2}, {"step": 3, "x": 9}]
