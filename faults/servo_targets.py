"""The targets that the simulated trajectory controller gives its servos, from the simulator's ground truth."""

from __future__ import annotations

import json

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from vla_ros.core.limit_monitor import GAP_NS, LimitReport, check_limits
from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.nodes.common import topics

ALL_MESSAGES = QoSProfile(
    depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)


class ServoTargets:
    """Every received servo target, with the time it was set."""

    def __init__(self, node: Node) -> None:
        """Subscribe to the ground truth."""
        self._stamps: list[int] = []
        self._targets: list[list[float]] = []
        node.create_subscription(String, topics.GROUND_TRUTH, self._on_ground_truth, ALL_MESSAGES)

    def _on_ground_truth(self, message: String) -> None:
        truth = json.loads(message.data)
        if not self._stamps or truth["commanded_ns"] > self._stamps[-1]:
            self._stamps.append(truth["commanded_ns"])
            self._targets.append(truth["commanded"])

    def clear(self) -> None:
        """Discard what was received: before arming, the servos hold the pose in which they were switched on."""
        self._stamps.clear()
        self._targets.clear()

    def last_motion_ns(self, rest_speed: float) -> int:
        """Time of the last target that moved faster than `rest_speed` [rad/s]; 0 for none [ns]."""
        if len(self._stamps) < 2:
            return 0
        step, since = np.abs(np.diff(self._targets, axis=0)).max(axis=1), np.diff(self._stamps)
        # Across a gap in the stream the speed is unknown.
        moving = np.flatnonzero((step > rest_speed * since / NS) & (since < GAP_NS))
        return self._stamps[int(moving[-1]) + 1] if len(moving) else 0

    def limit_report(self, limits: Limits) -> LimitReport:
        """Check every target since the last `clear` against the limits."""
        return check_limits(np.array(self._stamps, dtype=np.int64), np.array(self._targets), limits)


def combine(one: LimitReport, other: LimitReport) -> LimitReport:
    """Sum of the violations and maximum of the ratios of two reports."""
    violations = {name: one.violations[name] + other.violations[name] for name in one.violations}
    peaks = {name: max(one.peak_ratio[name], other.peak_ratio[name]) for name in one.peak_ratio}
    return LimitReport(one.samples + other.samples, one.gaps + other.gaps, violations, peaks)
