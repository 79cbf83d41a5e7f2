"""One training run from nothing to a checkpoint: record, learn, let the policy try, learn from that, keep.

Progress is counted in optimizer steps, so the same command and seed repeat the same run. Minutes are a
cap: when they would run out first, progress follows the clock and everything ends earlier, annealed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vla_ros.core.errors import ConfigError
from vla_ros.data.demos import DemoDataset
from vla_ros.data.record import Job, run
from vla_ros.data.rollout import RolloutConfig
from vla_ros.policy.checkpoint import CheckpointInfo, save_checkpoint
from vla_ros.train.batches import BatchMaker
from vla_ros.train.config import EVALUATION_SEED, TrainConfig
from vla_ros.train.learner import Learner

_ROUND_SEED = 100_000
"""Seeds of the first DAgger round; the next rounds follow at the same distance."""


@dataclass(frozen=True)
class Run:
    """What was asked for.

    Attributes:
        config: The settings.
        seed: Of weights, batches and scenes.
        minutes: Cap on everything but the closing evaluation.
        out: Folder of demonstrations and checkpoint.
        command: As typed; kept in the checkpoint.
    """

    config: TrainConfig
    seed: int
    minutes: float
    out: Path
    command: str

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

    def __init__(self, order: Run) -> None:
        """Start the clock."""
        self.order, self.config = order, order.config
        self._end = time.monotonic() + 60.0 * order.minutes
        self._learner: Learner | None = None
        self._data = DemoDataset()

    def run(self) -> Path:
        """Do everything; an interrupt still saves what has been learned.

        Raises:
            ConfigError: The minutes were over before the first step.
            KeyboardInterrupt: Passed on, after saving.
        """
        try:
            self._record("expert", self.config.demos.episodes, 0, None)
            self._data.refresh(self.order.demos)
            self._learner = Learner(self._maker(), self.config, self.order.seed)
            self._learn()
            if not self._learner.step_count:
                raise ConfigError(f"{self.order.minutes} minutes left no time to learn; give more.")
        finally:
            if self._learner is not None and self._learner.step_count:
                self.save(self.order.checkpoint)
        return self.order.checkpoint

    def _maker(self) -> BatchMaker:
        return BatchMaker(self._data, self.config, self.order.seed)

    def _rollout(self, noise: float) -> RolloutConfig:
        d, s = self.config.demos, self.config.spline
        return RolloutConfig(
            image_size=self.config.image_size,
            waypoints=s.waypoints,
            dt_s=s.dt_s,
            stride=d.stride,
            noise_rad=noise,
            noise_s=d.noise_s,
            delay_steps=d.delay_steps,
            replan_steps=d.replan_steps,
        )

    def _record(self, prefix: str, count: int, first: int, checkpoint: Path | None) -> None:
        """Add the episodes that are not there yet."""
        c = self.config
        first += self.order.seed * count
        if first + count > EVALUATION_SEED:
            raise ConfigError(f"scenes of training must have seeds below {EVALUATION_SEED}; choose a smaller --seed.")
        seeds = [s for s in range(first, first + count) if not (self.order.demos / f"{prefix}_{s:06d}.npz").exists()]
        noise = c.demos.noise_rad if checkpoint is None else c.demos.round_noise_rad
        job = Job(c.task, c.robot, c.cameras, self._rollout(noise), checkpoint, self.order.demos, prefix)
        good = 0
        with tqdm(total=len(seeds), desc=f"record {prefix}", unit="try", disable=not seeds) as bar:
            for result in run(job, seeds, c.demos.processes):
                good += result.success
                bar.update()
                bar.set_postfix(success=f"{good}/{bar.n}")

    def _progress(self, started: float) -> float:
        learner = self._need()
        now = time.monotonic()
        if now >= self._end:
            return 1.0
        return max(learner.step_count / self.config.steps, (now - started) / (self._end - started))

    def _learn(self) -> None:
        learner, rounds = self._need(), self.config.demos.rounds
        # The first round needs a policy that can already reach; the last, time to be learned from.
        due = [0.30 + 0.45 * k / max(1, rounds - 1) for k in range(rounds)]
        started, done = time.monotonic(), 0
        with tqdm(total=self.config.steps, desc="learn", unit="step") as bar:
            while (progress := self._progress(started)) < 1.0:
                if done < rounds and progress >= due[done]:
                    done += 1
                    self._dagger(done)
                    bar.unpause()
                parts = learner.step(progress)
                bar.update()
                if learner.step_count % 20 == 0:
                    bar.set_postfix({k: f"{v:.4f}" for k, v in parts.items()}, frames=len(self._data))

    def _dagger(self, number: int) -> None:
        draft = self.order.out / "draft.safetensors"
        self.save(draft)
        count = self.config.demos.round_episodes
        self._record(f"round{number}", count, _ROUND_SEED * number, draft)
        self._data.refresh(self.order.demos)
        self._need().maker.update()

    def _need(self) -> Learner:
        if self._learner is None:
            raise RuntimeError("nothing is being learned yet.")
        return self._learner

    def save(self, path: Path, **notes: Any) -> None:
        """Write the averaged weights."""
        learner = self._need()
        info = CheckpointInfo(
            robot=self.config.robot,
            instruction=self._data.episodes[0].instruction,
            model=replace(learner.average.config, auxiliary=0),
            command=self.order.command,
            seed=self.order.seed,
            sentences=learner.maker.sentences.kept(),
            notes={
                "task": self.config.task,
                "steps": learner.step_count,
                "frames": len(self._data),
                "episodes": len(self._data.episodes),
                **notes,
            },
        )
        save_checkpoint(path, learner.average, info)
