"""Fixtures of the node tests."""

from collections.abc import Iterator

import pytest

from vla_ros.config import config_dir
from vla_ros.nodes.common import topics
from vla_ros.system.processes import Processes
from vla_ros.testing.graph_client import Listener

PARAMS = ("--ros-args", "--params-file", str(config_dir() / "vla.yaml"))
PATIENT = (*PARAMS, "-p", "joint_state_age_s:=1.0")
"""For a supervisor: on a busy machine a process may stand still for some tenths of a second."""


def bring_up(group: Processes, listener: Listener, supervisor: str = "supervisor_node") -> Listener:
    """Simulator without cameras, planner and supervisor, armed."""
    group.start(supervisor, *PATIENT)
    group.start("planner_node", *PARAMS)
    group.start("sim_node", *PARAMS, "-p", "cameras:=false")
    listener.arm()
    listener.until_planner()
    return listener


@pytest.fixture
def listener(ros_domain: int) -> Iterator[Listener]:
    made = Listener(ros_domain)
    yield made
    made.close()


@pytest.fixture
def stack(processes: Processes, listener: Listener) -> Listener:
    """Nodes of this test's own, to be killed or spoilt."""
    return bring_up(processes, listener)


@pytest.fixture(scope="module")
def shared(module_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Listener, Processes]]:
    """Nodes for all tests of a file."""
    group, listener = Processes(tmp_path_factory.mktemp("nodes")), Listener(module_domain)
    try:
        yield bring_up(group, listener), group
    finally:
        group.stop_all()
        listener.close()


@pytest.fixture
def calm(shared: tuple[Listener, Processes]) -> Listener:
    """The shared nodes: running, at rest, nothing counted."""
    listener, _ = shared
    if listener.mode == "estopped":
        assert listener.ask(topics.RESET).success
    if listener.mode != "running":
        listener.until(lambda: listener.mode in ("ready", "stopped"), "leave to arm")
        listener.in_force = None
        assert listener.ask(topics.ARM).success
    listener.until(lambda: listener.in_force is not None and listener.in_force.points, "a plan in force")
    listener.until_rest()
    listener.commands.clear()
    listener.modes.clear()
    listener.until(lambda: listener.commands, "commands")
    return listener
