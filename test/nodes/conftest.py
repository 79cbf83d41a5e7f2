"""Fixtures of the node tests."""

from collections.abc import Iterator

import pytest

from vla_ros.config import config_dir
from vla_ros.nodes.common import topics
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import GraphClient

PARAMS = ("--ros-args", "--params-file", str(config_dir() / "vla.yaml"))
PATIENT = (*PARAMS, "-p", "joint_state_timeout_s:=1.0")
"""For a supervisor: on a busy machine a process may stand still for some tenths of a second."""


def bring_up(group: ProcessGroup, listener: GraphClient, supervisor: str = "supervisor_node") -> GraphClient:
    """Simulator without cameras, planner and supervisor, armed."""
    group.start(supervisor, *PATIENT)
    group.start("planner_node", *PARAMS)
    group.start("sim_node", *PARAMS, "-p", "cameras:=false")
    listener.arm()
    listener.wait_for_planner()
    return listener


@pytest.fixture
def listener(ros_domain: int) -> Iterator[GraphClient]:
    made = GraphClient(ros_domain)
    yield made
    made.close()


@pytest.fixture
def stack(processes: ProcessGroup, listener: GraphClient) -> GraphClient:
    """Nodes of this test's own, to be killed or spoilt."""
    return bring_up(processes, listener)


@pytest.fixture(scope="module")
def shared(module_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GraphClient, ProcessGroup]]:
    """Nodes for all tests of a file."""
    group, listener = ProcessGroup(tmp_path_factory.mktemp("nodes")), GraphClient(module_domain)
    try:
        yield bring_up(group, listener), group
    finally:
        group.stop_all()
        listener.close()


@pytest.fixture
def calm(shared: tuple[GraphClient, ProcessGroup]) -> GraphClient:
    """The shared nodes: running, at rest, nothing counted."""
    listener, _ = shared
    if listener.mode == "estopped":
        assert listener.call(topics.RESET).success
    if listener.mode != "running":
        listener.wait_until(lambda: listener.mode in ("ready", "stopped"), "leave to arm")
        listener.active_plan = None
        assert listener.call(topics.ARM).success
    listener.wait_until(lambda: listener.active_plan is not None and listener.active_plan.points, "a plan in force")
    listener.wait_for_rest()
    listener.commands.clear()
    listener.modes.clear()
    listener.wait_until(lambda: listener.commands, "commands")
    return listener
