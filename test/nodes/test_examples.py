"""The examples under `examples/` work beside the stack with nothing else changed."""

from pathlib import Path

import numpy as np
import pytest
from nodes.test_supervised import assert_at_rest

from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import JOINTS, GraphClient

pytestmark = pytest.mark.graph
ROOT = Path(__file__).resolve().parents[2]


def test_a_chunk_publisher_of_ones_own_moves_the_arm(stack: GraphClient, processes: ProcessGroup):
    processes.start("examples.chunk_publisher", PYTHONPATH=str(ROOT))
    wrist = JOINTS.index("wrist_roll")
    stack.wait_until(lambda: len(stack.commands) and np.ptp(stack.positions()[:, wrist]) > 0.2, "the wave")
    stack.wait_until(lambda: int(stack.state["accepted"]) > 3, "one plan after the other")
    assert processes.stop("examples.chunk_publisher") == 0
    stack.wait_for_rest()
    assert_at_rest(stack)


def test_a_finished_plan_of_ones_own_is_permitted_and_followed(stack: GraphClient, processes: ProcessGroup):
    example = processes.start("examples.plan_publisher", "--ros-args", "-p", "move:=0.4", PYTHONPATH=str(ROOT))
    assert example.wait(timeout=30) == 0, processes.log("examples.plan_publisher")
    stack.wait_until(lambda: len(stack.active_plan.points) > 2, "the plan in force")
    stack.wait_for_rest()
    moved = stack.positions()[-1] - stack.positions()[0]
    assert moved[0] == pytest.approx(0.4, abs=1e-9)
    assert np.abs(moved[1:]).max() == 0.0
