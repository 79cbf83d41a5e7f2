"""Watchdogs on real topics: the emergency stop button and its heartbeat, and the operator's speed."""

import pytest
from std_msgs.msg import Bool, Float64

from vla_ros.config import config_dir
from vla_ros.nodes import topics
from vla_ros.nodes.witness import Listener
from vla_ros.processes import Processes

pytestmark = pytest.mark.graph
PARAMS = ["--ros-args", "--params-file", str(config_dir() / "vla.yaml")]


def test_the_button_stops_a_holding_arm_and_reset_waits_until_it_is_released(stack: Listener):
    button = stack.node.create_publisher(Bool, topics.ESTOP_INPUT, topics.RELIABLE)
    stack.until(button.get_subscription_count, "ears for the button")
    button.publish(Bool(data=False))
    stack.wait(0.3)
    assert stack.mode == "running"
    button.publish(Bool(data=True))
    stack.until(lambda: stack.mode == "estopped", "estopped")
    assert "button is pressed" in stack.state["reason"]
    assert stack.state["fault.estop_input"] == "1"
    stack.wait(0.3)
    assert not stack.ask(topics.RESET).success
    button.publish(Bool(data=False))
    stack.wait(0.2)
    assert stack.ask(topics.RESET).success
    stack.until(lambda: stack.mode == "ready", "ready")


def test_losing_the_heartbeat_of_the_button_is_an_emergency_stop(processes: Processes, listener: Listener):
    processes.start("supervisor_node", *PARAMS, "-p", "estop_heartbeat_s:=1.0")
    processes.start("sim_node", *PARAMS, "-p", "cameras:=false")
    listener.until(lambda: "not heard yet" in listener.state.get("reason", ""), "waiting for the button")
    button = listener.node.create_publisher(Bool, topics.ESTOP_INPUT, topics.RELIABLE)
    beat = listener.node.create_timer(0.1, lambda: button.publish(Bool(data=False)))
    listener.arm()
    beat.cancel()
    listener.until(lambda: listener.mode == "estopped", "estopped")
    assert "silent" in listener.state["reason"]


def test_silence_of_policy_and_planner_is_said_and_stops_nothing(stack: Listener):
    stack.until(lambda: stack.state["faults"].startswith("no plan for 2 s"), "a warning of the supervisor")
    stack.until(lambda: stack.diagnostics["vla_ros: planner"].message == "no chunk comes", "a warning of the planner")
    assert stack.mode == "running"
    assert stack.state["fault.no_plan"] == "1"


def test_the_operators_speed_is_taken_and_nonsense_is_refused(stack: Listener):
    speed = stack.node.create_publisher(Float64, topics.SPEED_ASKED, topics.RELIABLE)
    heard: list[float] = []
    stack.node.create_subscription(Float64, topics.SPEED_SCALE, lambda m: heard.append(m.data), topics.LATCHED)
    stack.until(speed.get_subscription_count, "ears for the speed")
    speed.publish(Float64(data=0.5))
    stack.until(lambda: heard and heard[-1] == 0.5, "half speed")
    speed.publish(Float64(data=float("nan")))
    stack.until(lambda: stack.state.get("refused.speed") == "1", "a refusal")
    assert heard[-1] == 0.5
