"""The transport: UDP only unless the user selects another one; nodes with the default transport can communicate."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import rclpy
from nodes.graph import SIMULATOR
from sensor_msgs.msg import JointState

from vla_ros.nodes.common import topics
from vla_ros.nodes.common.middleware import PEERS, PROFILES, RANGE, USER_SETTINGS, without_shared_memory
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import GraphClient


def test_on_this_machine_a_loopback_profile_replaces_the_range():
    settings = without_shared_memory({RANGE: "LOCALHOST"})
    assert settings[RANGE] == "SYSTEM_DEFAULT"
    assert "127.0.0.1" in Path(settings[PROFILES]).read_text()


@pytest.mark.parametrize("env", [{}, {RANGE: "SUBNET"}])
def test_on_a_network_the_profile_has_no_shared_memory_and_any_interface(env: dict[str, str]):
    settings = without_shared_memory(env)
    assert set(settings) == {PROFILES}
    assert "SHM" not in Path(settings[PROFILES]).read_text()
    assert "127.0.0.1" not in Path(settings[PROFILES]).read_text()


@pytest.mark.parametrize("name", [*USER_SETTINGS, PEERS])
def test_the_settings_of_the_user_are_kept(name: str):
    assert without_shared_memory({RANGE: "LOCALHOST", name: "mine"}) == {}


def shared_memory_maps(pid: int) -> list[str]:
    """The lines of the memory map of a process that belong to Fast DDS's shared memory."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if "/dev/shm/fastrtps" in line or "/dev/shm/fastdds" in line]


def test_a_node_maps_no_shared_memory_and_reaches_a_node_that_does(processes: ProcessGroup, ros_domain: int):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)  # the defaults of rmw_fastrtps with LOCALHOST
    node = rclpy.create_node("default_transport", context=context)
    received: list[JointState] = []
    node.create_subscription(JointState, topics.JOINT_STATES, received.append, topics.SENSOR)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        assert shared_memory_maps(os.getpid()), "without shared memory in this process the test is void"
        simulator = processes.start("sim_node", *SIMULATOR)
        end = time.monotonic() + 30.0
        while len(received) < 100 and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
        assert len(received) >= 100
        assert not shared_memory_maps(simulator.pid)
    finally:
        executor.shutdown()
        context.try_shutdown()


def test_the_graph_client_does_not_change_the_environment(ros_domain: int):
    before = dict(os.environ)
    client = GraphClient(ros_domain)
    client.close()
    assert dict(os.environ) == before
