"""One training run from nothing to a checkpoint: record, learn, let the policy try, learn from that, keep.

Progress is counted in optimizer steps, so the same command and seed repeat the same run. Minutes are a
cap: when they would run out first, progress follows the clock and everything ends earlier, annealed.

A run that was cut goes on from `training.safetensors`, which is gone when it is finished. As long as steps and not the
clock decide, it ends in the same bytes as one that was not cut.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vla_ros.config import load_robot
from vla_ros.core.errors import ConfigError
from vla_ros.evaluation.evaluate import evaluate
from vla_ros.policy.network.checkpoint import CheckpointInfo, save_checkpoint
from vla_ros.train.batches import BatchMaker
from vla_ros.train.collection import Collection
from vla_ros.train.config import EVALUATION_SEED, TrainConfig
from vla_ros.train.distributed import Machines, find_machines
from vla_ros.train.learner import Learner
from vla_ros.train.learning_curve import Curve
from vla_ros.train.run_state import check_same, read_state, settings, unbroken, write_state
from vla_ros.train.validation import open_loop

_VALIDATION_SEED = 10 * EVALUATION_SEED
"""Scenes of the validations: of neither training nor evaluation."""


@dataclass(frozen=True)
class Run:
    """What was asked for.

    Attributes:
        config: The settings.
        seed: Of weights, batches and scenes.
        minutes: Cap on everything but the closing evaluation.
        out: Folder of demonstrations and checkpoint.
        command: As typed; kept in the checkpoint.
        resume: Go on with an unfinished run in `out`, if there is one.
        threads: CPU threads, 0 for those of the unfinished run or, without one, for torch's own choice: sums on another
            number of threads differ in their last bits.
    """

    config: TrainConfig
    seed: int
    minutes: float
    out: Path
    command: str
    resume: bool = True
    threads: int = 0

    @property
    def state(self) -> Path:
        """What an unfinished run goes on from."""
        return self.out / "training.safetensors"

    @property
    def curve(self) -> Path:
        """Loss and validation by step."""
        return self.out / "curve.jsonl"

    @property
    def demos(self) -> Path:
        """Folder of the demonstrations."""
        return self.out / "demos"

    @property
    def checkpoint(self) -> Path:
        """The file that will be made."""
        return self.out / "policy.safetensors"


class Trainer:
    """The run at work."""

    def __init__(self, order: Run, machines: Machines | None = None) -> None:
        """Start the clock."""
        self.order, self.config = order, order.config
        self.machines = machines or find_machines()
        self._began = time.monotonic()
        self._end = self._began + 60.0 * order.minutes
        self._started = self._began
        self._spent_s = self._learned_s = 0.0  # in earlier sittings: altogether, and learning
        self._learner: Learner | None = None
        self._curve: Curve | None = None
        self._data = Collection(self.config, order.seed, order.demos, self.machines)
        self._rounds = 0
        self._settings = settings(order.config, order.seed, self.machines.processes)

    def run(self) -> Path:
        """Do everything; an interrupt still saves what has been learned.

        Raises:
            ConfigError: The minutes were over before the first step; the data, or an unfinished run, do not fit.
            KeyboardInterrupt: Passed on, after saving.
        """
        finished, m = False, self.machines
        try:
            old = self._unfinished()
            self._threads(old[1] if old else {})
            self._data.begin(old[1]["files"] if old else None)
            if not len(self._data.learned):
                raise ConfigError("there are no episodes to learn from.")
            maker = BatchMaker(self._data.learned, self.config, self.order.seed, m.rank, m.processes)
            self._learner = Learner(maker, self.config, self.order.seed, m)
            if old is not None:
                with unbroken():
                    self._go_on(*old)
            self._learn()
            if not self._learner.step_count:
                raise ConfigError(f"{self.order.minutes} minutes left no time to learn; give more.")
            finished = True
        except KeyboardInterrupt:
            # Steps are not interrupted in their middle; of several processes none can count on the others.
            if self._learner is not None and self._learner.step_count and m.processes == 1:
                self._save_state()
            raise
        finally:
            self._close(finished)
        return self.order.checkpoint

    def _close(self, finished: bool) -> None:
        learner, m = self._learner, self.machines
        if self._curve is not None:
            self._curve.close()
        if learner is not None and learner.step_count and (finished or m.processes == 1):
            learner.collect()
            if m.rank == 0:
                self.save(self.order.checkpoint)
                if finished:
                    self.order.state.unlink(missing_ok=True)
            m.wait()

    # ---- going on --------------------------------------------------------------------------------------------

    def _unfinished(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        path = self.order.state
        if not self.order.resume:
            path.unlink(missing_ok=True)
        if not path.exists():
            return None
        tensors, header = read_state(path)
        check_same(path, header["settings"], self._settings)
        return tensors, header

    def _threads(self, header: Mapping[str, Any]) -> None:
        count = self.order.threads or int(header.get("threads", 0))
        if count:
            torch.set_num_threads(count)

    def _go_on(self, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
        if header["frames"] != len(self._data.learned):
            raise ConfigError(
                f"the unfinished run had {header['frames']} frames to learn from, now there are "
                f"{len(self._data.learned)}; --no-resume begins anew."
            )
        self._need().restore(tensors, header["learner"])
        self._rounds = int(header["rounds"])
        self._spent_s, self._learned_s = float(header["spent_s"]), float(header["learned_s"])
        self._end -= self._spent_s
        self._started = time.monotonic() - self._learned_s
        if self.machines.rank == 0:
            print(f"goes on at step {self._need().step_count} of {self.config.steps} ({self.order.state})")

    def _save_state(self) -> None:
        tensors, plain = self._need().state()
        now = time.monotonic()
        header = {
            "settings": self._settings,
            "learner": plain,
            "files": self._data.files,
            "frames": len(self._data.learned),
            "rounds": self._rounds,
            "spent_s": self._spent_s + now - self._began,
            "learned_s": now - self._started,
            "threads": torch.get_num_threads(),
        }
        if self.machines.rank == 0:
            write_state(self.order.state, tensors, header)

    # ---- learning --------------------------------------------------------------------------------------------

    def _progress(self) -> float:
        learner = self._need()
        now = time.monotonic()
        if now >= self._end:
            return 1.0
        return max(learner.step_count / self.config.steps, (now - self._started) / (self._end - self._started))

    def _learn(self) -> None:
        learner, track, first = self._need(), self.config.track, self.machines.rank == 0
        rounds = 0 if self.config.data is not None else self.config.demos.rounds
        # The first round needs a policy that can already reach; the last, time to be learned from.
        due = [0.30 + 0.45 * k / max(1, rounds - 1) for k in range(rounds)]
        if first:
            told = self._settings if track.wandb else None
            self._curve = Curve(self.order.curve, learner.step_count, track.tensorboard, told)
        held = BatchMaker(self._data.held, self.config, 0) if len(self._data.held) else None
        self._started, saved = time.monotonic() - self._learned_s, time.monotonic()
        done, steps = learner.step_count, self.config.steps
        with tqdm(total=steps, initial=done, desc="learn", unit="step", disable=not first) as bar:
            while True:
                late = time.monotonic() - saved >= track.save_s
                progress, save = self.machines.told([self._progress(), float(late)])
                if save and learner.step_count > done:
                    self._save_state()
                    done, saved = learner.step_count, time.monotonic()
                if progress >= 1.0:
                    break
                if self._rounds < rounds and progress >= due[self._rounds]:
                    self._dagger(self._rounds + 1)
                    bar.unpause()
                rate = learner.rate(progress)
                with unbroken():
                    parts = learner.step(progress)
                    self._note(parts, rate)
                bar.update()
                if track.validate and learner.step_count % track.validate == 0:
                    self._validate(held)
                if learner.step_count % 20 == 0:
                    bar.set_postfix({k: f"{v:.4f}" for k, v in parts.items()}, frames=len(self._data.learned))

    def _dagger(self, number: int) -> None:
        learner = self._need()
        self._data.record_round(number, self._draft())
        with unbroken():
            self._data.take_round(number)
            learner.maker.update()
            self._rounds = number

    def _draft(self) -> Path:
        """The policy of now, for the simulator's processes; every process must ask."""
        path = self.order.out / "draft.safetensors"
        self._need().collect()
        if self.machines.rank == 0:
            self.save(path)
        return path

    def _note(self, parts: Mapping[str, float], rate: float) -> None:
        """A row of the curve, when one is due."""
        step = self._need().step_count
        if self._curve is not None and step % self.config.track.every == 0:
            self._curve.add(step, {"rate": rate, **parts})

    def _validate(self, held: BatchMaker | None) -> None:
        """Open loop on what is held out, closed loop in the simulator; every process must ask."""
        learner = self._need()
        learner.collect()
        if self._curve is not None:
            row = open_loop(learner.average, held) if held is not None else {}
            if self.config.track.episodes:
                draft = self.order.out / "draft.safetensors"
                self.save(draft)
                row |= self._drive(draft)
            if row:
                self._curve.add(learner.step_count, row)
        self.machines.wait()

    def _drive(self, checkpoint: Path) -> dict[str, float]:
        c = self.config
        results = evaluate(
            checkpoint, c.track.episodes, _VALIDATION_SEED, task=c.task, robot=c.robot, cameras=c.cameras,
            processes=c.demos.processes, quiet=True,
        )  # fmt: skip
        return {"success": sum(r.success for r in results) / len(results), "tries": len(results)}

    def _need(self) -> Learner:
        if self._learner is None:
            raise RuntimeError("nothing is being learned yet.")
        return self._learner

    def save(self, path: Path, **notes: Any) -> None:
        """Write the averaged weights."""
        learner, data = self._need(), self._data.learned
        info = CheckpointInfo(
            robot=load_robot(self.config.robot).name,
            instruction=data.episodes[0].instruction,
            model=replace(learner.average.config, auxiliary=0),
            command=self.order.command,
            seed=self.order.seed,
            sentences=learner.maker.sentences.kept(),
            notes={
                "task": self.config.task,
                "steps": learner.step_count,
                "frames": len(data),
                "episodes": len(data.episodes),
                **notes,
            },
        )
        save_checkpoint(path, learner.average, info)
