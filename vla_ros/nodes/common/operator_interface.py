"""What a person says to the supervisor: its services, its parameter `speed_scale`, the button, the deadman."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_service import ParameterService
from rclpy.service import Service
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vla_ros.nodes.common import topics
from vla_ros.nodes.common.node_loop import RosTime, serve, take
from vla_ros.safety.speed_scaling import LEAST
from vla_ros.safety.supervisor import Answer, Supervisor

SPEED = "speed_scale"
WORDS = f"{SPEED} is a number from {LEAST} to 1.0, with a point"


class Panel:
    """Serves what is asked; everything else is the core's."""

    def __init__(self, node: Node, core: Supervisor, time: RosTime, look: Callable[[], None]) -> None:
        """Offer the services, and the parameter at full speed unless it was given.

        Args:
            node: The supervisor's, with its parameters read.
            core: What acts.
            time: Now.
            look: Brings up to date what is not heard but looked for; called before arming.
        """
        self._node, self._core, self._time, self._look = node, core, time, look
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._button = node.create_subscription(Bool, topics.ESTOP_INPUT, ignored, topics.RELIABLE)
        self._deadman = node.create_subscription(Bool, topics.DEADMAN, ignored, topics.RELIABLE)
        acts = (
            (topics.ESTOP, core.estop),
            (topics.STOP, core.stop),
            (topics.RESET, core.reset),
            (topics.ARM, self._arm),
        )
        self._services = [node.create_service(Trigger, name, self._answering(act)) for name, act in acts]
        self._parameters = self._parameter_services()

    def _parameter_services(self) -> list[Service]:
        """Those of every ROS node; of all the parameters only the speed can be changed."""
        node = self._node
        if not node.has_parameter(SPEED):
            node.declare_parameter(SPEED, 1.0, ParameterDescriptor(description=f"{WORDS}; 1.0 is full speed."))
        node.add_on_set_parameters_callback(self._change)
        before = set(node.services)
        self._kept = ParameterService(node)
        return [service for service in node.services if service not in before]

    def _arm(self, now_ns: int) -> Answer:
        self._look()
        return self._core.arm(now_ns)

    def _answering(self, act: Callable[[int], Answer]) -> Callable[[Trigger.Request, Trigger.Response], Any]:
        def callback(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            answer = act(self._time.now_ns())
            response.success, response.message = answer.ok, answer.text
            self._node.get_logger().info(answer.text)
            return response

        return callback

    def _change(self, wanted: Sequence[Parameter]) -> SetParametersResult:
        """Take the speed, all or nothing; every other parameter is fixed while the supervisor runs."""
        for parameter in wanted:
            if parameter.name != SPEED:
                return self._refused(f"{parameter.name} is read at the start; only {SPEED} can be changed.")
            if not (isinstance(parameter.value, float) and LEAST <= parameter.value <= 1.0):
                return self._refused(f"{WORDS}; got {parameter.value}.")
        for parameter in wanted:
            self._core.speed.ask(parameter.value)
            self._node.get_logger().info(f"the operator asks for {parameter.value:g} of full speed")
        return SetParametersResult(successful=True)

    def _refused(self, sentence: str) -> SetParametersResult:
        self._core.refused["parameter"] += 1
        self._node.get_logger().warning(sentence, throttle_duration_sec=1.0)
        return SetParametersResult(successful=False, reason=sentence)

    def listen(self) -> None:
        """Answer at most one request of each service, the most urgent first; hear button and deadman."""
        for service in self._services:
            serve(service)
        for message in take(self._button, most=5):
            self._core.watch.estop_input(message.data, self._time.now_ns())
        for message in take(self._deadman, most=5):
            self._core.watch.deadman(message.data, self._time.now_ns())
        try:
            for service in self._parameters:
                serve(service)
        except (TypeError, ValueError) as error:  # a parameter of a type there is not
            self._refused(f"a request for parameters was not understood: {error}.")
