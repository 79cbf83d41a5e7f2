"""Malformed and extreme messages on every topic: no node ends, and no exception escapes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from nodes.graph import PARAMS, STANDARD, Graph, assert_at_rest, assert_within_limits, start_motion
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, Int64, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_ros.nodes.common import topics
from vla_ros.policy.network.checkpoint import CheckpointInfo, save_checkpoint
from vla_ros.policy.network.config import ModelConfig, NetworkConfig, TransformerConfig
from vla_ros.policy.network.model import VlaNetwork
from vla_ros.testing.graph_client import JOINTS

pytestmark = pytest.mark.graph
NAN, INF = float("nan"), float("inf")
NUMBERS = (NAN, INF, -INF, 1e308, -1e308, 5e-324)
STAMPS = ((0, 0), (-(2**31), 0), (-1, 999_999_999), (2**31 - 1, 4_294_967_295), (1, 4_294_967_295))
TEXTS = (" ", "put", "?" * 100_000, "\N{PILE OF POO}\u202e", '{"seed": 1}', "\n\t%s%n{}", "\u0661\u0662", "9" * 5000)


def trajectories(now_ns: int) -> Iterator[JointTrajectory]:
    """Chunks and plans with one error each."""

    def trajectory(joints: tuple[str, ...] = JOINTS, points: int = 3, width: int = 6) -> JointTrajectory:
        message = JointTrajectory(joint_names=list(joints))
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns + 50_000_000, 10**9)
        for k in range(points):
            row = [0.0] * width
            point = JointTrajectoryPoint(positions=row, velocities=row, accelerations=row)
            point.time_from_start.sec = k
            message.points.append(point)
        return message

    yield JointTrajectory()
    for joints in ((), ("",) * 6, JOINTS[:5], (*JOINTS[:5], JOINTS[0]), (*JOINTS, "extra"), tuple(TEXTS[:6])):
        yield trajectory(joints)
    for points, width in ((0, 6), (1, 6), (3, 0), (3, 5), (3, 7), (401, 6), (5000, 6), (2, 5000)):
        yield trajectory(points=points, width=width)
    for number in NUMBERS:
        for field in ("positions", "velocities", "accelerations"):
            message = trajectory()
            getattr(message.points[1], field)[2] = number
            yield message
    for stamp in STAMPS:
        message = trajectory()
        message.header.stamp.sec, message.header.stamp.nanosec = stamp
        yield message
        message = trajectory()
        message.points[1].time_from_start.sec, message.points[1].time_from_start.nanosec = stamp
        yield message
    for text in TEXTS:
        message = trajectory()
        message.header.frame_id = text
        yield message


def joint_states(now_ns: int) -> Iterator[JointState]:
    for names, positions, velocities in (
        ((), (), ()),
        (JOINTS, (), ()),
        (JOINTS[:5], (0.0,) * 5, ()),
        (JOINTS, (0.0,) * 5, ()),
        ((*JOINTS[:5], JOINTS[0]), (0.0,) * 6, ()),
        (JOINTS, (0.0,) * 6, (0.0,) * 2),
        ((*JOINTS, "extra"), (0.0,) * 7, ()),
        *((JOINTS, (0.0,) * 5 + (n,), ()) for n in NUMBERS[:3]),
        *((JOINTS, (0.0,) * 6, (n,) * 6) for n in NUMBERS[:3]),
    ):
        message = JointState(name=list(names), position=list(positions), velocity=list(velocities))
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, 10**9)
        yield message


def images(now_ns: int) -> Iterator[Image]:
    for width, height, step, size, encoding in (
        (0, 0, 0, 0, "rgb8"),
        (4, 0, 12, 0, "rgb8"),
        (0, 4, 0, 0, "rgb8"),
        (0, 4, 8, 32, "rgb8"),
        (1, 1, 3, 3, "rgb8"),
        (1, 900, 3, 2700, "bgr8"),
        (2**32 - 1, 2**32 - 1, 2**32 - 1, 16, "rgb8"),
        (4, 4, 12, 47, "rgb8"),
        (4, 4, 12, 48, "mono16"),
        (4, 4, 12, 48, ""),
    ):
        message = Image(width=width, height=height, step=step, encoding=encoding, data=bytes(size))
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, 10**9)
        yield message
    for stamp in STAMPS:
        message = Image(width=4, height=4, step=12, encoding="rgb8", data=bytes(48))
        message.header.stamp.sec, message.header.stamp.nanosec = stamp
        yield message


def ground_truths(_now_ns: int) -> Iterator[String]:
    for text in ("", "{", "[]", "null", "NaN", "{}", '{"stamp_ns": 1e999}', "[" * 100_000, "9" * 5000, *TEXTS):
        yield String(data=text)


def checkpoint(folder: Path) -> Path:
    """A small, untrained network."""
    torch.manual_seed(0)
    transformer = TransformerConfig(width=32, layers=1, attention_heads=2, image_tokens=2)
    network = NetworkConfig(encoder="keypoint", channels=4, keypoints=4, language="hash", transformer=transformer)
    config = ModelConfig(JOINTS, ("front", "wrist"), image_size=32, network=network)
    path = folder / "untrained.safetensors"
    save_checkpoint(path, VlaNetwork(config), CheckpointInfo("so101", "put it there", config))
    return path


def test_no_message_ends_a_node(own_graph: Graph, tmp_path: Path):
    client, processes = own_graph.client, own_graph.processes
    processes.start("observer_node", "--ros-args", "-p", f"log_dir:={tmp_path}")
    processes.start("policy_node", *PARAMS, "-p", f"checkpoint:={checkpoint(tmp_path)}")
    processes.start("policy_node", *PARAMS, "-p", "policy:=expert", "-r", "__node:=expert", name="expert")
    processes.start("episodes_node", "--ros-args", "-p", f"log_dir:={tmp_path}", "-p", "episode_timeout_s:=600.0")
    publishers = {
        name: client.node.create_publisher(kind, name, qos)
        for name, kind, qos in (
            (topics.CAMERA.format("front"), Image, topics.RELIABLE),
            (topics.CAMERA.format("wrist"), Image, topics.RELIABLE),
            (topics.GROUND_TRUTH, String, topics.LATCHED),
            (topics.SIM_SEED, Int64, topics.RELIABLE),
            (topics.STATE, DiagnosticStatus, topics.LATCHED),
            (topics.COMMAND, JointState, topics.STREAM),
            (topics.ACTIVE_PLAN, JointTrajectory, topics.LATCHED),
        )
    }
    for topic, nodes in ((topics.CAMERA.format("front"), "policy and episodes"), (topics.GROUND_TRUTH, "expert too")):
        client.wait_until(lambda topic=topic: publishers[topic].get_subscription_count() >= 2, nodes, 60.0)
    publishers |= {topics.CHUNK: client.chunks, topics.PLAN: client.plans, topics.JOINT_STATES: client.joints}
    publishers[topics.INSTRUCTION] = client.instruction
    attacks: dict[str, Callable[[int], Iterator]] = {
        topics.CHUNK: trajectories,
        topics.PLAN: trajectories,
        topics.ACTIVE_PLAN: trajectories,
        topics.JOINT_STATES: joint_states,
        topics.CAMERA.format("front"): images,
        topics.CAMERA.format("wrist"): images,
        topics.GROUND_TRUTH: ground_truths,
        topics.INSTRUCTION: lambda _: (String(data=text) for text in TEXTS),
        topics.SIM_SEED: lambda _: (Int64(data=n) for n in (-1, -(2**63), 2**63 - 1)),
        topics.STATE: lambda _: iter((DiagnosticStatus(), DiagnosticStatus(name="x", message="y"))),
        topics.COMMAND: joint_states,
    }
    for topic, messages in attacks.items():
        for message in messages(client.now_ns()):
            publishers[topic].publish(message)
            client.wait(0.03)
        ended = {name: processes.log(name) for name, p in processes.running.items() if p.poll() is not None}
        if "the supervisor is stopped" in ended.get("episodes_node", ""):
            del ended["episodes_node"]  # a busy machine stalled the command loop: the node aborts as it should
        assert not ended, f"after {topic}: {ended}"
    publishers[topics.COMMAND].publish(JointState())
    commands = client.node.create_publisher(Float64MultiArray, topics.ROBOT_COMMAND, topics.RELIABLE)
    client.wait_until(lambda: commands.get_subscription_count() >= 2, "simulator and observer")
    for data in ([], [0.0] * 5, [0.0] * 7, *([n] * 6 for n in NUMBERS)):
        commands.publish(Float64MultiArray(data=data))
        client.wait(0.03)
    assert "internal" not in str(client.state)
    statuses = {name: processes.stop(name) for name in list(processes.running)}
    assert statuses.pop("episodes_node") in (0, 1)  # it aborts once the supervisor has stopped
    assert not any(statuses.values()), statuses
    for name in (*statuses, "episodes_node"):
        assert "Traceback" not in processes.log(name), f"{name}: {processes.log(name)}"
    observed = json.loads((tmp_path / "observer.json").read_text())
    assert observed["malformed_commands"] > 0
    assert not observed["topics_agree"]


FAULTY_SUPERVISOR = """
from vla_ros.nodes.common.node_loop import main
from vla_ros.nodes.supervisor_node import SupervisorNode
class Faulty(SupervisorNode):
    def _receive_plan(self, message):
        if not message.points:
            raise RuntimeError("an injected error")
        super()._receive_plan(message)
main("supervisor", Faulty)
"""


def test_an_error_inside_the_supervisor_ends_at_rest(ros_domain: int, tmp_path: Path):
    (tmp_path / "faulty").mkdir()
    (tmp_path / "faulty" / "node.py").write_text(FAULTY_SUPERVISOR)
    nodes = {"faulty.node": STANDARD["supervisor_node"], **STANDARD}
    del nodes["supervisor_node"]
    graph = Graph(ros_domain, tmp_path, nodes)
    client = graph.client
    try:
        graph.start()
        start_motion(client)
        client.plans.publish(JointTrajectory())
        client.wait_until(lambda: client.mode == "stopped", "stopped")
        assert client.state["reason"] == "internal error: an injected error"
        assert_at_rest(client)
        assert_within_limits(client)
        assert graph.processes.running["faulty.node"].poll() is None
    finally:
        graph.stop()
