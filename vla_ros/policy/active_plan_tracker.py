"""Predicts which part of the active plan will have been executed when the next chunk takes over."""

from __future__ import annotations

from collections import deque

from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import rest_time_s
from vla_ros.policy.real_time_chunking import CommittedPrefix

LATENCY_WINDOW = 10
"""The next inference is expected to take as long as the slowest of this many."""
INITIAL_LATENCY_NS = NS // 10
"""Expected before the first inference [ns]."""


class ActivePlanTracker:
    """Derives the committed prefix from the active plan, the planner's clock and the latency of the policy.

    Attributes:
        plan: The active plan in the order of the policy's joints; None without one.
        speed: Rate of the planner's clock, in (0, 1].
    """

    def __init__(self, limits: Limits, handover_s: float) -> None:
        """Start without a plan.

        Args:
            limits: Of the arm; they bound the time a plan needs to come to rest.
            handover_s: From the publication of a chunk to its handover [s].
        """
        self.plan: Plan | None = None
        self.speed = 1.0
        self._handover_ns = round(handover_s * NS)
        self._tail_ns = round(rest_time_s(limits) * NS)
        self._latencies_ns: deque[int] = deque([INITIAL_LATENCY_NS], maxlen=LATENCY_WINDOW)

    def set_speed(self, speed: float) -> None:
        """Take the rate of the planner's clock; a value outside (0, 1] is ignored."""
        if 0.0 < speed <= 1.0:
            self.speed = speed

    def add_latency(self, latency_ns: int) -> None:
        """Record the time from the start of an inference to the publication of its chunk [ns]."""
        self._latencies_ns.append(latency_ns)

    def committed_prefix(self, now_ns: int) -> CommittedPrefix | None:
        """The committed prefix for an inference that starts now; None without a plan, or if it is at rest by then."""
        if self.plan is None:
            return None
        handover_ns = now_ns + max(self._latencies_ns) + self._handover_ns
        return CommittedPrefix.until(self.plan, now_ns, handover_ns, self._tail_ns, self.speed)
