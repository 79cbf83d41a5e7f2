"""What the learning table compares: blocks of cells that share data, budget and encoder.

A block is a record: a task, how to record its demonstrations, how to play a try. They are in `tasks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vla_ros.core.robot import Limits
from vla_ros.evaluation.rollout import Result, RolloutConfig
from vla_ros.train.config import EVALUATION_SEED, TrainConfig

CHECK_SEED = 800_000
"""Scenes of the closed-loop checks during training: neither trained on nor evaluated on."""
LEAD_STEPS = 3
"""A chunk is asked for so many control steps before the last is used up: the greatest delay is 2."""
WAYS = {"fixed": None, "consensus": None, "consensus_2": 2.0, "consensus_4": 4.0}
"""Ways to execute, and the consensus' ratio r, None for the configuration's. The paper sweeps r from 1.0 to 1.4;
horizons whose distance grows faster along the chunk need more, or the least number is executed nearly always."""
SPLINES = ("beast", "beast_flow", "beast_tokens")


@dataclass(frozen=True)
class Order:
    """Tries that are wanted.

    Attributes:
        seeds: One each.
        rollout: How they run.
        processes: How many at once.
        checkpoint: Who drives; None: the expert.
        folder: Where their frames go; None to keep none.
        prefix: Of the files' names.
        through: "linear" or "planner".
    """

    seeds: Sequence[int]
    rollout: RolloutConfig
    processes: int = 1
    checkpoint: Path | None = None
    folder: Path | None = None
    prefix: str = "expert"
    through: str = "linear"


Play = Callable[[TrainConfig, Order], Iterator[Result]]
"""Runs tries and gives their results as they end; files are named as `DemoWriter` names them."""


@dataclass(frozen=True)
class Source:
    """A part of a block's demonstrations.

    Attributes:
        prefix: Of the files' names.
        first: Seed of the first scene.
        count: Episodes.
        noise_rad: Deviation of the disturbance [rad].
        checkpoint: Who drives while the expert labels; None: the expert.
    """

    prefix: str
    first: int
    count: int
    noise_rad: float
    checkpoint: Path | None = None

    def missing(self, folder: Path) -> list[int]:
        """Seeds that are not in `folder` yet."""
        seeds = range(self.first, self.first + self.count)
        return [s for s in seeds if not (folder / f"{self.prefix}_{s:06d}.npz").exists()]


@dataclass(frozen=True)
class Block:
    """Cells that may be compared.

    Attributes:
        name: Of the block.
        config: What its cells share.
        heads: Action heads, each with one horizon and with a mixture.
        sources: The demonstrations.
        play: How a try is played.
        limits: Of the robot, for jerk over its limit; None where there are none.
        waypoint_horizons: Of the mixtures, in waypoints.
        point_horizons: The same for heads in control points: those that decide the same waypoints.
        shorter: Heads that are also trained with one horizon of fewer waypoints, and how many: a mixture is to be
            compared with the best single horizon, which need not be the longest.
        limit_s: Of a try [s].
        through: What turns chunks into commands in checks and evaluation.
        ways: How its mixtures are evaluated, of `WAYS`.
        minutes: Processor time of training, per cell [min].
        lacks: Why no try can be played here, for example for want of a package; "" where it can.
    """

    name: str
    config: TrainConfig
    heads: tuple[str, ...]
    sources: tuple[Source, ...]
    play: Play
    limits: Limits | None = None
    waypoint_horizons: tuple[int, ...] = (10, 21, 32)
    point_horizons: tuple[int, ...] = (6, 8, 10)
    shorter: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    limit_s: float = 16.0
    through: str = "planner"
    ways: tuple[str, ...] = tuple(WAYS)
    minutes: float = 20.0
    lacks: str = ""

    def cells(self) -> tuple[Cell, ...]:
        """In the order they are run: one head, alone and mixed, after the other; then the shorter ones."""
        pairs = tuple(Cell(self, head, mixed) for head in self.heads for mixed in (False, True))
        return pairs + tuple(
            Cell(self, head, False, count) for head, counts in self.shorter.items() for count in counts
        )

    def rollout(self, noise_rad: float = 0.0) -> RolloutConfig:
        """How the demonstrations are recorded."""
        c, d = self.config, self.config.demos
        return RolloutConfig(
            image_size=c.image_size, waypoints=c.spline.waypoints, dt_s=c.spline.dt_s, limit_s=self.limit_s,
            stride=d.stride, noise_rad=noise_rad, noise_s=d.noise_s, delay_steps=d.delay_steps,
            replan_steps=d.replan_steps,
        )  # fmt: skip

    def driven(self, agreed: bool) -> RolloutConfig:
        """How a policy is evaluated: asked again when what it may use of a chunk is used up.

        Args:
            agreed: Use what was sent; else always the first n waypoints, n as in the consensus.
        """
        least = self.config.actor.consensus.least if self.config.actor else 0
        return replace(self.rollout(), lead_steps=LEAD_STEPS, use_steps=0 if agreed else least)


@dataclass(frozen=True)
class Cell:
    """One head, with one horizon or with a mixture; `waypoints` of it where not 0, else the block's."""

    block: Block
    head: str
    mixed: bool
    waypoints: int = 0

    @property
    def name(self) -> str:
        """Of the files, for example "flow-moh" or "regression-10"."""
        return f"{self.head}-moh" if self.mixed else f"{self.head}-{self.waypoints}" if self.waypoints else self.head

    @property
    def ways(self) -> tuple[str, ...]:
        """How it is evaluated, of `WAYS`."""
        return self.block.ways if self.mixed else ("fixed",)

    @property
    def path(self) -> str:
        """Block and name."""
        return f"{self.block.name}/{self.name}"

    @property
    def config(self) -> TrainConfig:
        """Everything that is trained by."""
        actor = self.block.config.actor
        if actor is None:
            raise ValueError(f"block {self.block.name} has no action transformer.")
        b = self.block
        horizons = b.point_horizons if self.head in SPLINES else b.waypoint_horizons
        actor = replace(actor, head=self.head, horizons=horizons if self.mixed else ())
        spline = b.config.spline
        spline = replace(spline, waypoints=self.waypoints or spline.waypoints)
        return replace(b.config, actor=actor, spline=spline)


