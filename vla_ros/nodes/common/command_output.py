"""What the robot's controller is told: a position at every tick, or the way to rest whenever it changes."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from vla_ros.core.records import NS
from vla_ros.core.trajectory import Motion
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import plan_to_message
from vla_ros.safety.gate import Command
from vla_ros.safety.remaining_trajectory import Trail

POSITIONS, TRAJECTORY = "positions", "trajectory"
KINDS = {POSITIONS: Float64MultiArray, TRAJECTORY: JointTrajectory}
CARRIES_ON = 1e3
"""Instead of `largest_step` for a controller that goes on by itself: the arm did not stop with our loop [rad]."""
NEAR_RAD = 0.05
"""Instead of a larger `tracking`, for the same: armed farther away, it would leap to where it is told to hold [rad]."""
LAG_S = 0.02
"""How far behind what is commanded a trajectory is told: two periods of a controller at 100 Hz [s]."""
REPEAT_S = 0.1
"""How often a trajectory is sent again while nothing changes and the arm is not yet at rest [s].

A rest is not repeated: a controller that missed the way there rests elsewhere, by what it knows, and would leap."""


class Output:
    """The only publisher to the robot."""

    def __init__(self, node: Node, kind: str, topic: str, joints: tuple[str, ...]) -> None:
        """Advertise one of `KINDS`; `joints` (J) in the order of the robot's file."""
        self._flowing = kind == TRAJECTORY
        self._pub = node.create_publisher(KINDS[kind], topic, topics.RELIABLE)
        self._positions = Float64MultiArray()
        self._trail = Trail(joints, round(LAG_S * NS))
        self._told: tuple[Motion, ...] = ()
        self._again_ns = self._rest_ns = 0

    def tell(self, command: Command, motions: tuple[Motion, ...]) -> None:
        """Publish the command of this instant, which is on the first of the motions that are followed."""
        if not self._flowing:
            self._positions.data = command.state.position.tolist()
            self._pub.publish(self._positions)
            return
        if not motions:
            return
        now = command.stamp_ns
        if motions != self._told:
            self._trail.follow(motions, now)
            self._rest_ns = motions[-1].end_ns + round(LAG_S * NS)
        elif not self._again_ns <= now < self._rest_ns:
            return
        self._told, self._again_ns = motions, now + round(REPEAT_S * NS)
        self._pub.publish(plan_to_message(self._trail.told(now)))
