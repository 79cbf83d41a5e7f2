"""What the simulated trajectory controller tells its servos; it goes on by itself, whatever is sent."""

from __future__ import annotations

import json

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from vla_ros.core.limit_monitor import GAP_NS, Judgement, judge
from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.nodes.common import topics

EVERY = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Servos:
    """Targets of the servos as the simulator's truth has them, each with the instant it was set."""

    def __init__(self, node: Node) -> None:
        """Listen."""
        self._stamps: list[int] = []
        self._targets: list[list[float]] = []
        node.create_subscription(String, topics.SIM_TRUTH, self._hear, EVERY)

    def _hear(self, message: String) -> None:
        truth = json.loads(message.data)
        if not self._stamps or truth["commanded_ns"] > self._stamps[-1]:
            self._stamps.append(truth["commanded_ns"])
            self._targets.append(truth["commanded"])

    def forget(self) -> None:
        """What was told so far does not count: before arming the servos hold wherever they were switched on."""
        self._stamps.clear()
        self._targets.clear()

    def last_motion_ns(self, still: float) -> int:
        """When a target last moved faster than `still` [rad/s]; 0 for never [ns]."""
        if len(self._stamps) < 2:
            return 0
        step, since = np.abs(np.diff(self._targets, axis=0)).max(axis=1), np.diff(self._stamps)
        fast = np.flatnonzero((step > still * since / NS) & (since < GAP_NS))  # over a silence nothing is known
        return self._stamps[int(fast[-1]) + 1] if len(fast) else 0

    def judgement(self, limits: Limits) -> Judgement:
        """Judge every target since the last `forget`."""
        return judge(np.array(self._stamps, dtype=np.int64), np.array(self._targets), limits)


def worse(one: Judgement, other: Judgement) -> Judgement:
    """Of both: the greater ratios, every violation."""
    violations = {name: one.violations[name] + other.violations[name] for name in one.violations}
    peaks = {name: max(one.peak_ratio[name], other.peak_ratio[name]) for name in one.peak_ratio}
    return Judgement(one.samples + other.samples, one.silences + other.silences, violations, peaks)
