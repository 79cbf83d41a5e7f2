"""The operator's inputs to the supervisor: services, the parameter `speed_scale`, emergency button, deadman switch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_service import ParameterService
from rclpy.service import Service
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vla_ros.nodes.common import topics
from vla_ros.nodes.common.node_loop import RosTime, serve, subscribe
from vla_ros.safety.speed_scaling import MIN_SCALE
from vla_ros.safety.supervisor import RequestResult, Supervisor

SPEED_PARAMETER = "speed_scale"
SPEED_DESCRIPTION = f"{SPEED_PARAMETER} must be a floating-point number from {MIN_SCALE} to 1.0"


class OperatorInterface:
    """Passes requests to the supervisor and reports their results."""

    def __init__(self, node: Node, core: Supervisor, time: RosTime, update_monitors: Callable[[], None]) -> None:
        """Create services and subscriptions, and the parameter `speed_scale` (1.0) unless it was given.

        Args:
            node: The supervisor's node; its parameters have been read.
            core: The supervisor.
            time: ROS time.
            update_monitors: Updates the monitors that poll; called before arming.
        """
        self._node, self._core, self._time, self._update_monitors = node, core, time, update_monitors
        self._estop_sub = subscribe(node, Bool, topics.ESTOP_INPUT, topics.RELIABLE)
        self._deadman_sub = subscribe(node, Bool, topics.DEADMAN, topics.RELIABLE)
        requests = (
            (topics.ESTOP, core.estop),
            (topics.STOP, core.stop),
            (topics.RESET, core.reset),
            (topics.ARM, self._arm),
        )
        self._services = [node.create_service(Trigger, name, self._callback(request)) for name, request in requests]
        self._parameters = self._parameter_services()

    def _parameter_services(self) -> list[Service]:
        """The standard parameter services of a ROS node; only the speed can be changed."""
        node = self._node
        if not node.has_parameter(SPEED_PARAMETER):
            descriptor = ParameterDescriptor(description=f"{SPEED_DESCRIPTION}; 1.0 is full speed.")
            node.declare_parameter(SPEED_PARAMETER, 1.0, descriptor)
        node.add_on_set_parameters_callback(self._set_parameters)
        before = set(node.services)
        self._parameter_service = ParameterService(node)
        return [service for service in node.services if service not in before]

    def _arm(self, now_ns: int) -> RequestResult:
        self._update_monitors()
        return self._core.arm(now_ns)

    def _callback(
        self, request: Callable[[int], RequestResult]
    ) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def callback(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            result = request(self._time.now_ns())
            response.success, response.message = result.success, result.message
            self._node.get_logger().info(result.message)
            return response

        return callback

    def _set_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Set the speed; a request with any invalid or read-only parameter changes nothing."""
        for parameter in parameters:
            if parameter.name != SPEED_PARAMETER:
                return self._refuse(f"{parameter.name} is read-only; only {SPEED_PARAMETER} can be changed.")
            if not (isinstance(parameter.value, float) and MIN_SCALE <= parameter.value <= 1.0):
                return self._refuse(f"{SPEED_DESCRIPTION}; got {parameter.value}.")
        for parameter in parameters:
            self._core.speed_scaling.request(parameter.value)
            self._node.get_logger().info(f"the operator set the speed to {parameter.value:g} of full speed")
        return SetParametersResult(successful=True)

    def _refuse(self, reason: str) -> SetParametersResult:
        self._core.refusal_counts["parameter"] += 1
        self._node.get_logger().warning(reason, throttle_duration_sec=1.0)
        return SetParametersResult(successful=False, reason=reason)

    def serve(self) -> None:
        """Process at most one request per service, emergency stop first, then button, deadman switch and parameters."""
        for service in self._services:
            serve(service)
        for message in self._estop_sub.take(max_count=5):
            self._core.monitors.estop_input(message.data, self._time.now_ns())
        for message in self._deadman_sub.take(max_count=5):
            self._core.monitors.deadman(message.data, self._time.now_ns())
        try:
            for service in self._parameters:
                serve(service)
        except (TypeError, ValueError) as error:  # a parameter of an unknown type
            self._refuse(f"a parameter request is malformed: {error}.")
