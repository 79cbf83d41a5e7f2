"""Training and validation data of a run: demonstrations recorded in rounds, or a LeRobot dataset.

The order of the episodes determines the batches, so it is stored by file name: a resumed run reads the same files in
the same order, whatever other files the folder contains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vla_ros.config import load_robot, require
from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import DemoDataset, read_episode
from vla_ros.data.lerobot.training_data import DataConfig, load_lerobot
from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.rollout import RolloutConfig
from vla_ros.evaluation.workers import run_episodes
from vla_ros.sim.base import EVALUATION_SEED
from vla_ros.train.config import TrainConfig
from vla_ros.train.distributed import SingleProcess

_ROUND_SEED = 100_000
"""First seed of the first DAgger round; later rounds start at multiples of it."""


class Collection:
    """The data of one run.

    Attributes:
        training: Episodes that are trained on.
        validation: Episodes for validation only.
        files: Names of the recorded files of both, in the order in which they were loaded.
    """

    def __init__(self, config: TrainConfig, seed: int, folder: Path, distributed: SingleProcess) -> None:
        """Use recordings in `folder`; rank 0 records, and all processes read.

        Raises:
            ConfigError: The seed is negative.
        """
        require(seed >= 0, f"the seed of a run must not be negative; got {seed}.")
        self.config, self._seed, self._folder, self._distributed = config, seed, folder, distributed
        self.training, self.validation = DemoDataset(), DemoDataset()
        self.files: list[str] = []

    def load(self, files: Sequence[str] | None) -> None:
        """Load the initial data, or the `files` that an interrupted run had loaded.

        Raises:
            ConfigError: The data do not fit the settings, or have changed.
        """
        c = self.config
        if isinstance(c.data, DataConfig):
            source = load_lerobot(c.data, c.task, c.robot, c.cameras, c.image_size, c.spline.waypoints, c.spline.dt_s)
            for number, (info, episode) in enumerate(tqdm(source, desc="read", unit="episode", disable=self._quiet)):
                (self.validation if self._is_validation(number) else self.training).add(info, episode)
            return
        if files is None:
            self._record("expert", c.demos.episodes, 0, None)
            # DAgger rounds of an interrupted run are loaded when they are due.
            files = [p.name for p in sorted(self._folder.glob("*.npz")) if not re.match(r"round\d+_", p.name)]
        self._load(files)

    def record_round(self, number: int, checkpoint: Path) -> None:
        """Record a DAgger round: the policy in `checkpoint` drives, the expert labels. Nothing is loaded yet."""
        self._record(f"round{number}", self.config.demos.round_episodes, _ROUND_SEED * number, checkpoint)

    def load_round(self, number: int) -> None:
        """Load a recorded DAgger round."""
        self._load([p.name for p in sorted(self._folder.glob(f"round{number}_*.npz"))])

    @property
    def _quiet(self) -> bool:
        return self._distributed.rank != 0

    def _load(self, files: Sequence[str]) -> None:
        for name in files:
            validation = not name.startswith("round") and self._is_validation(len(self.files))
            (self.validation if validation else self.training).add(*read_episode(self._folder / name))
            self.files.append(name)

    def _is_validation(self, number: int) -> bool:
        every = self.config.track.held_out
        return every > 0 and number % every == every - 1

    def _rollout(self, noise_rad: float) -> RolloutConfig:
        d, s = self.config.demos, self.config.spline
        return RolloutConfig(
            image_size=self.config.image_size,
            waypoints=s.waypoints,
            dt_s=s.dt_s,
            frame_stride=d.stride,
            noise_rad=noise_rad,
            noise_s=d.noise_s,
            max_delay_steps=d.delay_steps,
            max_replan_steps=d.replan_steps,
        )

    def _record(self, prefix: str, count: int, first: int, checkpoint: Path | None) -> None:
        """Record the episodes that are missing."""
        c = self.config
        first += self._seed * count
        if first + count > EVALUATION_SEED:
            raise ConfigError(f"training scenes must have seeds below {EVALUATION_SEED}; use a smaller --seed.")
        if not self._quiet:
            seeds = [s for s in range(first, first + count) if not (self._folder / f"{prefix}_{s:06d}.npz").exists()]
            noise_rad = c.demos.noise_rad if checkpoint is None else c.demos.round_noise_rad
            job = EpisodeJob(
                c.task, load_robot(c.robot).name, c.cameras, self._rollout(noise_rad), checkpoint,
                folder=self._folder, prefix=prefix,
            )  # fmt: skip
            successes = 0
            with tqdm(total=len(seeds), desc=f"record {prefix}", unit="episode", disable=not seeds) as progress:
                for result in run_episodes(job, seeds, c.demos.processes):
                    successes += result.success
                    progress.update()
                    progress.set_postfix(success=f"{successes}/{progress.n}")
        self._distributed.barrier()
