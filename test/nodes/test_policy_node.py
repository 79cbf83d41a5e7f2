"""The policy node passes the committed prefix to its policy and publishes its uncertainty."""

import time

import numpy as np
import pytest
import rclpy
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64, String
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import load_robot
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Chunk, Observation
from vla_ros.core.trajectory import Plan
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import joint_state_to_message, plan_to_message
from vla_ros.nodes.common.node_loop import subscribe
from vla_ros.nodes.policy_node import PolicyNode
from vla_ros.policy.base import Policy, policy
from vla_ros.policy.real_time_chunking import CommittedPrefix

ROBOT = load_robot("so101")


@policy("recorder")
class RecorderPolicy(Policy):
    """Reports an uncertainty of 0.25 rad and records its inputs."""

    accepts_committed_prefix = True

    def __init__(self, joints: tuple[str, ...]) -> None:
        self.joints = tuple(joints)
        self.uncertainty_rad, self.prefix, self.warm = 0.25, None, False

    def infer(self, observation: Observation, committed: CommittedPrefix | None = None) -> Chunk:
        self.prefix = committed
        return Chunk.from_rate(observation.stamp_ns, self.joints, np.tile(observation.positions, (8, 1)), 0.05)

    def warm_up(self) -> None:
        self.warm = True


def make_node(context: rclpy.Context, **parameters: object) -> rclpy.node.Node:
    return rclpy.create_node(
        "policy",
        context=context,
        automatically_declare_parameters_from_overrides=True,
        parameter_overrides=[Parameter(k, value=v) for k, v in parameters.items()],
    )


def test_the_uncertainty_is_published_and_the_committed_prefix_passed_on(ros_domain: int) -> None:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    node = make_node(context, policy="recorder", real_time_chunking=True, rate_hz=50.0, cpus="")
    other = rclpy.create_node("other", context=context)
    try:
        loop = PolicyNode(node)
        recorder = loop._policy
        assert isinstance(recorder, RecorderPolicy)
        assert recorder.warm
        uncertainty_sub = subscribe(other, Float64, topics.UNCERTAINTY, topics.RELIABLE)
        joints_pub = other.create_publisher(JointStateMessage, topics.JOINT_STATES, topics.SENSOR)
        instruction_pub = other.create_publisher(String, topics.INSTRUCTION, topics.LATCHED)
        plan_pub = other.create_publisher(JointTrajectory, topics.ACTIVE_PLAN, topics.LATCHED)
        speed_pub = other.create_publisher(Float64, topics.SPEED_SCALE, topics.LATCHED)
        middle = (ROBOT.limits.lower + ROBOT.limits.upper) / 2
        start = loop._time.now_ns()
        offsets = np.array([0, 60_000_000_000])
        plan = Plan(ROBOT.joints, start, offsets, np.tile(middle, (2, 1)), *np.zeros((2, 2, len(middle))))
        instruction_pub.publish(String(data="go"))
        plan_pub.publish(plan_to_message(plan))
        speed_pub.publish(Float64(data=0.5))
        received, end = None, time.monotonic() + 30.0
        while (received is None or recorder.prefix is None) and time.monotonic() < end:
            now = loop._time.now_ns()
            joints_pub.publish(joint_state_to_message(now, ROBOT.joints, middle, np.zeros_like(middle)))
            loop.step(0)
            received = uncertainty_sub.newest() or received
            time.sleep(0.004)
        assert received is not None
        assert received.data == 0.25
        prefix = recorder.prefix
        assert prefix is not None
        assert prefix.speed == 0.5
        np.testing.assert_array_equal(prefix.plan.positions, plan.positions)
        assert start < prefix.handover_ns < prefix.free_ns
        assert loop._monitor.counts["short_chunks"] == 0
        assert loop._monitor.uncertainty() == {"uncertainty_rad_mean": 0.25, "uncertainty_rad_max": 0.25}
    finally:
        node.destroy_node()
        other.destroy_node()
        rclpy.shutdown(context=context)


def test_a_policy_without_a_committed_prefix_is_refused_for_real_time_chunking(ros_domain: int) -> None:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    node = make_node(context, policy="hold", real_time_chunking=True, cpus="")
    try:
        with pytest.raises(ConfigError, match="does not accept a committed prefix"):
            PolicyNode(node)
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


@pytest.mark.parametrize(("name", "declared"), [("expert", True), ("hold", False)])
def test_the_ground_truth_is_read_only_for_a_policy_that_declares_it(
    ros_domain: int, name: str, declared: bool
) -> None:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    node = make_node(context, policy=name, cpus="")
    try:
        loop = PolicyNode(node)
        assert loop._policy.needs_ground_truth == declared
        topic = f"/{topics.GROUND_TRUTH}"
        assert any(s.topic_name.endswith(topic) for s in node.subscriptions) == declared
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
