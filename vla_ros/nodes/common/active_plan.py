"""Subscribes to the active plan and the speed scale on behalf of a policy with real-time chunking."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from std_msgs.msg import Float64
from trajectory_msgs.msg import JointTrajectory

from vla_ros.core.errors import RecordError
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import plan_from_message
from vla_ros.nodes.common.node_loop import subscribe
from vla_ros.policy.active_plan_tracker import ActivePlanTracker


class ActivePlanListener:
    """Updates an `ActivePlanTracker` from its topics."""

    def __init__(self, node: Node, joints: Sequence[str], tracker: ActivePlanTracker) -> None:
        """Subscribe; `joints` is the order of the policy's joints."""
        self._joints, self._tracker = tuple(joints), tracker
        self._plan_sub = subscribe(node, JointTrajectory, topics.ACTIVE_PLAN, topics.LATCHED)
        self._speed_sub = subscribe(node, Float64, topics.SPEED_SCALE, topics.LATCHED)

    def receive(self) -> None:
        """Take the newest messages; a malformed plan counts as none."""
        message = self._plan_sub.newest()
        if message is not None:
            try:
                plan = plan_from_message(message).reordered(self._joints) if message.points else None
            except RecordError:
                plan = None
            self._tracker.plan = plan
        speed = self._speed_sub.newest()
        if speed is not None:
            self._tracker.set_speed(speed.data)
