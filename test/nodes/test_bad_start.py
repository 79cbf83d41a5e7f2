"""What is wrong at start is said in one sentence, with exit status 2; and a camera that never comes by its name."""

from pathlib import Path

import pytest
from safetensors.numpy import save_file

from vla_ros.nodes.common import topics
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import GraphClient

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


@pytest.mark.parametrize(("node", "given", "sentence"), CASES.values(), ids=CASES.keys())
def test_a_start_up_error_is_one_sentence_and_status_2(processes: ProcessGroup, node: str, given: str, sentence: str):
    assert processes.start(node, "--ros-args", "-p", given).wait(timeout=60) == 2
    lines = [line for line in processes.log(node).splitlines() if line.strip()]
    assert sentence in lines[-1]
    assert "Traceback" not in processes.log(node)


def test_a_yaml_with_a_wrong_key_names_the_nearest(processes: ProcessGroup, tmp_path: Path):
    file = tmp_path / "site.yaml"
    file.write_text("supervisor:\n  ros__parameters:\n    rate_hertz: 500.0\n")
    process = processes.start("supervisor_node", "--ros-args", "--params-file", str(file))
    assert process.wait(timeout=60) == 2
    assert 'unknown parameter "rate_hertz" in node supervisor; did you mean "rate_hz"?' in processes.log(
        "supervisor_node"
    )


def test_a_robot_file_with_a_wrong_key_names_the_nearest(processes: ProcessGroup, tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\njoints:\n  j: {position: [-1, 1], velocity: 1, acceleration: 1, jrk: 1}\n")
    process = processes.start("planner_node", "--ros-args", "-p", f"robot:={file}")
    assert process.wait(timeout=60) == 2
    assert 'did you mean "jerk"?' in processes.log("planner_node")


def test_a_file_that_is_no_checkpoint_is_refused(processes: ProcessGroup, tmp_path: Path):
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"not a checkpoint at all")
    process = processes.start("policy_node", "--ros-args", "-p", f"checkpoint:={file}")
    assert process.wait(timeout=60) == 2
    assert "Traceback" not in processes.log("policy_node")


def test_a_foreign_safetensors_file_is_refused(processes: ProcessGroup, tmp_path: Path):
    import numpy as np

    file = tmp_path / "x.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, file)
    process = processes.start("policy_node", "--ros-args", "-p", f"checkpoint:={file}")
    assert process.wait(timeout=60) == 2
    assert "Traceback" not in processes.log("policy_node")


def test_a_camera_that_never_comes_is_named_and_the_arm_stays(stack: GraphClient, processes: ProcessGroup):
    from std_msgs.msg import String

    processes.start("policy_node")
    stack.instruction.publish(String(data="put the red cube in the bowl"))

    def named() -> bool:
        status = stack.diagnostics.get("vla_ros: policy")
        return status is not None and 'no image from camera "front" yet' in status.message

    stack.wait_until(named, "the missing camera named", 40.0)
    assert stack.state["accepted"] == "0"
    assert topics.CHUNK
