"""What an operator asks of a running supervisor: its services for parameters, as `ros2 param` calls them."""

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from std_msgs.msg import Float64

from vla_ros.nodes.common import topics
from vla_ros.testing.graph_client import GraphClient

pytestmark = pytest.mark.graph
DOUBLE, INTEGER, STRING = (
    ParameterType.PARAMETER_DOUBLE,
    ParameterType.PARAMETER_INTEGER,
    ParameterType.PARAMETER_STRING,
)


def call(listener: GraphClient, kind: type, service: str, request: object) -> object:
    client = listener.node.create_client(kind, f"supervisor/{service}")
    listener.wait_until(client.service_is_ready, f"service {service}")
    future = client.call_async(request)
    listener.wait_until(future.done, f"an answer of {service}")
    listener.node.destroy_client(client)
    return future.result()


def put(listener: GraphClient, name: str, **value: object) -> SetParametersResult:
    wanted = Parameter(name=name, value=ParameterValue(**value))
    response = call(listener, SetParameters, "set_parameters", SetParameters.Request(parameters=[wanted]))
    assert len(response.results) == 1
    return response.results[0]


def test_the_speed_is_a_parameter_with_bounds(stack: GraphClient):
    heard: list[float] = []
    stack.node.create_subscription(Float64, topics.SPEED_SCALE, lambda m: heard.append(m.data), topics.LATCHED)
    assert put(stack, "speed_scale", type=DOUBLE, double_value=0.5).successful
    stack.wait_until(lambda: heard and heard[-1] == 0.5, "half speed")
    for bad in (float("nan"), float("inf"), 0.0, 0.0999, 1.0001, -0.5):
        answer = put(stack, "speed_scale", type=DOUBLE, double_value=bad)
        assert not answer.successful
        assert answer.reason.startswith("speed_scale is a number from 0.1 to 1.0")
    stack.wait_until(lambda: stack.state.get("refused.parameter") == "6", "six refusals")
    asked = GetParameters.Request(names=["speed_scale"])
    assert call(stack, GetParameters, "get_parameters", asked).values[0].double_value == 0.5
    stack.wait(0.3)
    assert heard[-1] == 0.5
    assert stack.mode == "running"


def test_no_other_parameter_changes_and_nonsense_stops_nothing(stack: GraphClient):
    for name, value in {
        "use_sim_time": {"type": ParameterType.PARAMETER_BOOL, "bool_value": True},
        "rate_hz": {"type": DOUBLE, "double_value": 100.0},
        "not_there": {"type": DOUBLE, "double_value": 1.0},
        "speed_scale": {"type": STRING, "string_value": "fast"},
    }.items():
        answer = put(stack, name, **value)
        assert not answer.successful, name
        assert answer.reason
    assert not put(stack, "speed_scale", type=INTEGER, integer_value=1).successful
    nonsense = Parameter(name="speed_scale", value=ParameterValue(type=200))
    client = stack.node.create_client(SetParameters, "supervisor/set_parameters")
    stack.wait_until(client.service_is_ready, "the service")
    client.call_async(SetParameters.Request(parameters=[nonsense]))
    stack.wait_until(lambda: int(stack.state.get("refused.parameter", "0")) > 0, "a refusal")
    stack.wait(0.5)
    assert stack.mode == "running"
    assert "refused.internal" not in stack.state


def test_the_parameters_can_be_listed_and_explained(stack: GraphClient):
    listed = call(stack, ListParameters, "list_parameters", ListParameters.Request())
    assert "speed_scale" in listed.result.names
    asked = DescribeParameters.Request(names=["rate_hz"])
    assert call(stack, DescribeParameters, "describe_parameters", asked).descriptors[0].name == "rate_hz"
