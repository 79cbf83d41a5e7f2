"""The observer records time and jerk of every chunk with the same metric as an evaluation without ROS."""

from pathlib import Path

import numpy as np
import pytest

from vla_ros.config import load_robot
from vla_ros.core.records import Array, Chunk
from vla_ros.nodes.common.conversions import chunk_to_message
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import JOINTS, GraphClient

pytestmark = pytest.mark.graph
YEARS_S = 2.0**31 - 1.0
JERK = 30.0


def chunk(times: Array, is_curve: bool) -> Chunk:
    """A cubic with the jerk `JERK` [rad/s^3] in one joint, and ten times that in the gripper."""
    scale = np.where(np.array(JOINTS) == "gripper", 10.0, np.array(JOINTS) == "elbow_flex")
    powers = [times**3 / 6.0, times**2 / 2.0, times]
    rows = [JERK * p[:, None] * scale for p in powers[: 3 if is_curve else 1]]
    return Chunk(1, JOINTS, times, *rows)


def test_chunks_are_timed_and_measured_among_invalid_ones(
    client: GraphClient, processes: ProcessGroup, tmp_path: Path
) -> None:
    processes.start("observer_node", "--ros-args", "-p", f"log_dir:={tmp_path}")
    client.wait_until(client.chunks.get_subscription_count, "a subscriber")
    begun = client.now_ns()
    still = np.zeros((2, 6))
    for sent in (
        chunk(0.1 * np.arange(1.0, 9.0), False),
        chunk(np.array([0.0, 0.7, 1.6]), True),
        Chunk(1, JOINTS[:5], np.array([0.1]), np.zeros((1, 5))),  # other joints
        Chunk(1, JOINTS, np.array([0.0, YEARS_S]), still, still, still),
    ):
        client.chunks.publish(chunk_to_message(sent))
        client.wait(0.1)
    assert processes.stop("observer_node") == 0, processes.log("observer_node")
    with np.load(tmp_path / "commands.npz") as found:
        came, jerk, step_s = found["chunks_ns"], found["chunk_jerk"], float(found["step_s"])
    limits = load_robot("so101").limits
    expected = JERK / limits.jerk[limits.joints.index("elbow_flex")]
    np.testing.assert_allclose(jerk, [expected, expected, np.nan], rtol=1e-5)
    assert begun <= came[0] < came[1] < came[2] <= client.now_ns()
    assert step_s == 0.05
