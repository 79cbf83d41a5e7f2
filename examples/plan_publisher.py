"""Example of a motion planner outside this package: publishes one plan and reports whether it was accepted.

A plan is a trajectory_msgs/JointTrajectory with position, velocity and acceleration at every knot. Its stamp is the
time of its first knot. The supervisor accepts a plan only if it starts in the commanded state, stays within every limit
and ends at rest. The node therefore starts its plan at the end of the active plan, which the supervisor publishes.

    python examples/plan_publisher.py --ros-args -p joint:=shoulder_pan -p move:=0.4
"""

import sys

import rclpy
from builtin_interfaces.msg import Duration, Time
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

DURATION_S, LEAD_S, KNOTS = 3.0, 0.1, 31
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def quintic(u: float) -> tuple[float, float, float]:
    """A quintic from 0 to 1, at rest at both ends, and its first two derivatives by u."""
    return (
        u**3 * (10 - 15 * u + 6 * u**2),
        30 * u**2 * (1 - u) ** 2,
        60 * u * (1 - u) * (1 - 2 * u),
    )


class MoveOne(Node):
    """Moves one joint by a given angle."""

    def __init__(self) -> None:
        """Declare the parameters and subscribe to the active plan."""
        super().__init__("move_one")
        self.joint = self.declare_parameter("joint", "shoulder_pan").value
        self.move = self.declare_parameter("move", 0.4).value
        self.active_plan: JointTrajectory | None = None
        self.sent: JointTrajectory | None = None
        self.sent_ns = 0
        self.accepted = False
        self.publisher = self.create_publisher(JointTrajectory, "vla/plan", 10)
        self.create_subscription(JointTrajectory, "vla/active_plan", self.on_plan, LATCHED)

    def on_plan(self, active_plan: JointTrajectory) -> None:
        """Keep the active plan; the plan that was sent is accepted when it becomes the active plan."""
        self.active_plan = active_plan
        self.accepted = self.sent is not None and active_plan.header.stamp == self.sent.header.stamp

    def send(self) -> None:
        """Send a plan once a second if there is an active plan to start from and a subscriber."""
        now = self.get_clock().now().nanoseconds
        armed = self.active_plan is not None and len(self.active_plan.points) > 0
        if armed and self.publisher.get_subscription_count() > 0 and now - self.sent_ns > 10**9:
            self.sent, self.sent_ns = self.plan(self.active_plan), now
            self.publisher.publish(self.sent)

    def plan(self, active_plan: JointTrajectory) -> JointTrajectory:
        """A plan from the end of the active plan that moves the joint by `move` [rad] in `DURATION_S`."""
        start = self.get_clock().now().nanoseconds + int(LEAD_S * 1e9)
        plan = JointTrajectory(joint_names=list(active_plan.joint_names))
        plan.header.stamp = Time(sec=start // 10**9, nanosec=start % 10**9)
        rest = list(active_plan.points[-1].positions)
        j = plan.joint_names.index(self.joint)
        for k in range(KNOTS):
            u = k / (KNOTS - 1)
            p, v, a = quintic(u)
            point = JointTrajectoryPoint(positions=list(rest), velocities=[0.0] * len(rest))
            point.accelerations = [0.0] * len(rest)
            point.positions[j] += self.move * p
            point.velocities[j] = self.move * v / DURATION_S
            point.accelerations[j] = self.move * a / DURATION_S**2
            ns = round(u * DURATION_S * 1e9)
            point.time_from_start = Duration(sec=ns // 10**9, nanosec=ns % 10**9)
            plan.points.append(point)
        return plan


def main() -> None:
    """Send plans until one is accepted, for 10 s at most; exit status 0 if one was accepted."""
    rclpy.init()
    node = MoveOne()
    end = node.get_clock().now().nanoseconds + int(10e9)
    while not node.accepted and node.get_clock().now().nanoseconds < end:
        node.send()
        rclpy.spin_once(node, timeout_sec=0.1)
    print("accepted" if node.accepted else "not accepted; see /vla/state for the reason")
    sys.exit(0 if node.accepted else 1)


if __name__ == "__main__":
    main()
