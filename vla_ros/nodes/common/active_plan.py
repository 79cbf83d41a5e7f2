"""Follows the plan in force and the planner's clock, for a policy that wants to agree with what is being executed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rclpy.node import Node
from std_msgs.msg import Float64
from trajectory_msgs.msg import JointTrajectory

from vla_ros.core.errors import RecordError
from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import plan_from_message
from vla_ros.nodes.common.node_loop import newest
from vla_ros.planning.planner import rest_time_s
from vla_ros.policy.real_time_chunking import Committed

REMEMBERED = 10
"""The slowest of so many answers is what the next one is expected to take."""


class InForce:
    """What a policy can be told is committed."""

    def __init__(self, node: Node, joints: Sequence[str], limits: Limits, handover_s: float) -> None:
        """Listen; `handover_s` is from a chunk's being sent to its hand-over [s]."""
        self._joints, self._handover_ns = tuple(joints), round(handover_s * NS)
        self._tail_ns = round(rest_time_s(limits) * NS)
        self._plan: Plan | None = None
        self._speed = 1.0
        self._took_ns: deque[int] = deque([NS // 10], maxlen=REMEMBERED)
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._force_sub = node.create_subscription(JointTrajectory, topics.IN_FORCE, ignored, topics.LATCHED)
        self._speed_sub = node.create_subscription(Float64, topics.SPEED_SCALE, ignored, topics.LATCHED)

    def listen(self) -> None:
        """Take what came; what cannot be understood is as good as no plan."""
        message = newest(self._force_sub)
        if message is not None:
            try:
                self._plan = plan_from_message(message).in_order(self._joints) if message.points else None
            except RecordError:
                self._plan = None
        message = newest(self._speed_sub)
        if message is not None and 0.0 < message.data <= 1.0:
            self._speed = message.data

    def took(self, duration_ns: int) -> None:
        """An answer took so long from the question to its being sent [ns]."""
        self._took_ns.append(duration_ns)

    def committed(self, now_ns: int) -> Committed | None:
        """What is committed, asked now; None without a plan, or with one that has come to rest by then."""
        if self._plan is None:
            return None
        handover_ns = now_ns + max(self._took_ns) + self._handover_ns
        return Committed.until(self._plan, now_ns, handover_ns, self._tail_ns, self._speed)
