"""A policy of one's own, outside this package: an ordinary ROS 2 node that publishes chunks.

It waves the wrist of whatever arm publishes joint states. All it has to know is the contract of a chunk:
a trajectory_msgs/JointTrajectory with positions only, stamped with the capture time of the observation it
answers, waypoint k at (k + 1) dt. It may be late, jump or stop: the planner and the supervisor see to the rest.

    python examples/chunk_publisher.py --ros-args -p joint:=wrist_roll -p amplitude:=0.3
"""

import contextlib
import math

import rclpy
from builtin_interfaces.msg import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

DT_S, WAYPOINTS, PERIOD_S = 1 / 30, 30, 0.2


class Wave(Node):
    """Swings one joint about where it stood when the node began."""

    def __init__(self) -> None:
        """Wait for the first joint state."""
        super().__init__("wave")
        self.joint = self.declare_parameter("joint", "wrist_roll").value
        self.amplitude = self.declare_parameter("amplitude", 0.3).value
        self.start: dict[str, float] = {}
        self.begun = 0.0
        self.publisher = self.create_publisher(JointTrajectory, "vla/chunk", 10)
        self.create_subscription(JointState, "joint_states", self.on_joints, rclpy.qos.qos_profile_sensor_data)
        self.create_timer(PERIOD_S, self.publish)

    def on_joints(self, message: JointState) -> None:
        """Remember the first pose, and when the newest was measured."""
        self.stamp = message.header.stamp
        if not self.start:
            self.start = dict(zip(message.name, message.position, strict=True))
            self.begun = self.stamp.sec + self.stamp.nanosec * 1e-9

    def publish(self) -> None:
        """One chunk for the next second."""
        if not self.start:
            return
        now = self.stamp.sec + self.stamp.nanosec * 1e-9 - self.begun
        chunk = JointTrajectory(joint_names=list(self.start))
        chunk.header.stamp = self.stamp
        for k in range(1, WAYPOINTS + 1):
            pose = dict(self.start)
            pose[self.joint] += self.amplitude * math.sin(2 * math.pi * 0.25 * (now + k * DT_S))
            when = Duration(sec=int(k * DT_S), nanosec=int(k * DT_S % 1 * 1e9))
            chunk.points.append(JointTrajectoryPoint(positions=list(pose.values()), time_from_start=when))
        self.publisher.publish(chunk)


def main() -> None:
    """Run until interrupted."""
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        rclpy.spin(Wave())


if __name__ == "__main__":
    main()
