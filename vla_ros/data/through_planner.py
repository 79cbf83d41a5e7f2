"""Chunks to commands as on the real system: by the planner, inside the robot's limits."""

from __future__ import annotations

from collections import Counter

from vla_ros.config import load_robot
from vla_ros.core import Plan, Planner, Refusal
from vla_ros.core.records import Array, Chunk
from vla_ros.sim.scene import JOINTS


class PlannerExecutor:
    """The planner and its plan in force; the supervisor's stops are left out.

    Attributes:
        refusals: How often a chunk was refused, by reason; the plan in force then runs on.
    """

    def __init__(self, start: Array, robot: str = "so101") -> None:
        """Hold `start`, in the order of the simulated arm's joints, shape (J,) [rad]."""
        limits = load_robot(robot).limits
        self._planner = Planner(limits)
        self._order = [limits.joints.index(name) for name in JOINTS]
        held = start[[JOINTS.index(name) for name in limits.joints]]
        self._plans = [Plan.hold(limits.joints, held, 0)]
        self.refusals: Counter[str] = Counter()

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """Plan for a chunk that has just arrived."""
        self._advance(now_ns)
        plan = self._planner.plan(chunk, self._plans[0], now_ns)
        if isinstance(plan, Refusal):
            self.refusals[plan.reason] += 1
        else:
            self._plans = [self._plans[0], plan]

    def _advance(self, t_ns: int) -> None:
        while len(self._plans) > 1 and t_ns >= self._plans[1].start_ns:
            self._plans.pop(0)

    def at(self, t_ns: int) -> Array:
        """Command for time `t_ns`, shape (J,) [rad]."""
        self._advance(t_ns)
        return self._plans[0].at(t_ns).position[self._order]
