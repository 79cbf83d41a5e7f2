"""The policy's node tells its policy what is committed, and everybody how unsure it is."""

import time

import numpy as np
import rclpy
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64, String
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import load_robot
from vla_ros.core.records import Chunk, Observation
from vla_ros.core.trajectory import Plan
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import chunk_to_message, joint_state_to_message, plan_to_message
from vla_ros.nodes.common.node_loop import newest
from vla_ros.nodes.policy_node import PolicyNode
from vla_ros.policy.base import Policy, policy
from vla_ros.policy.real_time_chunking import CommittedPrefix

ROBOT = load_robot("so101")


@policy("unsure")
class Unsure(Policy):
    """Says 0.25 rad, and remembers what it was told."""

    accepts_committed_prefix = True

    def __init__(self, joints: tuple[str, ...]) -> None:
        self.joints = tuple(joints)
        self.uncertainty_rad, self.told, self.warm = 0.25, None, False

    def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
        self.told = committed
        return Chunk.from_rate(observation.stamp_ns, self.joints, np.tile(observation.positions, (8, 1)), 0.05)

    def warm_up(self) -> None:
        self.warm = True


def test_doubt_is_published_and_the_plan_in_force_is_handed_on(ros_domain: int) -> None:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    given = {"policy": "unsure", "condition": True, "rate_hz": 50.0, "cpus": ""}
    node = rclpy.create_node(
        "policy",
        context=context,
        automatically_declare_parameters_from_overrides=True,
        parameter_overrides=[Parameter(k, value=v) for k, v in given.items()],
    )
    other = rclpy.create_node("other", context=context)
    try:
        made = PolicyNode(node)
        unsure = made._policy
        assert unsure.warm  # before it says that it is ready
        ignored = lambda _message: None  # noqa: E731
        doubts = other.create_subscription(Float64, topics.UNCERTAINTY, ignored, topics.RELIABLE)
        joints = other.create_publisher(JointStateMessage, topics.JOINT_STATES, topics.SENSOR)
        task = other.create_publisher(String, topics.INSTRUCTION, topics.LATCHED)
        force = other.create_publisher(JointTrajectory, topics.ACTIVE_PLAN, topics.LATCHED)
        speed = other.create_publisher(Float64, topics.SPEED_SCALE, topics.LATCHED)
        middle = (ROBOT.limits.lower + ROBOT.limits.upper) / 2
        start = made._time.now_ns()
        offsets = np.array([0, 60_000_000_000])
        plan = Plan(ROBOT.joints, start, offsets, np.tile(middle, (2, 1)), *np.zeros((2, 2, len(middle))))
        task.publish(String(data="go"))
        force.publish(plan_to_message(plan))
        speed.publish(Float64(data=0.5))
        heard, end = None, time.monotonic() + 30.0
        while (heard is None or unsure.told is None) and time.monotonic() < end:
            now = made._time.now_ns()
            joints.publish(joint_state_to_message(now, ROBOT.joints, middle, np.zeros_like(middle)))
            made.step(0)
            heard = newest(doubts) or heard
            time.sleep(0.004)
        assert heard is not None
        assert heard.data == 0.25
        told = unsure.told
        assert told is not None
        assert told.speed == 0.5
        np.testing.assert_array_equal(told.plan.positions, plan.positions)
        assert start < told.handover_ns < told.free_ns
        assert made._counts["short"] == 0
        # A chunk of 0.4 s, 0.05 s from its being sent to its hand-over, and the next one will take as long as this one.
        message = chunk_to_message(Chunk.from_rate(start, ROBOT.joints, np.tile(middle, (8, 1)), 0.05))
        made._check_length(message, start + 170_000_000)
        assert made._short == ""
        made._check_length(message, start + 180_000_000)
        assert made._short.startswith("chunks are too short: they reach 0.40 s from their picture")
        assert made._counts["short"] == 1
        assert made._doubts() == {"uncertainty_rad_mean": 0.25, "uncertainty_rad_max": 0.25}
    finally:
        node.destroy_node()
        other.destroy_node()
        rclpy.shutdown(context=context)
