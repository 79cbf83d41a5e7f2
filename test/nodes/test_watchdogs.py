"""Watchdogs on real topics: emergency button and its heartbeat, deadman switch, cameras, missing plans and chunks."""

from collections.abc import Iterator

import numpy as np
import pytest
from nodes.graph import PARAMS, PATIENT, SIMULATOR, Graph, counter
from sensor_msgs.msg import Image
from std_msgs.msg import Bool

from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import image_to_message
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import PLANNER, GraphClient

pytestmark = pytest.mark.graph


def test_the_button_stops_the_arm_at_rest_and_reset_requires_its_release(graph: Graph):
    client = graph.client
    button = client.node.create_publisher(Bool, topics.ESTOP_INPUT, topics.RELIABLE)
    client.wait_until(button.get_subscription_count, "a subscriber of the button")
    faults = counter(client, "fault.estop_input")
    button.publish(Bool(data=False))
    client.wait(0.3)
    assert client.mode == "running"
    button.publish(Bool(data=True))
    client.wait_until(lambda: client.mode == "estopped", "estopped")
    assert "button is pressed" in client.state["reason"]
    client.wait_until(lambda: counter(client, "fault.estop_input") == faults + 1, "the counted fault")
    client.wait(0.3)
    assert not client.call(topics.RESET).success
    button.publish(Bool(data=False))
    client.wait_until(lambda: client.call(topics.RESET).success, "a reset after the release")
    client.wait_until(lambda: client.mode == "ready", "ready")
    client.node.destroy_publisher(button)


def test_losing_the_heartbeat_of_the_button_is_an_emergency_stop(processes: ProcessGroup, client: GraphClient):
    processes.start("supervisor_node", *PARAMS, "-p", "estop_timeout_s:=1.0")
    processes.start("sim_node", *SIMULATOR)
    client.wait_until(lambda: "no message of the emergency stop" in client.state.get("reason", ""), "the fault")
    button = client.node.create_publisher(Bool, topics.ESTOP_INPUT, topics.RELIABLE)
    heartbeat = client.node.create_timer(0.1, lambda: button.publish(Bool(data=False)))
    client.arm()
    heartbeat.cancel()
    client.wait_until(lambda: client.mode == "estopped", "estopped")
    assert "silent" in client.state["reason"]


def test_missing_plans_and_chunks_are_reported_and_stop_nothing(graph: Graph):
    client = graph.client
    client.wait_until(lambda: client.state["faults"].startswith("no plan for 2 s"), "a warning of the supervisor")
    client.wait_until(lambda: client.diagnostics[PLANNER].message == "no chunk received", "a warning of the planner")
    assert client.mode == "running"
    count = counter(client, "fault.no_plan")
    client.wait(1.0)
    assert counter(client, "fault.no_plan") == count > 0, "a fault is counted when it begins"


def test_releasing_the_deadman_switch_stops_the_arm_and_holding_it_again_moves_nothing(
    processes: ProcessGroup, client: GraphClient
):
    processes.start("supervisor_node", *PATIENT, "-p", "deadman_timeout_s:=1.0")
    processes.start("sim_node", *SIMULATOR)
    client.wait_until(lambda: "deadman switch is not held" in client.state.get("reason", ""), "the fault")
    assert not client.call(topics.ARM).success
    deadman = client.node.create_publisher(Bool, topics.DEADMAN, topics.RELIABLE)
    held = True
    heartbeat = client.node.create_timer(0.1, lambda: deadman.publish(Bool(data=held)))
    client.arm()
    held = False
    client.wait_until(lambda: client.mode == "stopped", "a stop after the release")
    assert "not held" in client.state["reason"]
    assert "deadman" in client.call(topics.ARM).message
    held = True
    client.wait(0.5)
    assert client.mode == "stopped", "holding the switch must not arm"
    client.wait_until(lambda: client.call(topics.ARM).success, "permission to arm")
    client.wait_until(lambda: client.mode == "running", "running")
    heartbeat.cancel()
    client.wait_until(lambda: client.mode == "stopped", "a stop after the timeout")
    assert "silent" in client.state["reason"]


