"""A motion planner of one's own: publishes one finished plan on the plan topic, and says what came of it.

A plan is a trajectory_msgs/JointTrajectory with position, velocity and acceleration at every knot, stamped with
the time of its first knot. The supervisor permits it only if it starts exactly where the arm is commanded to be,
stays inside every limit and ends at rest; so the node splices onto the plan in force, which the supervisor publishes.

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
    """From 0 to 1 with no velocity or acceleration at either end, and its first two derivatives by u."""
    return (
        u**3 * (10 - 15 * u + 6 * u**2),
        30 * u**2 * (1 - u) ** 2,
        60 * u * (1 - u) * (1 - 2 * u),
    )


class MoveOne(Node):
    """Moves one joint once."""

    def __init__(self) -> None:
        """Wait for the plan in force."""
        super().__init__("move_one")
        self.joint = self.declare_parameter("joint", "shoulder_pan").value
        self.move = self.declare_parameter("move", 0.4).value
        self.in_force: JointTrajectory | None = None
        self.sent: JointTrajectory | None = None
        self.sent_ns = 0
        self.accepted = False
        self.publisher = self.create_publisher(JointTrajectory, "vla/plan", 10)
        self.create_subscription(JointTrajectory, "vla/plan_in_force", self.on_plan, LATCHED)

    def on_plan(self, in_force: JointTrajectory) -> None:
        """The answer to a plan is that it comes back as the one in force."""
        self.in_force = in_force
        self.accepted = self.sent is not None and in_force.header.stamp == self.sent.header.stamp

    def send(self) -> None:
        """Send a plan if there is one to follow on and somebody listens; once a second, until one is permitted."""
        now = self.get_clock().now().nanoseconds
        armed = self.in_force is not None and len(self.in_force.points) > 0
        if armed and self.publisher.get_subscription_count() > 0 and now - self.sent_ns > 10**9:
            self.sent, self.sent_ns = self.plan(self.in_force), now
            self.publisher.publish(self.sent)

    def plan(self, in_force: JointTrajectory) -> JointTrajectory:
        """From the rest that the plan in force holds, `move` rad further in `DURATION_S`."""
        start = self.get_clock().now().nanoseconds + int(LEAD_S * 1e9)
        plan = JointTrajectory(joint_names=list(in_force.joint_names))
        plan.header.stamp = Time(sec=start // 10**9, nanosec=start % 10**9)
        rest = list(in_force.points[-1].positions)
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
    """Send one plan; exit status 0 if it was permitted."""
    rclpy.init()
    node = MoveOne()
    end = node.get_clock().now().nanoseconds + int(10e9)
    while not node.accepted and node.get_clock().now().nanoseconds < end:
        node.send()
        rclpy.spin_once(node, timeout_sec=0.1)
    print("permitted" if node.accepted else "not permitted; see /vla/state for the reason")
    sys.exit(0 if node.accepted else 1)


if __name__ == "__main__":
    main()
