"""Chunks to commands: linear in time, or as on the real system, by the planner and inside the robot's limits."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import numpy as np

from vla_ros.config import load_robot
from vla_ros.core.records import NS, Array, Chunk, Refusal
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner, rest_time_s
from vla_ros.policy.real_time_chunking import CommittedPrefix
from vla_ros.sim.so101.scene import JOINTS

CURVE_STEP_S = 0.05
"""A chunk that is a curve becomes waypoints so far apart [s], for those who know no curves."""


class Executor(Protocol):
    """What turns chunks into commands.

    Attributes:
        refusals: How often a chunk was refused, by reason; what was in force then runs on.
        apart: Of every chunk, how far it lies from the plan in force at the hand-over, shape (J,) [rad].
    """

    refusals: Counter[str]
    apart: list[Array]

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """Put a chunk that has just arrived in force."""

    def committed(self, asked_ns: int, arrives_ns: int) -> CommittedPrefix | None:
        """What is committed, if the chunk asked for now comes at `arrives_ns`; None where there is no plan."""

    def at(self, t_ns: int) -> Array:
        """Command for time `t_ns`, shape (J,) [rad]."""


class LinearExecutor:
    """Newest chunk wins, aligned by time; linear between waypoints; the last one is held."""

    def __init__(self, start: Array) -> None:
        """Hold `start`, shape (J,) [rad]."""
        self._times, self._rows = np.zeros(1), start[None]
        self.refusals: Counter[str] = Counter()
        self.apart: list[Array] = []

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """Put a chunk in force; from the command of now to its first waypoint that lies ahead is one more line."""
        chunk = chunk.as_waypoints(CURVE_STEP_S)
        times = chunk.stamp_ns / NS + chunk.offsets_s
        ahead = times > now_ns / NS + 1e-9
        if ahead.any():
            here = self.at(now_ns)
            self._times = np.concatenate([[now_ns / NS], times[ahead]])
            self._rows = np.concatenate([here[None], chunk.positions[ahead]])

    def committed(self, asked_ns: int, arrives_ns: int) -> CommittedPrefix | None:
        """See `Executor`."""
        return None

    def at(self, t_ns: int) -> Array:
        """Command for time `t_ns`, shape (J,) [rad]."""
        return np.array([np.interp(t_ns / NS, self._times, column) for column in self._rows.T])


class PlannerExecutor:
    """The planner and its plan in force; the supervisor's stops are left out."""

    def __init__(self, start: Array, robot: str = "so101") -> None:
        """Hold `start`, in the order of the simulated arm's joints, shape (J,) [rad]."""
        limits = load_robot(robot).limits
        self._planner = Planner(limits)
        self._order = [limits.joints.index(name) for name in JOINTS]
        held = start[[JOINTS.index(name) for name in limits.joints]]
        self._plans = [Plan.hold(limits.joints, held, 0)]
        self._tail_ns = round(rest_time_s(limits) * NS)
        self.refusals: Counter[str] = Counter()
        self.apart: list[Array] = []

    def take(self, chunk: Chunk, now_ns: int) -> None:
        """Plan for a chunk that has just arrived."""
        self._advance(now_ns)
        active_plan = self._plans[0]
        t = self._planner.handover_ns(active_plan, now_ns)
        self.apart.append(np.abs(chunk.reordered(JOINTS).at(t) - active_plan.at(t).position[self._order]))
        plan = self._planner.plan(chunk, active_plan, now_ns)
        if isinstance(plan, Refusal):
            self.refusals[plan.reason] += 1
        else:
            self._plans = [active_plan, plan]

    def committed(self, asked_ns: int, arrives_ns: int) -> CommittedPrefix | None:
        """See `Executor`."""
        plan = self._plans[-1]
        return CommittedPrefix.until(plan, asked_ns, self._planner.handover_ns(plan, arrives_ns), self._tail_ns)

    def _advance(self, t_ns: int) -> None:
        while len(self._plans) > 1 and t_ns >= self._plans[1].start_ns:
            self._plans.pop(0)

    def at(self, t_ns: int) -> Array:
        """Command for time `t_ns`, shape (J,) [rad]."""
        self._advance(t_ns)
        return self._plans[0].at(t_ns).position[self._order]
