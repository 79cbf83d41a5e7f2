"""A killed run is resumed and ends with the same bytes; other settings are refused."""

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
from vla_ros.train.batches import BatchMaker
from vla_ros.train.config import load_config
from vla_ros.train.learner import Learner
from vla_ros.train.learning_curve import LearningCurve, read_curve
from vla_ros.train.run_state import defer_interrupts, read_state
from vla_ros.train.trainer import Trainer, TrainingRequest

SETTINGS = (
    "cameras=[front]",
    "image_size=32",
    "batch=4",
    "steps=12",
    "warmup=2",
    "lr=1e-2",
    "bf16=off",
    "joint_weights={}",
    # Training of a flow head uses torch's RNG; augmentation and noise use numpy's.
    "network={channels: 4, keypoints: 4, language: hash, head: flow, grippers: [b], mixture: {horizons: [8, 32]}, "
    "transformer: {width: 16, layers: 1, attention_heads: 2}}",
    "demos={episodes: 4, rounds: 1, round_episodes: 2}",
    "track={every: 2, held_out: 4, validate: 5, save_s: 0.0}",
)
INFO = DemoInfo("pick_place", "so101", ("a", "b"), ("front",), ("x",), 32, 0.05, 32)


def episode(seed: int, frames: int = 5) -> Episode:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
    arrays = (rng.normal(size=(frames, *shape)).astype(np.float32) for shape in ((2,), (32, 2), (1,)))
    return Episode({"front": images}, *arrays, "do")


def folder(path: Path) -> Path:
    """Write all demonstrations, those of the DAgger round too, so that nothing is simulated."""
    for prefix, first, count in (("expert", 0, 4), ("round1", 100_000, 2)):
        writer = DemoWriter(path / "demos", INFO, prefix)
        for number in range(first, first + count):
            writer.write(episode(number), number)
    return path


def trainer(out: Path, *more: str, resume: bool = True) -> Trainer:
    return Trainer(TrainingRequest(load_config(None, [*SETTINGS, *more]), 0, 60.0, out, "train", resume))


def run_in_child(job: Callable[[], None]) -> int:
    """Run `job` in a child process, which may be killed; returns its exit status."""
    process = multiprocessing.get_context("fork").Process(target=job)
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_before_step(out: Path, step: int) -> int:
    real = Learner.step

    def job() -> None:
        def killed_step(self: Learner, progress: float) -> dict[str, float]:
            if self.step_count == step:
                kill_self()
            return real(self, progress)

        Learner.step = killed_step  # type: ignore[method-assign]
        trainer(out).run()

    return run_in_child(job)


def killed_while_writing(out: Path, which: int) -> int:
    """Kill between writing the `which`-th state and moving it into place."""
    real, calls = os.replace, []

    def job() -> None:
        def killed_replace(old: Path, new: Path) -> None:
            calls.append(new) if Path(new).name == "training.safetensors" else None
            if len(calls) == which:
                kill_self()
            real(old, new)

        os.replace = killed_replace
        trainer(out).run()

    return run_in_child(job)


def steps_done(out: Path) -> int:
    return int(read_state(out / "training.safetensors")[1]["learner"]["step"])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = folder(tmp_path_factory.mktemp("uninterrupted"))
    trainer(out).run()
    assert not (out / "training.safetensors").exists()
    return out


def test_a_run_killed_three_times_ends_with_the_same_bytes(tmp_path: Path, uninterrupted: Path) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 2) == -signal.SIGKILL
    assert steps_done(out) == 2
    assert killed_while_writing(out, 5) == -signal.SIGKILL  # after the DAgger round
    assert steps_done(out) == 6
    assert read_state(out / "training.safetensors")[1]["rounds"] == 1
    assert killed_before_step(out, 11) == -signal.SIGKILL
    assert not (out / "policy.safetensors").exists()
    again = trainer(out)
    path = again.run()
    assert path.read_bytes() == (uninterrupted / "policy.safetensors").read_bytes()
    assert again._current_learner().step_count == 12
    assert read_curve(out / "curve.jsonl") == read_curve(uninterrupted / "curve.jsonl")
    assert not list(out.glob("*.part"))


