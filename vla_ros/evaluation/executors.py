"""Executors turn chunks into commands: by linear interpolation, or by the planner as in the ROS graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import ClassVar, Protocol

import numpy as np

from vla_ros.config import load_robot
from vla_ros.core.records import NS, Array, Chunk, Refusal
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner, rest_time_s
from vla_ros.policy.real_time_chunking import CommittedPrefix
from vla_ros.registry import Registry

CURVE_STEP_S = 0.05
"""Sampling period at which executors without curves turn a curve chunk into waypoints [s]."""


class Executor(Protocol):
    """Turns chunks into commands; made for one episode.

    Attributes:
        has_plan: Whether it follows a plan, and therefore knows the committed prefix.
        refusals: Number of refused chunks by reason; the active plan continues after a refusal.
        handover_errors: Deviation of every accepted or refused chunk from the active plan at its handover, shape (J,)
            [rad]; empty for executors without a plan.
    """

    has_plan: ClassVar[bool]
    refusals: Counter[str]
    handover_errors: list[Array]

    def __init__(self, start: Array, joints: tuple[str, ...], robot: str) -> None:
        """Hold `start`, shape (J,) [rad], whose joints are `joints`; `robot` is the name of the robot."""

    def accept(self, chunk: Chunk, now_ns: int) -> None:
        """Use a chunk that arrived at `now_ns`."""

    def committed_prefix(self, request_ns: int, arrival_ns: int) -> CommittedPrefix | None:
        """The prefix executed before a chunk requested now and arriving at `arrival_ns`; None without a plan."""

    def at(self, t_ns: int) -> Array:
        """Command at time `t_ns`, shape (J,) [rad]."""


ExecutorFactory = Callable[[Array, tuple[str, ...], str], Executor]
"""(start position of shape (J,) [rad], joint names in that order, name of the robot) -> an executor for one episode."""

executors: Registry[type[Executor]] = Registry("executor", {"linear": __name__, "planner": __name__})
"""Executors by name."""


@executors.register("linear")
class LinearExecutor:
    """Uses the newest chunk, aligned by time: linear between waypoints, the last waypoint is held."""

    has_plan: ClassVar[bool] = False

    def __init__(self, start: Array, joints: tuple[str, ...] = (), robot: str = "") -> None:
        """Hold `start`, shape (J,) [rad]; `joints` and `robot` are not used."""
        self._times, self._rows = np.zeros(1), start[None]
        self.refusals: Counter[str] = Counter()
        self.handover_errors: list[Array] = []

    def accept(self, chunk: Chunk, now_ns: int) -> None:
        """See `Executor`; a line leads from the current command to the first future waypoint."""
        chunk = chunk.as_waypoints(CURVE_STEP_S)
        times = chunk.stamp_ns / NS + chunk.offsets_s
        future = times > now_ns / NS + 1e-9
        if future.any():
            current = self.at(now_ns)
            self._times = np.concatenate([[now_ns / NS], times[future]])
            self._rows = np.concatenate([current[None], chunk.positions[future]])

    def committed_prefix(self, request_ns: int, arrival_ns: int) -> CommittedPrefix | None:
        """See `Executor`."""
        return None

    def at(self, t_ns: int) -> Array:
        """See `Executor`."""
        return np.array([np.interp(t_ns / NS, self._times, column) for column in self._rows.T])


@executors.register("planner")
class PlannerExecutor:
    """The planner and its active plan, without the supervisor."""

    has_plan: ClassVar[bool] = True

    def __init__(self, start: Array, joints: tuple[str, ...], robot: str = "so101") -> None:
        """Hold a position within the limits of a robot.

        Args:
            start: Start position, shape (J,) [rad].
            joints: Joint names in the order of `start` and of all commands.
            robot: Name of the robot.
        """
        limits = load_robot(robot).limits
        self._planner = Planner(limits)
        self._joints = tuple(joints)
        self._order = [limits.joints.index(name) for name in self._joints]
        held = start[[self._joints.index(name) for name in limits.joints]]
        self._plans = [Plan.hold(limits.joints, held, 0)]
        self._rest_ns = round(rest_time_s(limits) * NS)
        self.refusals: Counter[str] = Counter()
        self.handover_errors: list[Array] = []

    def accept(self, chunk: Chunk, now_ns: int) -> None:
        """See `Executor`."""
        self._advance(now_ns)
        active = self._plans[0]
        t = self._planner.handover_ns(active, now_ns)
        self.handover_errors.append(np.abs(chunk.reordered(self._joints).at(t) - active.at(t).position[self._order]))
        plan = self._planner.plan(chunk, active, now_ns)
        if isinstance(plan, Refusal):
            self.refusals[plan.reason] += 1
        else:
            self._plans = [active, plan]

    def committed_prefix(self, request_ns: int, arrival_ns: int) -> CommittedPrefix | None:
        """See `Executor`."""
        plan = self._plans[-1]
        return CommittedPrefix.until(plan, request_ns, self._planner.handover_ns(plan, arrival_ns), self._rest_ns)

    def _advance(self, t_ns: int) -> None:
        while len(self._plans) > 1 and t_ns >= self._plans[1].start_ns:
            self._plans.pop(0)

    def at(self, t_ns: int) -> Array:
        """See `Executor`."""
        self._advance(t_ns)
        return self._plans[0].at(t_ns).position[self._order]