@dataclass(frozen=True)
class Budget:
    """How much is done.

    Attributes:
        save_s: Between saved states, in processor time [s].
        point_s: Between points of the curve, the same [s].
        checks: Shares of the budget after which success is checked in closed loop.
        check_episodes: Tries of a check.
        episodes: Tries of an evaluation.
        seed: Of weights and batches.
    """

    save_s: float = 120.0
    point_s: float = 20.0
    checks: tuple[float, ...] = (0.15, 0.4, 0.7)
    check_episodes: int = 10
    episodes: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Places:
    """Where things are.

    Attributes:
        work: States, demonstrations, logs; not kept in git.
        kept: Records of the cells; kept in git.
    """

    work: Path
    kept: Path = field(default=Path(__file__).parent / "records")

    def demos(self, block: Block) -> Path:
        """Folder of a block's demonstrations."""
        return self.work / block.name / "demos"

    def cell(self, cell: Cell) -> Path:
        """Folder of a cell's states."""
        return self.work / cell.block.name / cell.name

    def codes(self, block: Block) -> Path:
        """What codes lose of a block's demonstrations."""
        return self.kept / f"{block.name}_codes.json"

    def record(self, cell: Cell) -> Path:
        """The cell's record."""
        return self.kept / cell.block.name / f"{cell.name}.json"


def quick(block: Block) -> Block:
    """The block with so little of everything that it takes seconds."""
    actor = block.config.actor
    if actor is None:
        raise ValueError(f"block {block.name} has no action transformer.")
    config = replace(
        block.config,
        batch=4,
        network=replace(block.config.network, channels=4, keypoints=4),
        actor=replace(actor, width=16, layers=1, attention=2),
        demos=replace(block.config.demos, stride=4),
    )
    sources = tuple(replace(s, count=2) for s in block.sources[:1])
    return replace(block, config=config, sources=sources, limit_s=0.6, minutes=0.02)


QUICK = Budget(save_s=0.5, point_s=0.2, checks=(0.5,), check_episodes=1, episodes=2)


assert CHECK_SEED < EVALUATION_SEED
