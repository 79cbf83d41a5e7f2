"""How long it takes to look along a plan for what the arm must keep clear of, and that normal work passes.

The plans are those of the scripted expert at ten per second, through the planner, on the simulated SO-101; beside
them stand plans to random poses, most of which are refused. Times are processor time of the thread; the
supervisor gives a plan what each period has left, so a plan of 2 ms waits about two periods. Brakes are those of an
emergency stop 0.2 s into each plan of the expert, each looked at at once; for one that is refused the
stop goes along the path.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.common import table
from vla_ros.api import Chunk, Plan, Planner
from vla_ros.collision.arm_model import ArmShape, load_shape
from vla_ros.config import load_robot
from vla_ros.core.records import NS, Array
from vla_ros.core.robot import Limits
from vla_ros.safety.clearance import Passage, Space, whole
from vla_ros.safety.remaining_trajectory import ahead
from vla_ros.safety.stopping import brake
from vla_ros.sim.so101.assets import cache_root
from vla_ros.sim.so101.expert import Expert
from vla_ros.sim.so101.world import HOME, World

HEAD = ("", "plans", "refused", "poses median", "max", "ms median", "p99", "max", "ms at once p99", "us per pose")


@dataclass
class Record:
    """What came of one kind of plan."""

    poses: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    refused: int = 0

    def look(self, space: Space, plan: Plan) -> bool:
        """Look along a plan part by part, and whether it is permitted."""
        look, passage, total = space.look(plan), None, 0.0
        while passage is None:
            start = time.thread_time_ns()
            passage = next(look)
            self.turns.append((time.thread_time_ns() - start) / 1e6)
            total += self.turns[-1]
        assert isinstance(passage, Passage)
        self.times.append(total)
        self.poses.append(passage.poses)
        permitted = space.judge(plan, passage) is None
        self.refused += not permitted
        return permitted

    def brake(self, space: Space, plan: Plan, limits: Limits) -> None:
        """Look along the brake of an emergency stop 0.2 s into a plan, all at once."""
        now = plan.start_ns + NS // 5
        start = time.thread_time_ns()
        stop = ahead([brake(plan.at(now), now, limits)], plan.joints, now)
        self.refused += not space.clear(stop)
        self.times.append((time.thread_time_ns() - start) / 1e6)
        self.turns.append(self.times[-1])
        self.poses.append(whole(space.look(stop)).poses)

    def row(self, name: str) -> list[str]:
        """The cells of the table."""
        middle, p99, most = np.percentile(self.times, [50, 99, 100])
        return [
            name,
            f"{len(self.times):,}",
            f"{self.refused:,}",
            f"{np.median(self.poses):.0f}",
            f"{max(self.poses)}",
            *(f"{t:.2f}" for t in (middle, p99, most, np.percentile(self.turns, 99))),
            f"{1e3 * sum(self.times) / sum(self.poses):.0f}",
        ]


def of_the_expert(episodes: int, record: Record, brakes: Record, shape: ArmShape) -> None:
    """Every plan of whole episodes; one that is refused is not followed."""
    robot = load_robot("so101")
    world, expert, planner = World(), Expert(rng=np.random.default_rng(0)), Planner(robot.limits)
    for seed in range(episodes):
        world.reset(seed)
        expert.restart()
        plan = Plan.hold(robot.joints, world.truth().commanded, 0)
        space = Space(shape)
        space.begin(world.truth().commanded)
        while not world.success() and world.time_s < 12.0:
            now, before = NS + int(world.time_s * NS), plan
            path = expert.target_path(world.truth(), 1.7, 1 / 30)
            new = planner.plan(Chunk.from_rate(now, robot.joints, path, 1 / 30), plan, now)
            if isinstance(new, Plan) and record.look(space, new):
                plan = new
                brakes.brake(space, plan, robot.limits)
            for _ in range(10):
                t = NS + int(world.time_s * NS)
                world.command((plan if t >= plan.start_ns else before).at(t).position)
                world.step(5)


def at_random(count: int, seed: int) -> Iterator[tuple[Array, Plan]]:
    """Plans of two seconds between random poses, the first near the pose in which the arm begins."""
    robot, rng, zero = load_robot("so101"), np.random.default_rng(seed), np.zeros((2, 6))
    for _ in range(count):
        start = np.array(HOME) + rng.normal(0.0, 0.2, 6)
        poses = np.array([start, start + rng.normal(0.0, 0.6, 6)])
        yield start, Plan(robot.joints, NS, np.array([0, 2 * NS]), poses, zero, zero)


def main(argv: Sequence[str] | None = None) -> int:
    """Look along both kinds; 0 if no plan of the expert was refused."""
    given = table.options(__doc__ or "", argv)
    robot = load_robot("so101")
    assert robot.space is not None
    shape = load_shape(robot.limits, robot.space, cache_root())
    normal, wild, brakes = Record(), Record(), Record()
    of_the_expert(2 if given.quick else 20, normal, brakes, shape)
    for start, plan in at_random(100 if given.quick else 1000, 0):
        space = Space(shape)
        space.begin(start)
        wild.look(space, plan)
    rows = [normal.row("the expert's"), wild.row("between random poses"), brakes.row("brakes out of the expert's")]
    table.show("looking along a plan", HEAD, rows)
    return table.verdict(
        [(f"{normal.refused} of {len(normal.times)} plans of the expert refused (none)", not normal.refused)]
    )


if __name__ == "__main__":
    sys.exit(main())