class Cameras:
    """Publishes images of two cameras at 30 Hz; a camera can be switched off, its stamps delayed."""

    def __init__(self, client: GraphClient) -> None:
        self.on, self.delay_ns, self._client = {"front", "wrist"}, 0, client
        self._image = np.zeros((48, 64, 3), dtype=np.uint8)
        self._pubs = {
            name: client.node.create_publisher(Image, topics.CAMERA.format(name), topics.IMAGE) for name in self.on
        }
        client.node.create_timer(1 / 30, self._publish)

    def _publish(self) -> None:
        for name in self.on:
            stamp = self._client.now_ns() - self.delay_ns
            self._pubs[name].publish(image_to_message(stamp, name, self._image))


NAMES = ("-p", "cameras:=[front, wrist]")
TIMEOUTS = ("-p", "camera_timeout_s:=1.0", "-p", "camera_stamp_max_age_s:=1.0")
CAMERA_GRAPH = {
    "camera_monitor_node": (*PARAMS, *NAMES),
    "supervisor_node": (*PATIENT, *NAMES, *TIMEOUTS),
    "sim_node": SIMULATOR,
}


@pytest.fixture(scope="module")
def camera_graph(module_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Graph, Cameras]]:
    """A graph whose supervisor monitors two cameras."""
    graph = Graph(module_domain, tmp_path_factory.mktemp("cameras"), CAMERA_GRAPH)
    try:
        yield graph, Cameras(graph.client)
    finally:
        graph.stop()


@pytest.fixture
def cameras(camera_graph: tuple[Graph, Cameras]) -> Cameras:
    """Both cameras on, the arm armed."""
    graph, cameras = camera_graph
    cameras.on, cameras.delay_ns = {"front", "wrist"}, 0
    graph.start()
    return cameras


@pytest.fixture
def camera_client(camera_graph: tuple[Graph, Cameras]) -> GraphClient:
    return camera_graph[0].client


def test_arming_waits_for_the_cameras(camera_graph: tuple[Graph, Cameras], camera_client: GraphClient):
    graph, cameras = camera_graph
    cameras.on = set()
    graph.processes.start("supervisor_node", *CAMERA_GRAPH["supervisor_node"])
    graph.processes.start("sim_node", *CAMERA_GRAPH["sim_node"])
    camera_client.wait_until(lambda: "no image of camera" in camera_client.state.get("reason", ""), "the fault")
    assert not camera_client.call(topics.ARM).success


def test_a_camera_that_is_switched_off_stops_the_arm_and_switching_it_on_moves_nothing(
    cameras: Cameras, camera_client: GraphClient
):
    client = camera_client
    cameras.on = {"front"}
    client.wait_until(lambda: client.mode == "stopped", "stopped")
    assert "camera wrist is silent" in client.state["reason"]
    assert "front" not in client.state["reason"]
    assert "camera wrist" in client.call(topics.ARM).message
    cameras.on = {"front", "wrist"}
    client.wait_until(lambda: "camera" not in client.state["faults"], "images of both cameras")
    assert client.mode == "stopped"
    assert client.call(topics.ARM).success


def test_images_that_are_too_late_stop_the_arm(cameras: Cameras, camera_client: GraphClient):
    client = camera_client
    cameras.delay_ns = 2 * 10**9
    client.wait_until(lambda: client.mode == "stopped", "stopped")
    assert "stamped 2.0" in client.state["reason"]


def test_losing_the_camera_monitor_stops_the_arm(
    cameras: Cameras, camera_client: GraphClient, camera_graph: tuple[Graph, Cameras]
):
    client = camera_client
    camera_graph[0].processes.running["camera_monitor_node"].kill()
    client.wait_until(lambda: client.mode == "stopped", "stopped")
    assert "is silent" in client.state["reason"]  # of the first; the other follows within one image
    for name in ("front", "wrist"):
        client.wait_until(lambda name=name: f"camera {name} is silent" in client.state["faults"], f"{name} silent")
