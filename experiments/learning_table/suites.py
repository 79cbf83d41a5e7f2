"""What the learning table compares: suites of training runs that share data, budget and encoder.

A suite is a record: a task, its simulator, and how its demonstrations are recorded. `tasks.py` has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vla_ros.core.robot import Limits
from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.rollout import EpisodeResult, RolloutConfig
from vla_ros.evaluation.workers import run_episodes
from vla_ros.policy.heads.base import action_heads
from vla_ros.sim.base import EVALUATION_SEED
from vla_ros.train.config import TrainConfig

CHECK_SEED = 800_000
"""First scene of the closed-loop checks during training: neither trained on nor evaluated on."""
LEAD_STEPS = 3
"""A chunk is requested this many control steps before the last one is used up; the maximum delay is 2 steps."""
EXECUTION_MODES = {"fixed": None, "consensus": None, "consensus_2": 2.0, "consensus_4": 4.0}
"""Execution mode to threshold ratio r; None: no consensus ("fixed"), or the ratio of the configuration ("consensus").

"fixed" executes a fixed number of steps. The paper varies r from 1.0 to 1.4. Horizons whose deviation grows faster
along the chunk need a larger r; otherwise nearly always only the minimum number of steps is executed."""


@dataclass(frozen=True)
class DemonstrationSource:
    """A part of a suite's demonstrations.

    Attributes:
        prefix: Prefix of the file names.
        first_seed: Seed of the first scene.
        count: Number of episodes.
        noise_rad: Standard deviation of the disturbance [rad].
        checkpoint: Policy that moves the arm while the expert labels; None for the expert.
    """

    prefix: str
    first_seed: int
    count: int
    noise_rad: float
    checkpoint: Path | None = None

    def missing(self, folder: Path) -> list[int]:
        """Seeds that have no file in `folder`."""
        seeds = range(self.first_seed, self.first_seed + self.count)
        return [s for s in seeds if not (folder / f"{self.prefix}_{s:06d}.npz").exists()]


@dataclass(frozen=True)
class Suite:
    """Training runs that may be compared with each other.

    Attributes:
        name: Name of the suite.
        config: Settings that all runs share.
        heads: Action heads; each is trained with one horizon and with a mixture of horizons.
        sources: The demonstrations.
        simulator: Name of the simulator.
        limits: Limits of the robot; peak jerk is reported over them. None reports it in rad/s^3.
        waypoint_horizons: Horizons of a mixture, in waypoints.
        control_point_horizons: The same for heads that predict control points: those that decide the same waypoints.
        shorter_horizons: Heads that are also trained with one horizon of fewer waypoints, and how many. A mixture is
            compared with the best single horizon, which need not be the longest.
        timeout_s: Maximum duration of an episode [s].
        executor: What turns chunks into commands in checks and evaluation.
        execution_modes: How mixtures are evaluated, of `EXECUTION_MODES`.
        minutes: Processor time of training, per run [min].
        unavailable_reason: Why no episode can be played on this machine, for example a missing package; "" if it can.
    """

    name: str
    config: TrainConfig
    heads: tuple[str, ...]
    sources: tuple[DemonstrationSource, ...]
    simulator: str = "so101"
    limits: Limits | None = None
    waypoint_horizons: tuple[int, ...] = (10, 21, 32)
    control_point_horizons: tuple[int, ...] = (6, 8, 10)
    shorter_horizons: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    timeout_s: float = 16.0
    executor: str = "planner"
    execution_modes: tuple[str, ...] = tuple(EXECUTION_MODES)
    minutes: float = 20.0
    unavailable_reason: str = ""

    def runs(self) -> tuple[Run, ...]:
        """The runs in order: each head alone and under a mixture, then the shorter horizons."""
        pairs = tuple(Run(self, head, mixture) for head in self.heads for mixture in (False, True))
        return pairs + tuple(
            Run(self, head, False, count) for head, counts in self.shorter_horizons.items() for count in counts
        )

    def demonstration_rollout(self, noise_rad: float = 0.0) -> RolloutConfig:
        """How the demonstrations are recorded."""
        c, d = self.config, self.config.demos
        return RolloutConfig(
            image_size=c.image_size, waypoints=c.spline.waypoints, dt_s=c.spline.dt_s, timeout_s=self.timeout_s,
            frame_stride=d.stride, noise_rad=noise_rad, noise_s=d.noise_s, max_delay_steps=d.delay_steps,
            max_replan_steps=d.replan_steps,
        )  # fmt: skip

    def evaluation_rollout(self, consensus: bool) -> RolloutConfig:
        """How a policy is evaluated: a chunk is requested when the usable part of the last one is used up.

        Args:
            consensus: Use every waypoint that was sent; False always uses the consensus' minimum number of steps.
        """
        min_steps = self.config.network.consensus.min_steps
        rollout = self.demonstration_rollout()
        return replace(rollout, lead_steps=LEAD_STEPS, use_steps=0 if consensus else min_steps)

    def record(self, source: DemonstrationSource, folder: Path, processes: int) -> Iterator[EpisodeResult]:
        """Record the demonstrations of a source that are missing in `folder`."""
        job = EpisodeJob(
            self.config.task, self.config.robot, self.config.cameras, self.demonstration_rollout(source.noise_rad),
            source.checkpoint, folder=folder, prefix=source.prefix, simulator=self.simulator,
        )  # fmt: skip
        return run_episodes(job, source.missing(folder), processes)

    def evaluate(self, checkpoint: Path, seeds: Sequence[int], consensus: bool) -> Iterator[EpisodeResult]:
        """Play an episode per seed with a policy, in one process."""
        job = EpisodeJob(
            self.config.task, self.config.robot, self.config.cameras, self.evaluation_rollout(consensus),
            checkpoint, executor=self.executor, simulator=self.simulator,
        )  # fmt: skip
        return run_episodes(job, seeds, 1)


@dataclass(frozen=True)
class Run:
    """One head, trained with one horizon or with a mixture.

    Attributes:
        suite: The suite it belongs to.
        head: Name of the action head.
        mixture: Whether it is trained with a mixture of horizons.
        waypoints: Length of its horizon in waypoints; 0 for the suite's.
    """

    suite: Suite
    head: str
    mixture: bool
    waypoints: int = 0

    @property
    def name(self) -> str:
        """Name of its files, for example "flow-moh" or "regression-10"."""
        if self.mixture:
            return f"{self.head}-moh"
        return f"{self.head}-{self.waypoints}" if self.waypoints else self.head

    @property
    def execution_modes(self) -> tuple[str, ...]:
        """How it is evaluated, of `EXECUTION_MODES`."""
        return self.suite.execution_modes if self.mixture else ("fixed",)

    @property
    def path(self) -> str:
        """Suite and name."""
        return f"{self.suite.name}/{self.name}"

    @property
    def config(self) -> TrainConfig:
        """The settings of its training."""
        suite = self.suite
        control_points = action_heads.get(self.head).predicts_control_points
        horizons = suite.control_point_horizons if control_points else suite.waypoint_horizons
        mixture = replace(suite.config.network.mixture, horizons=horizons if self.mixture else ())
        network = replace(suite.config.network, head=self.head, mixture=mixture)
        spline = replace(suite.config.spline, waypoints=self.waypoints or suite.config.spline.waypoints)
        return replace(suite.config, network=network, spline=spline)


@dataclass(frozen=True)
class Budget:
    """Extent of a run, beside its processor time.

    Attributes:
        save_s: Processor time between saved states [s].
        point_s: Processor time between points of the learning curve [s].
        checks: Shares of the training time after which success is checked in closed loop.
        check_episodes: Episodes of a check.
        episodes: Episodes of an evaluation.
        seed: Seed of weights and batches.
    """

    save_s: float = 120.0
    point_s: float = 20.0
    checks: tuple[float, ...] = (0.15, 0.4, 0.7)
    check_episodes: int = 10
    episodes: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Folders:
    """Where files are.

    Attributes:
        work: States, demonstrations, logs; not in git.
        records: Records of the runs; in git.
    """

    work: Path
    records: Path = field(default=Path(__file__).parent / "records")

    def demonstrations(self, suite: Suite) -> Path:
        """Folder of a suite's demonstrations."""
        return self.work / suite.name / "demos"

    def run(self, run: Run) -> Path:
        """Folder of a run's states."""
        return self.work / run.suite.name / run.name

    def tokenizer_error(self, suite: Suite) -> Path:
        """File with the reconstruction errors of a suite's demonstrations."""
        return self.records / f"{suite.name}_tokenizer_error.json"

    def record(self, run: Run) -> Path:
        """The record of a run."""
        return self.records / run.suite.name / f"{run.name}.json"


def quick(suite: Suite) -> Suite:
    """The suite reduced so far that it takes seconds."""
    network = suite.config.network
    transformer = replace(network.transformer, width=16, layers=1, attention_heads=2)
    config = replace(
        suite.config,
        batch=4,
        network=replace(network, channels=4, keypoints=4, transformer=transformer),
        demos=replace(suite.config.demos, stride=4),
    )
    sources = tuple(replace(s, count=2) for s in suite.sources[:1])
    return replace(suite, config=config, sources=sources, timeout_s=0.6, minutes=0.02)


QUICK = Budget(save_s=0.5, point_s=0.2, checks=(0.5,), check_episodes=1, episodes=2)


assert CHECK_SEED < EVALUATION_SEED
