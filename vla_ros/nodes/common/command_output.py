"""Publishes commands to the robot's controller: a position per tick, or a trajectory whenever it changes."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from vla_ros.core.records import NS
from vla_ros.core.trajectory import Motion
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import plan_to_message
from vla_ros.safety.gate import Command
from vla_ros.safety.remaining_trajectory import DelayedTrajectory

POSITIONS, TRAJECTORY = "positions", "trajectory"
MESSAGE_TYPES = {POSITIONS: Float64MultiArray, TRAJECTORY: JointTrajectory}
TRAJECTORY_MAX_COMMAND_STEP_RAD = 1e3
"""Replaces `max_command_step_rad` for a trajectory controller: it moved the arm on while the loop stalled [rad]."""
TRAJECTORY_MAX_ARMING_ERROR_RAD = 0.05
"""Upper bound of the tracking error at arming for a trajectory controller: it would jump to the held pose [rad]."""
TRAJECTORY_DELAY_S = 0.02
"""Delay of a published trajectory behind the command: two periods of a controller at 100 Hz [s]."""
REPEAT_S = 0.1
"""Period at which an unchanged trajectory is published again until the arm is at rest [s].

A trajectory that has ended is not repeated: a controller that missed it rests in another pose and would jump."""


class CommandOutput:
    """The only publisher of the robot's command topic."""

    def __init__(self, node: Node, kind: str, topic: str, joints: tuple[str, ...]) -> None:
        """Create the publisher; `kind` is a key of `MESSAGE_TYPES`, `joints` (J) in the order of the robot file."""
        self._publishes_trajectory = kind == TRAJECTORY
        self._pub = node.create_publisher(MESSAGE_TYPES[kind], topic, topics.RELIABLE)
        self._positions = Float64MultiArray()
        self._delayed = DelayedTrajectory(joints, round(TRAJECTORY_DELAY_S * NS))
        self._published: tuple[Motion, ...] = ()
        self._repeat_ns = self._end_ns = 0

    def publish(self, command: Command, motions: tuple[Motion, ...]) -> None:
        """Publish the command of this instant; it lies on the first of the motions being executed."""
        if not self._publishes_trajectory:
            self._positions.data = command.state.position.tolist()
            self._pub.publish(self._positions)
            return
        if not motions:
            return
        now = command.stamp_ns
        if motions != self._published:
            self._delayed.set_motions(motions, now)
            self._end_ns = motions[-1].end_ns + round(TRAJECTORY_DELAY_S * NS)
        elif not self._repeat_ns <= now < self._end_ns:
            return
        self._published, self._repeat_ns = motions, now + round(REPEAT_S * NS)
        self._pub.publish(plan_to_message(self._delayed.delayed(now)))
