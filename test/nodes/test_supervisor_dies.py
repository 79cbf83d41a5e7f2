"""The arm after the supervisor is killed in motion, with each type of controller."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from nodes.graph import PARAMS, PATIENT, SIMULATOR, Graph, assert_within_limits, start_motion
from std_msgs.msg import String

from vla_ros.nodes.common import topics
from vla_ros.testing.graph_client import GraphClient

pytestmark = pytest.mark.graph
TRAJECTORY_GRAPH = {
    "supervisor_node": (
        *PATIENT,
        *("-p", "output:=trajectory", "-p", f"command_topic:={topics.ROBOT_TRAJECTORY}"),
    ),
    "planner_node": PARAMS,
    "sim_node": (*SIMULATOR, "-p", f"trajectory_topic:={topics.ROBOT_TRAJECTORY}"),
}


class RobotRecorder:
    """Records the commands of the simulator's controller to its servos, and the measured positions."""

    def __init__(self, client: GraphClient) -> None:
        self.commanded: list[np.ndarray] = []
        self.measured: list[np.ndarray] = []
        client.node.create_subscription(String, topics.GROUND_TRUTH, self._on_ground_truth, topics.LATCHED)

    def _on_ground_truth(self, message: String) -> None:
        ground_truth = json.loads(message.data)
        self.commanded.append(np.array(ground_truth["commanded"]))
        self.measured.append(np.array(ground_truth["joint_positions"]))


@pytest.fixture(scope="module")
def trajectory_graph(module_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """The graph with a trajectory controller, for both of its tests; the last one kills the supervisor."""
    graph = Graph(module_domain, tmp_path_factory.mktemp("trajectory"), TRAJECTORY_GRAPH)
    try:
        graph.start()
        yield graph
    finally:
        graph.stop()


def kill_in_motion(graph: Graph) -> np.ndarray:
    """Kill the supervisor in motion; the end of the active plan, shape (6,) [rad]."""
    start_motion(graph.client)
    graph.processes.running["supervisor_node"].kill()
    return graph.client.active_plan_record().positions[-1]


def test_a_position_controller_holds_the_last_command(graph: Graph):
    client = graph.client
    robot = RobotRecorder(client)
    rest = kill_in_motion(graph)
    client.wait(1.0)
    robot.commanded.clear()
    client.wait(4.0)
    assert len(robot.commanded) > 20
    held = robot.commanded[0]
    np.testing.assert_array_equal(robot.commanded, np.tile(held, (len(robot.commanded), 1)))
    assert np.abs(held - rest).max() > 0.01, "it must not be at the end of the plan"
    # The very last commands may have been in transit when the supervisor was killed.
    assert np.abs(client.positions() - held).max(axis=1).min() < 1e-12


def test_a_trajectory_controller_follows_stops(trajectory_graph: Graph):
    client = trajectory_graph.client
    robot = RobotRecorder(client)
    for service, mode in ((topics.STOP, "stopped"), (topics.ESTOP, "estopped")):
        start_motion(client)
        rest = client.active_plan_record().positions[-1]
        assert client.call(service).success
        client.wait_until(lambda mode=mode: client.mode == mode, mode)
        client.wait(1.5)
        end = np.array(client.commands[-1].position)
        assert np.abs(end - rest).max() > 1e-3, "the stop must end before the plan would have"
        np.testing.assert_allclose(robot.commanded[-1], end, atol=1e-6)
        if mode == "stopped":
            assert client.call(topics.ARM).success
            client.wait_until(lambda: client.active_plan.points, "an active plan")
            client.wait_for_full_speed()
    assert_within_limits(client)


def test_a_trajectory_controller_runs_to_the_rest_of_the_plan(trajectory_graph: Graph):
    trajectory_graph.reset()
    client = trajectory_graph.client
    robot = RobotRecorder(client)
    rest = kill_in_motion(trajectory_graph)
    last = np.array(client.commands[-1].position)
    assert np.abs(last - rest).max() > 0.01, "it must not be at the end of the plan yet"
    client.wait_until(lambda: client.now_ns() > client.active_plan_record().end_ns + 10**9, "the end of the plan")
    robot.commanded.clear()
    client.wait(1.0)
    np.testing.assert_allclose(robot.commanded, np.tile(rest, (len(robot.commanded), 1)), atol=1e-9)
    np.testing.assert_allclose(robot.measured[-1][:5], rest[:5], atol=0.1)
