"""Example of a policy outside this package: a ROS 2 node that publishes chunks and swings one joint.

A chunk is a trajectory_msgs/JointTrajectory with positions only. Its stamp is the capture time of the observation that
it was computed from; waypoint k is at (k + 1) dt. Chunks may be late, discontinuous or missing: planner and supervisor
keep every command within the limits of the robot.

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
    """Swings one joint about its position at the start of the node."""

    def __init__(self) -> None:
        """Declare the parameters; the first joint state starts the motion."""
        super().__init__("wave")
        self.joint = self.declare_parameter("joint", "wrist_roll").value
        self.amplitude = self.declare_parameter("amplitude", 0.3).value
        self.start: dict[str, float] = {}
        self.begin_s = 0.0
        self.publisher = self.create_publisher(JointTrajectory, "vla/chunk", 10)
        self.create_subscription(JointState, "joint_states", self.on_joints, rclpy.qos.qos_profile_sensor_data)
        self.create_timer(PERIOD_S, self.publish)

    def on_joints(self, message: JointState) -> None:
        """Keep the first pose, and the stamp of the newest."""
        self.stamp = message.header.stamp
        if not self.start:
            self.start = dict(zip(message.name, message.position, strict=True))
            self.begin_s = self.stamp.sec + self.stamp.nanosec * 1e-9

    def publish(self) -> None:
        """Publish a chunk of one second."""
        if not self.start:
            return
        elapsed = self.stamp.sec + self.stamp.nanosec * 1e-9 - self.begin_s
        chunk = JointTrajectory(joint_names=list(self.start))
        chunk.header.stamp = self.stamp
        for k in range(1, WAYPOINTS + 1):
            pose = dict(self.start)
            pose[self.joint] += self.amplitude * math.sin(2 * math.pi * 0.25 * (elapsed + k * DT_S))
            offset = Duration(sec=int(k * DT_S), nanosec=int(k * DT_S % 1 * 1e9))
            chunk.points.append(JointTrajectoryPoint(positions=list(pose.values()), time_from_start=offset))
        self.publisher.publish(chunk)


def main() -> None:
    """Run until interrupted."""
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        rclpy.spin(Wave())


if __name__ == "__main__":
    main()
