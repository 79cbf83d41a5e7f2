"""Tests of `vla status`: the state of a real graph, and the error without a supervisor."""

import os
import subprocess
import sys

import pytest
from nodes.graph import Graph

from vla_ros.cli.status import SUPERVISOR, NodeStatus, render


def vla_status(*args: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "vla_ros.cli", "status", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})


@pytest.mark.graph
def test_once_prints_mode_reason_and_counters(graph: Graph):
    done = vla_status("--once", "--wait", "20")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in ("RUNNING", "STOPPED")  # a slow simulator may have caused a stop
    assert "tracking_error" in done.stdout
    assert "accepted" in done.stdout


@pytest.mark.graph
def test_without_a_supervisor_it_fails(ros_domain: int):
    done = vla_status("--once", "--wait", "1")
    assert done.returncode == 1
    assert f"no supervisor found in ROS domain {ros_domain}" in done.stdout


def test_the_text_names_faults_levels_and_stale_nodes() -> None:
    values = {"mode": "stopped", "reason": "no joint state", "faults": "one; two", "accepted": "7"}
    statuses = {
        SUPERVISOR: NodeStatus(1, "", values, 10.0),
        "vla_ros: planner": NodeStatus(2, "not planning", {"planned": "3"}, 1.0),
    }
    assert render(statuses, 11.0).splitlines() == [
        "STOPPED   no joint state",
        "  ! one",
        "  ! two",
        "",
        "  accepted  7",
        "",
        "planner: ERROR  not planning  planned 3   (no message for 10 s)",
    ]
