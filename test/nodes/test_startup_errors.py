"""Errors at the start of a node: exit status 2 and one line; a camera without images is named."""

from pathlib import Path

import pytest
from nodes.graph import Graph, counter
from std_msgs.msg import String

from vla_ros.system.processes import ProcessGroup

pytestmark = pytest.mark.graph

CASES = {
    "unknown robot": ("supervisor_node", "robot:=so110", 'unknown robot "so110"; did you mean "so101"?'),
    "unknown parameter": ("planner_node", "cutof_hz:=3.0", 'did you mean "cutoff_hz"?'),
    "wrong type": ("supervisor_node", "rate_hz:=fast", "must be float; got 'fast'"),
    "out of range": ("supervisor_node", "rate_hz:=1.0e9", "rate_hz must be 50 to 2000"),
    "not a number": ("planner_node", "lead_s:=.nan", "lead_s must be greater than 0; got nan"),
    "unknown task": ("sim_node", "task:=pick_plaice", 'did you mean "pick_place"?'),
    "unknown policy": ("policy_node", "policy:=lerned", 'did you mean "learned"?'),
    "no checkpoint": ("policy_node", "checkpoint:=nowhere.safetensors", "nowhere.safetensors"),
    "unknown engine": ("policy_node", "engine:=grahp", 'did you mean "graph"?'),
}


def assert_refused(processes: ProcessGroup, node: str, *args: str) -> str:
    """The last line of a node that must not start."""
    assert processes.start(node, "--ros-args", *args).wait(timeout=60) == 2
    assert "Traceback" not in processes.log(node)
    return [line for line in processes.log(node).splitlines() if line.strip()][-1]


@pytest.mark.parametrize(("node", "given", "error"), CASES.values(), ids=CASES.keys())
def test_a_start_up_error_is_one_line_and_status_2(processes: ProcessGroup, node: str, given: str, error: str):
    assert error in assert_refused(processes, node, "-p", given)


def test_an_unknown_key_of_a_parameter_file_names_the_nearest(processes: ProcessGroup, tmp_path: Path):
    file = tmp_path / "site.yaml"
    file.write_text("supervisor:\n  ros__parameters:\n    rate_hertz: 500.0\n")
    assert 'unknown parameter "rate_hertz" in node supervisor; did you mean "rate_hz"?' in assert_refused(
        processes, "supervisor_node", "--params-file", str(file)
    )


def test_an_unknown_key_of_a_robot_file_names_the_nearest(processes: ProcessGroup, tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\njoints:\n  j: {position: [-1, 1], velocity: 1, acceleration: 1, jrk: 1}\n")
    assert 'did you mean "jerk"?' in assert_refused(processes, "planner_node", "-p", f"robot:={file}")


def test_a_camera_without_images_is_named_and_the_arm_does_not_move(graph: Graph):
    client = graph.client
    accepted = counter(client, "accepted")
    graph.processes.start("policy_node")
    try:
        client.instruction.publish(String(data="put the red cube in the bowl"))

        def named() -> bool:
            status = client.diagnostics.get("vla_ros: policy")
            return status is not None and 'no image from camera "front" yet' in status.message

        client.wait_until(named, "the missing camera named", 40.0)
        assert counter(client, "accepted") == accepted
    finally:
        graph.processes.stop("policy_node")
        client.instruction.publish(String(data=""))
