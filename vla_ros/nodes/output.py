"""What the robot's controller is told: a position at every tick, or the way to rest whenever it changes."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from vla_ros.core.ahead import ahead
from vla_ros.core.gate import Command
from vla_ros.core.plan import Motion
from vla_ros.core.records import NS
from vla_ros.nodes import topics
from vla_ros.nodes.convert import plan_to_message

POSITIONS, TRAJECTORY = "positions", "trajectory"
KINDS = {POSITIONS: Float64MultiArray, TRAJECTORY: JointTrajectory}
CARRIES_ON = 1e3
"""Instead of `largest_step` for a controller that goes on by itself: the arm did not stop with our loop [rad]."""
REPEAT_S = 0.1
"""How often a trajectory is sent again while nothing changes [s]."""


class Output:
    """The only publisher to the robot."""

    def __init__(self, node: Node, kind: str, topic: str, joints: tuple[str, ...]) -> None:
        """Advertise one of `KINDS`; `joints` (J) in the order of the robot's file."""
        self._joints, self._flowing = joints, kind == TRAJECTORY
        self._pub = node.create_publisher(KINDS[kind], topic, topics.RELIABLE)
        self._positions = Float64MultiArray()
        self._told: tuple[Motion, ...] = ()
        self._again_ns = 0

    def tell(self, command: Command, motions: tuple[Motion, ...]) -> None:
        """Publish the command of this instant, which is on the first of the motions that are followed."""
        if not self._flowing:
            self._positions.data = command.state.position.tolist()
            self._pub.publish(self._positions)
        elif motions and (motions != self._told or command.stamp_ns >= self._again_ns):
            self._told, self._again_ns = motions, command.stamp_ns + round(REPEAT_S * NS)
            self._pub.publish(plan_to_message(ahead(motions, self._joints, command.stamp_ns)))
