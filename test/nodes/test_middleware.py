"""The transport: UDP unless the user has chosen, heard by nodes that use rmw_fastrtps's own, and no shared memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import rclpy
from nodes.conftest import PARAMS
from sensor_msgs.msg import JointState

from vla_ros.nodes.common import topics
from vla_ros.nodes.common.middleware import CHOSEN, PEERS, PROFILES, RANGE, without_shared_memory
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import GraphClient


def test_on_this_machine_only_a_profile_replaces_what_rmw_would_add():
    added = without_shared_memory({RANGE: "LOCALHOST"})
    assert added[RANGE] == "SYSTEM_DEFAULT"
    assert "127.0.0.1" in Path(added[PROFILES]).read_text()


@pytest.mark.parametrize("env", [{}, {RANGE: "SUBNET"}])
def test_elsewhere_a_profile_without_shared_memory_and_any_interface(env: dict[str, str]):
    added = without_shared_memory(env)
    assert set(added) == {PROFILES}
    assert "SHM" not in Path(added[PROFILES]).read_text()
    assert "127.0.0.1" not in Path(added[PROFILES]).read_text()


@pytest.mark.parametrize("name", [*CHOSEN, PEERS])
def test_who_has_chosen_keeps_it(name: str):
    assert without_shared_memory({RANGE: "LOCALHOST", name: "mine"}) == {}


def shared_memory_of(pid: int) -> list[str]:
    """What a process maps of Fast DDS's shared memory."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if "/dev/shm/fastrtps" in line or "/dev/shm/fastdds" in line]


def test_a_node_maps_no_shared_memory_and_is_heard_by_one_that_does(processes: ProcessGroup, ros_domain: int):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)  # as anyone would: rmw_fastrtps's own LOCALHOST
    node = rclpy.create_node("anyone", context=context)
    heard: list[JointState] = []
    node.create_subscription(JointState, topics.JOINT_STATES, heard.append, topics.SENSOR)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        assert shared_memory_of(os.getpid()), "this process was to have shared memory, or the test shows nothing"
        simulator = processes.start("sim_node", *PARAMS, "-p", "cameras:=false")
        end = time.monotonic() + 30.0
        while len(heard) < 100 and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
        assert len(heard) >= 100
        assert not shared_memory_of(simulator.pid)
    finally:
        executor.shutdown()
        context.try_shutdown()


def test_the_witness_leaves_the_environment_as_it_was(ros_domain: int):
    before = dict(os.environ)
    listener = GraphClient(ros_domain)
    listener.close()
    assert dict(os.environ) == before