def test_an_interrupt_waits_for_the_step_and_loses_nothing(tmp_path: Path, uninterrupted: Path, monkeypatch) -> None:
    out, real = folder(tmp_path), Learner.loss

    def interrupted_loss(self: Learner, batch):
        if self.step_count == 7 and not (out / "training.safetensors").exists():
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, batch)

    monkeypatch.setattr(Learner, "loss", interrupted_loss)
    with pytest.raises(KeyboardInterrupt):
        trainer(out, "track.save_s=1000.0").run()
    assert (out / "policy.safetensors").exists()
    assert steps_done(out) == 8
    assert trainer(out).run().read_bytes() == (uninterrupted / "policy.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_are_deferred_to_the_end_of_the_context(number: signal.Signals) -> None:
    """The learning table handles SIGTERM like Ctrl-C, and saves its state on both."""
    before, completed = signal.signal(number, signal.default_int_handler), []

    def interrupted() -> None:
        with defer_interrupts():
            os.kill(os.getpid(), number)
            completed.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert signal.getsignal(number) is signal.default_int_handler
        signal.signal(number, signal.SIG_IGN)  # as in a background process of a shell
        interrupted()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert completed == [True, True]


def test_the_curve_has_loss_rate_and_validation(uninterrupted: Path) -> None:
    rows = read_curve(uninterrupted / "curve.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 5, 6, 8, 10, 10, 12]
    assert set(rows[0]) == {"step", "rate", "action", "auxiliary"}
    assert set(rows[2]) == {"step", "open_loop_rad", "open_loop_first_rad", "open_loop_last_rad"}
    assert all(np.isfinite(list(row.values())).all() for row in rows)


def test_a_state_contains_everything_that_determines_the_run(tmp_path: Path) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 3) == -signal.SIGKILL
    old = trainer(out)
    tensors, header = read_state(old.request.state)
    old._data.load(header["files"])
    maker = BatchMaker(old._data.training, old.config, 0)
    learner = Learner(maker, old.config, 0)
    learner.restore(tensors, header["learner"])
    again, plain = learner.state()
    assert plain == header["learner"]
    assert set(again) == set(tensors)
    for name, value in tensors.items():
        assert torch.equal(again[name], value), name
    for part in ("model.", "average.", "optimizer.", "statistics.", "order", "torch_rng"):
        assert any(name.startswith(part) for name in tensors)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("lr=2e-2",), "has an unfinished run with lr 0.01, not 0.02; use the same settings"),
        (("network.transformer.width=32",), "network.transformer.width 16, not 32"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, settings: tuple[str, ...], message: str) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 1) == -signal.SIGKILL
    with pytest.raises(ConfigError, match=message):
        trainer(out, *settings).run()
    assert steps_done(out) == 1
    trainer(out, "track.save_s=30.0", "evaluate=3", "steps=12")._read_unfinished()  # these may differ


def test_a_run_can_start_again(tmp_path: Path, uninterrupted: Path) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 5) == -signal.SIGKILL
    path = trainer(out, resume=False).run()
    assert path.read_bytes() == (uninterrupted / "policy.safetensors").read_bytes()


def test_missing_or_changed_data_are_refused(tmp_path: Path) -> None:
    out = folder(tmp_path)
    assert killed_before_step(out, 2) == -signal.SIGKILL
    DemoWriter(out / "demos", INFO, "expert").write(episode(9, 7), 0)
    with pytest.raises(ConfigError, match="had 15 training frames, now there are 17"):
        trainer(out).run()
    (out / "demos" / "expert_000000.npz").unlink()
    with pytest.raises(ConfigError, match=r"expert_000000\.npz is not a demonstration"):
        trainer(out).run()


class _Malicious:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(_Malicious()), "is not the state of a run"),
        (b"", "is not the state of a run"),
    ],
)
def test_an_invalid_state_is_refused_and_not_unpickled(
    tmp_path: Path, monkeypatch, content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "training.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        trainer(tmp_path).run()
    assert not (tmp_path / "ran").exists()


def test_a_state_of_another_version_is_refused(tmp_path: Path, monkeypatch) -> None:
    out = folder(tmp_path)
    monkeypatch.setattr("vla_ros.train.run_state.FORMAT", 1)
    assert killed_before_step(out, 1) == -signal.SIGKILL
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="state format 1; this version reads format 2"):
        trainer(out).run()


def test_the_curve_continues_after_the_saved_step(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    path.write_text("".join(json.dumps({"step": k, "x": k}) + "\n" for k in (1, 2, 3)) + '{"step": 4, "x"')
    curve = LearningCurve(path, 2, tensorboard=False)
    curve.add(3, {"x": 9})
    curve.close()
    assert read_curve(path) == [{"step": 1, "x": 1}, {"step": 2, "x": 2}, {"step": 3, "x": 9}]
