"""What a run learns from: demonstrations that grow in rounds, or a LeRobot dataset; some held out to validate on.

The order of the episodes decides the batches, so it is kept by name: a run that goes on reads the same files in the
same order, whatever else lies in the folder by then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vla_ros.config import load_robot, require
from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import DemoDataset, read_episode
from vla_ros.data.lerobot.training_data import load_lerobot
from vla_ros.evaluation.rollout import RolloutConfig
from vla_ros.evaluation.workers import Job, run
from vla_ros.train.config import EVALUATION_SEED, TrainConfig
from vla_ros.train.distributed import Machines

_ROUND_SEED = 100_000
"""Seeds of the first DAgger round; the next rounds follow at the same distance."""


class Collection:
    """The data of one run.

    Attributes:
        learned: What is learned from.
        held: What is validated on.
        files: The recorded ones of both, in the order they came.
    """

    def __init__(self, config: TrainConfig, seed: int, folder: Path, machines: Machines) -> None:
        """Of recordings in `folder`; process 0 of `machines` records, and all read.

        Raises:
            ConfigError: The seed is negative.
        """
        require(seed >= 0, f"the seed of a run must not be negative; got {seed}.")
        self.config, self._seed, self._folder, self._machines = config, seed, folder, machines
        self.learned, self.held = DemoDataset(), DemoDataset()
        self.files: list[str] = []

    def begin(self, files: Sequence[str] | None) -> None:
        """Take in what there is at the beginning, or the `files` there were when a run was cut.

        Raises:
            ConfigError: The data do not fit the settings, or have changed since.
        """
        c = self.config
        if c.data is not None:
            source = load_lerobot(c.data, c.task, c.robot, c.cameras, c.image_size, c.spline)
            for number, (info, episode) in enumerate(tqdm(source, desc="read", unit="episode", disable=self._quiet)):
                (self.held if self._is_held(number) else self.learned).add(info, episode)
            return
        if files is None:
            self._record("expert", c.demos.episodes, 0, None)
            # Rounds of a run that was cut count when their time has come.
            files = [p.name for p in sorted(self._folder.glob("*.npz")) if not re.match(r"round\d+_", p.name)]
        self._take(files)

    def record_round(self, number: int, draft: Path) -> None:
        """Let the policy in `draft` drive and the expert label; nothing is taken in yet."""
        self._record(f"round{number}", self.config.demos.round_episodes, _ROUND_SEED * number, draft)

    def take_round(self, number: int) -> None:
        """Take in what was recorded."""
        self._take([p.name for p in sorted(self._folder.glob(f"round{number}_*.npz"))])

    @property
    def _quiet(self) -> bool:
        return self._machines.rank != 0

    def _take(self, files: Sequence[str]) -> None:
        for name in files:
            held = not name.startswith("round") and self._is_held(len(self.files))
            (self.held if held else self.learned).add(*read_episode(self._folder / name))
            self.files.append(name)

    def _is_held(self, number: int) -> bool:
        every = self.config.track.held_out
        return every > 0 and number % every == every - 1

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
        first += self._seed * count
        if first + count > EVALUATION_SEED:
            raise ConfigError(f"scenes of training must have seeds below {EVALUATION_SEED}; choose a smaller --seed.")
        if not self._quiet:
            seeds = [s for s in range(first, first + count) if not (self._folder / f"{prefix}_{s:06d}.npz").exists()]
            noise = c.demos.noise_rad if checkpoint is None else c.demos.round_noise_rad
            robot = load_robot(c.robot).name
            job = Job(c.task, robot, c.cameras, self._rollout(noise), checkpoint, self._folder, prefix)
            good = 0
            with tqdm(total=len(seeds), desc=f"record {prefix}", unit="try", disable=not seeds) as bar:
                for result in run(job, seeds, c.demos.processes):
                    good += result.success
                    bar.update()
                    bar.set_postfix(success=f"{good}/{bar.n}")
        self._machines.wait()
