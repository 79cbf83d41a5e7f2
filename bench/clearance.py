"""Time of the clearance check of a plan, and whether the plans of normal work pass it.

Plans are those of the scripted expert at ten per second, through the planner, on the simulated SO-101; and plans
between random poses, most of which are refused. Brakes are those of an emergency stop 0.2 s into each plan of the
expert, checked in one call; where one is refused, the stop follows the path. Times are processor time of the thread.
The supervisor uses the rest of each period for the check, so a plan of 2 ms waits about two periods.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.common import table
from vla_ros.api import Chunk, Plan, Planner
from vla_ros.collision.arm_model import ArmCollisionModel, load_collision_model
from vla_ros.config import load_robot
from vla_ros.core.records import NS, Array
from vla_ros.core.robot import Limits
from vla_ros.safety.clearance import ClearanceChecker, ClearanceResult, run_to_completion
from vla_ros.safety.remaining_trajectory import remaining_trajectory
from vla_ros.safety.stopping import brake
from vla_ros.sim.so101.assets import cache_root
from vla_ros.sim.so101.expert import Expert
from vla_ros.sim.so101.world import HOME, World

HEAD = ("", "plans", "refused", "poses median", "max", "ms median", "p99", "max", "ms per call p99", "us per pose")


@dataclass
class Record:
    """Checks of one kind of plan.

    Attributes:
        poses: Poses checked, per plan.
        times_ms: Time of a complete check, per plan [ms].
        calls_ms: Time of each call of an incremental check [ms].
        refused: Number of refused plans.
    """

    poses: list[int] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    calls_ms: list[float] = field(default_factory=list)
    refused: int = 0

    def check(self, checker: ClearanceChecker, plan: Plan) -> bool:
        """Check a plan incrementally; returns whether it is permitted."""
        steps, result, total = checker.check_incrementally(plan), None, 0.0
        while result is None:
            start = time.thread_time_ns()
            result = next(steps)
            self.calls_ms.append((time.thread_time_ns() - start) / 1e6)
            total += self.calls_ms[-1]
        assert isinstance(result, ClearanceResult)
        self.times_ms.append(total)
        self.poses.append(result.poses)
        permitted = checker.check(plan, result) is None
        self.refused += not permitted
        return permitted

    def check_brake(self, checker: ClearanceChecker, plan: Plan, limits: Limits) -> None:
        """Check the brake of an emergency stop 0.2 s into a plan, in one call."""
        now = plan.start_ns + NS // 5
        start = time.thread_time_ns()
        stop = remaining_trajectory([brake(plan.at(now), now, limits)], plan.joints, now)
        self.refused += not checker.is_clear(stop)
        self.times_ms.append((time.thread_time_ns() - start) / 1e6)
        self.calls_ms.append(self.times_ms[-1])
        self.poses.append(run_to_completion(checker.check_incrementally(stop)).poses)

    def row(self, name: str) -> list[str]:
        """The cells of the table."""
        median, p99, maximum = np.percentile(self.times_ms, [50, 99, 100])
        return [
            name,
            f"{len(self.times_ms):,}",
            f"{self.refused:,}",
            f"{np.median(self.poses):.0f}",
            f"{max(self.poses)}",
            *(f"{t:.2f}" for t in (median, p99, maximum, np.percentile(self.calls_ms, 99))),
            f"{1e3 * sum(self.times_ms) / sum(self.poses):.0f}",
        ]


def check_expert(episodes: int, record: Record, brakes: Record, model: ArmCollisionModel) -> None:
    """Check every plan of complete episodes; a refused plan is not executed."""
    robot = load_robot("so101")
    world, expert, planner = World(), Expert(rng=np.random.default_rng(0)), Planner(robot.limits)
    for seed in range(episodes):
        world.reset(seed)
        expert.reset()
        plan = Plan.hold(robot.joints, world.ground_truth().commanded, 0)
        checker = ClearanceChecker(model)
        checker.reset(world.ground_truth().commanded)
        while not world.success() and world.time_s < 12.0:
            now, before = NS + int(world.time_s * NS), plan
            path = expert.target_path(world.ground_truth(), 1.7, 1 / 30)
            new = planner.plan(Chunk.from_rate(now, robot.joints, path, 1 / 30), plan, now)
            if isinstance(new, Plan) and record.check(checker, new):
                plan = new
                brakes.check_brake(checker, plan, robot.limits)
            for _ in range(10):
                t = NS + int(world.time_s * NS)
                world.command((plan if t >= plan.start_ns else before).at(t).position)
                world.step(5)


def random_plans(count: int, seed: int) -> Iterator[tuple[Array, Plan]]:
    """Start poses and plans of two seconds between random poses; the starts are close to the home pose."""
    robot, rng, zero = load_robot("so101"), np.random.default_rng(seed), np.zeros((2, 6))
    for _ in range(count):
        start = np.array(HOME) + rng.normal(0.0, 0.2, 6)
        poses = np.array([start, start + rng.normal(0.0, 0.6, 6)])
        yield start, Plan(robot.joints, NS, np.array([0, 2 * NS]), poses, zero, zero)


def main(argv: Sequence[str] | None = None) -> int:
    """Check all plans; returns 0 if no plan of the expert was refused."""
    options = table.options(__doc__ or "", argv)
    robot = load_robot("so101")
    assert robot.clearance is not None
    model = load_collision_model(robot.limits, robot.clearance, cache_root())
    expert, random, brakes = Record(), Record(), Record()
    check_expert(2 if options.quick else 20, expert, brakes, model)
    for start, plan in random_plans(100 if options.quick else 1000, 0):
        checker = ClearanceChecker(model)
        checker.reset(start)
        random.check(checker, plan)
    rows = [expert.row("the expert's"), random.row("between random poses"), brakes.row("brakes from the expert's")]
    table.show("clearance check", HEAD, rows)
    text = f"{expert.refused} of {len(expert.times_ms)} plans of the expert refused (none)"
    return table.verdict([(text, not expert.refused)])


if __name__ == "__main__":
    sys.exit(main())
