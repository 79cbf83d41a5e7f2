"""Watchdogs on real topics: the button and its heartbeat, the deadman, the cameras."""

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Bool

from vla_ros.config import config_dir
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import image_to_message
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import GraphClient

pytestmark = pytest.mark.graph
PARAMS = ["--ros-args", "--params-file", str(config_dir() / "vla.yaml")]
PATIENT = [*PARAMS, "-p", "joint_state_timeout_s:=1.0"]
"""For a supervisor: on a busy machine a process may stand still for some tenths of a second."""


def test_the_button_stops_a_holding_arm_and_reset_waits_until_it_is_released(stack: GraphClient):
    button = stack.node.create_publisher(Bool, topics.ESTOP_INPUT, topics.RELIABLE)
    stack.wait_until(button.get_subscription_count, "ears for the button")
    button.publish(Bool(data=False))
    stack.wait(0.3)
    assert stack.mode == "running"
    button.publish(Bool(data=True))
    stack.wait_until(lambda: stack.mode == "estopped", "estopped")
    assert "button is pressed" in stack.state["reason"]
    assert stack.state["fault.estop_input"] == "1"
    stack.wait(0.3)
    assert not stack.call(topics.RESET).success
    button.publish(Bool(data=False))
    stack.wait(0.2)
    assert stack.call(topics.RESET).success
    stack.wait_until(lambda: stack.mode == "ready", "ready")


def test_losing_the_heartbeat_of_the_button_is_an_emergency_stop(processes: ProcessGroup, listener: GraphClient):
    processes.start("supervisor_node", *PARAMS, "-p", "estop_timeout_s:=1.0")
    processes.start("sim_node", *PARAMS, "-p", "cameras:=false")
    listener.wait_until(
        lambda: "no message of the emergency stop button yet" in listener.state.get("reason", ""),
        "waiting for the button",
    )
    button = listener.node.create_publisher(Bool, topics.ESTOP_INPUT, topics.RELIABLE)
    beat = listener.node.create_timer(0.1, lambda: button.publish(Bool(data=False)))
    listener.arm()
    beat.cancel()
    listener.wait_until(lambda: listener.mode == "estopped", "estopped")
    assert "silent" in listener.state["reason"]


def test_silence_of_policy_and_planner_is_said_and_stops_nothing(stack: GraphClient):
    stack.wait_until(lambda: stack.state["faults"].startswith("no plan for 2 s"), "a warning of the supervisor")
    stack.wait_until(
        lambda: stack.diagnostics["vla_ros: planner"].message == "no chunk comes", "a warning of the planner"
    )
    assert stack.mode == "running"
    assert stack.state["fault.no_plan"] == "1"


def test_releasing_the_deadman_stops_the_arm_and_holding_it_again_moves_nothing(
    processes: ProcessGroup, listener: GraphClient
):
    processes.start("supervisor_node", *PATIENT, "-p", "deadman_timeout_s:=1.0")
    processes.start("sim_node", *PARAMS, "-p", "cameras:=false")
    listener.wait_until(
        lambda: "the deadman switch is not held" in listener.state.get("reason", ""), "waiting for a hand"
    )
    assert not listener.call(topics.ARM).success
    deadman = listener.node.create_publisher(Bool, topics.DEADMAN, topics.RELIABLE)
    held = True
    beat = listener.node.create_timer(0.1, lambda: deadman.publish(Bool(data=held)))
    listener.arm()
    held = False
    listener.wait_until(lambda: listener.mode == "stopped", "stopped by the release")
    assert "is not held" in listener.state["reason"]
    assert "deadman" in listener.call(topics.ARM).message
    held = True
    listener.wait(0.5)
    assert listener.mode == "stopped", "a hand alone moves nothing"
    assert listener.call(topics.ARM).success
    listener.wait_until(lambda: listener.mode == "running", "running again")
    beat.cancel()
    listener.wait_until(lambda: listener.mode == "stopped", "stopped by the silence")
    assert "silent" in listener.state["reason"]


class Eyes:
    """Two cameras at 30 Hz, each of which can be closed, or its stamps held back."""

    def __init__(self, listener: GraphClient) -> None:
        self.open, self.late_ns, self._listener = {"front", "wrist"}, 0, listener
        self._picture = np.zeros((48, 64, 3), dtype=np.uint8)
        self._pubs = {
            name: listener.node.create_publisher(Image, topics.CAMERA.format(name), topics.IMAGE) for name in self.open
        }
        listener.node.create_timer(1 / 30, self._look)

    def _look(self) -> None:
        for name in self.open:
            stamp = self._listener.now_ns() - self.late_ns
            self._pubs[name].publish(image_to_message(stamp, name, self._picture))


@pytest.fixture
def watched(processes: ProcessGroup, listener: GraphClient) -> Eyes:
    """A supervisor that watches two cameras, armed."""
    cameras = ("-p", "cameras:=[front, wrist]")
    processes.start(
        "supervisor_node", *PATIENT, *cameras, "-p", "camera_timeout_s:=1.0", "-p", "camera_stamp_max_age_s:=1.0"
    )
    processes.start("sim_node", *PARAMS, "-p", "cameras:=false")
    listener.wait_until(lambda: "no image of camera" in listener.state.get("reason", ""), "waiting for the cameras")
    processes.start("camera_monitor_node", *PARAMS, *cameras)
    eyes = Eyes(listener)
    listener.arm()
    return eyes


def test_a_camera_that_closes_stops_the_arm_and_opening_it_moves_nothing(watched: Eyes, listener: GraphClient):
    watched.open = {"front"}
    listener.wait_until(lambda: listener.mode == "stopped", "stopped")
    assert "camera wrist is silent" in listener.state["reason"]
    assert "front" not in listener.state["reason"]
    assert "camera wrist" in listener.call(topics.ARM).message
    watched.open = {"front", "wrist"}
    listener.wait_until(lambda: "camera" not in listener.state["faults"], "both seen again")
    assert listener.mode == "stopped"
    assert listener.call(topics.ARM).success


def test_pictures_that_come_too_late_stop_the_arm(watched: Eyes, listener: GraphClient):
    watched.late_ns = 2 * 10**9
    listener.wait_until(lambda: listener.mode == "stopped", "stopped")
    assert "stamped 2.0" in listener.state["reason"]


def test_losing_the_process_that_takes_the_pictures_stops_the_arm(
    watched: Eyes, listener: GraphClient, processes: ProcessGroup
):
    processes.running["camera_monitor_node"].kill()
    listener.wait_until(lambda: listener.mode == "stopped", "stopped")
    assert "is silent" in listener.state["reason"]  # of the first noticed; the other follows within a picture
    for name in ("front", "wrist"):
        listener.wait_until(lambda name=name: f"camera {name} is silent" in listener.state["faults"], f"{name} missed")
