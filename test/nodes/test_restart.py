"""Any node may end and come back while the others live; after arming, the arm moves again."""

import signal

import pytest
from nodes.conftest import PARAMS, PATIENT
from nodes.test_supervised import assert_within_limits, moving, swing

from vla_ros.nodes.common import topics
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import GraphClient

pytestmark = pytest.mark.graph


def test_a_planner_that_comes_back_needs_nothing(calm: GraphClient, shared: tuple[GraphClient, ProcessGroup]):
    _, processes = shared
    processes.running["planner_node"].send_signal(signal.SIGKILL)
    processes.stop("planner_node")
    processes.start("planner_node", *PARAMS)
    calm.wait_for_planner()
    swing(calm)
    calm.wait_until(lambda: moving(calm), "motion")
    calm.wait_for_rest()
    assert_within_limits(calm)


def test_a_supervisor_that_comes_back_is_armed_and_goes_on(calm: GraphClient, shared: tuple[GraphClient, ProcessGroup]):
    _, processes = shared
    swing(calm)
    calm.wait_until(lambda: moving(calm), "motion")
    assert processes.stop("supervisor_node") == 0
    assert_within_limits(calm)
    processes.start("supervisor_node", *PATIENT)
    calm.state, calm.active_plan = {}, None
    calm.wait_until(lambda: calm.active_plan is not None, "word of the new one")
    assert not calm.active_plan.points, "nothing is in force before it is armed"
    calm.commands.clear()
    calm.arm()
    calm.wait_for_planner()
    swing(calm, joint=1, by=0.3)
    calm.wait_until(lambda: moving(calm), "motion")
    calm.wait_for_rest()
    assert_within_limits(calm)
    assert calm.state["accepted"] == "1"


def test_a_simulator_that_comes_back_is_armed_again(calm: GraphClient, shared: tuple[GraphClient, ProcessGroup]):
    _, processes = shared
    processes.stop("sim_node")
    calm.wait_until(lambda: calm.mode == "stopped", "stopped")
    processes.start("sim_node", *PARAMS, "-p", "cameras:=false")
    calm.active_plan = None
    assert calm.call(topics.RESET).success  # the new arm stands elsewhere: armed from there, on purpose
    calm.arm()
    calm.wait_for_planner()
    calm.commands.clear()
    swing(calm)
    calm.wait_until(lambda: moving(calm), "motion")
    calm.wait_for_rest()
    assert_within_limits(calm)
