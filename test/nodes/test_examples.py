"""The examples in `examples/` work with the unchanged graph."""

from pathlib import Path

import numpy as np
import pytest
from nodes.graph import Graph, assert_at_rest, counter

from vla_ros.testing.graph_client import JOINTS

pytestmark = pytest.mark.graph
ROOT = Path(__file__).resolve().parents[2]


def test_the_chunk_publisher_moves_the_arm(graph: Graph):
    client = graph.client
    accepted = counter(client, "accepted")
    graph.processes.start("examples.chunk_publisher", PYTHONPATH=str(ROOT))
    wrist = JOINTS.index("wrist_roll")
    client.wait_until(lambda: len(client.commands) and np.ptp(client.positions()[:, wrist]) > 0.2, "the motion")
    client.wait_until(lambda: counter(client, "accepted") > accepted + 3, "consecutive plans")
    assert graph.processes.stop("examples.chunk_publisher") == 0
    client.wait_for_rest()
    assert_at_rest(client)


def test_the_plan_of_the_plan_publisher_is_accepted_and_followed(graph: Graph):
    client = graph.client
    move = 0.4 if client.active_plan_record().positions[-1, 0] <= 0.0 else -0.4
    before = client.active_plan.header.stamp
    args = ("--ros-args", "-p", f"move:={move}")
    example = graph.processes.start("examples.plan_publisher", *args, PYTHONPATH=str(ROOT))
    assert example.wait(timeout=30) == 0, graph.processes.log("examples.plan_publisher")
    graph.processes.stop("examples.plan_publisher")
    client.wait_until(lambda: client.active_plan.header.stamp != before, "the active plan")
    client.wait_for_rest()
    moved = client.positions()[-1] - client.positions()[0]
    assert moved[0] == pytest.approx(move, abs=1e-9)
    assert np.abs(moved[1:]).max() == 0.0
