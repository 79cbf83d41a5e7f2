"""The operator's parameter requests to a running supervisor, as `ros2 param` sends them."""

import pytest
from nodes.graph import Graph, counter
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


def call(client: GraphClient, kind: type, service: str, request: object) -> object:
    ros_client = client.node.create_client(kind, f"supervisor/{service}")
    client.wait_until(ros_client.service_is_ready, f"service {service}")
    future = ros_client.call_async(request)
    client.wait_until(future.done, f"a response of {service}")
    client.node.destroy_client(ros_client)
    return future.result()


def set_parameter(client: GraphClient, name: str, **value: object) -> SetParametersResult:
    parameter = Parameter(name=name, value=ParameterValue(**value))
    response = call(client, SetParameters, "set_parameters", SetParameters.Request(parameters=[parameter]))
    assert len(response.results) == 1
    return response.results[0]


def test_the_speed_is_a_parameter_with_bounds(graph: Graph):
    client = graph.client
    speeds: list[float] = []
    subscription = client.node.create_subscription(
        Float64, topics.SPEED_SCALE, lambda m: speeds.append(m.data), topics.LATCHED
    )
    assert set_parameter(client, "speed_scale", type=DOUBLE, double_value=0.5).successful
    try:
        client.wait_until(lambda: speeds and speeds[-1] == 0.5, "half speed")
        before = counter(client, "refused.parameter")
        for bad in (float("nan"), float("inf"), 0.0, 0.0999, 1.0001, -0.5):
            result = set_parameter(client, "speed_scale", type=DOUBLE, double_value=bad)
            assert not result.successful
            assert result.reason.startswith("speed_scale must be a floating-point number from 0.1 to 1.0")
        client.wait_until(lambda: counter(client, "refused.parameter") == before + 6, "six refusals")
        request = GetParameters.Request(names=["speed_scale"])
        assert call(client, GetParameters, "get_parameters", request).values[0].double_value == 0.5
        client.wait(0.3)
        assert speeds[-1] == 0.5
        assert client.mode == "running"
    finally:
        client.node.destroy_subscription(subscription)
        set_parameter(client, "speed_scale", type=DOUBLE, double_value=1.0)
    client.wait_until(lambda: client.state["speed"] == "1.0", "full speed")


def test_no_other_parameter_changes_and_malformed_requests_stop_nothing(graph: Graph):
    client = graph.client
    for name, value in {
        "use_sim_time": {"type": ParameterType.PARAMETER_BOOL, "bool_value": True},
        "rate_hz": {"type": DOUBLE, "double_value": 100.0},
        "not_there": {"type": DOUBLE, "double_value": 1.0},
        "speed_scale": {"type": STRING, "string_value": "fast"},
    }.items():
        result = set_parameter(client, name, **value)
        assert not result.successful, name
        assert result.reason
    assert not set_parameter(client, "speed_scale", type=INTEGER, integer_value=1).successful
    malformed = Parameter(name="speed_scale", value=ParameterValue(type=200))
    ros_client = client.node.create_client(SetParameters, "supervisor/set_parameters")
    client.wait_until(ros_client.service_is_ready, "the service")
    before = counter(client, "refused.parameter")
    ros_client.call_async(SetParameters.Request(parameters=[malformed]))
    client.wait_until(lambda: counter(client, "refused.parameter") > before, "a refusal")
    client.wait(0.5)
    client.node.destroy_client(ros_client)
    assert client.mode == "running"
    assert "refused.internal" not in client.state


def test_the_parameters_can_be_listed_and_described(graph: Graph):
    client = graph.client
    response = call(client, ListParameters, "list_parameters", ListParameters.Request())
    assert "speed_scale" in response.result.names
    request = DescribeParameters.Request(names=["rate_hz"])
    assert call(client, DescribeParameters, "describe_parameters", request).descriptors[0].name == "rate_hz"
