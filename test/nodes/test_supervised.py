"""Supervisor, planner and simulator as processes: refusals, stops, and rest after every fault."""

import signal

import numpy as np
import pytest
from nodes.graph import Graph, assert_at_rest, assert_within_limits, counter, is_moving, start_motion

from vla_ros.api import Chunk, Plan
from vla_ros.core.records import NS
from vla_ros.nodes.common import conversions as convert
from vla_ros.nodes.common import topics
from vla_ros.testing.graph_client import JOINTS, PLANNER, GraphClient

pytestmark = pytest.mark.graph


def test_a_chunk_moves_the_arm_and_ends_at_rest(graph: Graph):
    client = graph.client
    start_motion(client)
    client.wait_for_rest()
    assert_at_rest(client)
    assert client.mode == "running"
    assert_within_limits(client)


def test_killing_the_planner_in_motion_ends_at_rest(graph: Graph):
    client = graph.client
    start_motion(client)
    graph.processes.running["planner_node"].kill()
    client.wait_for_rest()
    assert_at_rest(client)
    assert_within_limits(client)


def test_a_restarted_planner_continues(graph: Graph):
    client = graph.client
    graph.processes.running["planner_node"].send_signal(signal.SIGKILL)
    graph.processes.running["planner_node"].wait(timeout=10)
    graph.start()
    start_motion(client)
    client.wait_for_rest()
    assert_within_limits(client)


def test_losing_the_joint_states_stops_along_the_path(graph: Graph):
    client = graph.client
    start_motion(client)
    graph.processes.running["sim_node"].kill()
    client.wait_until(lambda: client.mode == "stopped", "stopped")
    assert "no joint state" in client.state["reason"]
    assert_at_rest(client)
    assert_within_limits(client)
    assert not client.call(topics.RESET).message.startswith("ready")
    assert not client.call(topics.ARM).success


def test_a_restarted_simulator_is_armed_again(graph: Graph):
    client = graph.client
    graph.processes.stop("sim_node")
    client.wait_until(lambda: client.mode == "stopped", "stopped")
    graph.start()  # after a reset: the new arm is in another pose
    client.clear()
    start_motion(client)
    client.wait_for_rest()
    assert_within_limits(client)


def test_a_stop_is_along_the_path_and_requires_arming(graph: Graph):
    client = graph.client
    start_motion(client)
    assert client.call(topics.STOP).success
    client.wait_until(lambda: client.mode == "stopped", "stopped")
    assert_at_rest(client)
    assert client.active_plan is not None
    assert not client.active_plan.points
    assert client.call(topics.ARM).success
    client.wait_until(lambda: client.active_plan.points, "an active plan")
    client.wait_for_full_speed()
    start_motion(client, angle_rad=0.3)
    client.wait_for_rest()
    assert_within_limits(client)


def test_an_emergency_stop_latches_brakes_and_ends_the_commands(graph: Graph):
    client = graph.client
    start_motion(client)
    assert client.call(topics.ESTOP).success
    client.wait_until(lambda: client.mode == "estopped", "estopped")
    client.wait(0.7)
    count = len(client.commands)
    client.wait(0.3)
    assert len(client.commands) == count
    assert_within_limits(client)
    assert not client.call(topics.ARM).success
    assert client.call(topics.RESET).success
    client.wait_until(lambda: client.mode == "ready", "ready")
    assert len(client.commands) == count
    assert client.call(topics.ARM).success
    client.wait_until(lambda: client.mode == "running", "running")


def test_a_second_publisher_on_the_command_topic_stops_the_arm(graph: Graph):
    client = graph.client
    start_motion(client)
    client.add_command_publisher(topics.ROBOT_COMMAND)
    client.wait_until(lambda: client.mode == "stopped", "stopped")
    assert "2 publishers" in client.state["reason"]
    assert_within_limits(client)
    assert "cannot arm: 2 publishers" in client.call(topics.ARM).message


def bad_plan(client: GraphClient, reason: str) -> Plan:
    """A plan that is refused for `reason`."""
    start_ns, names = client.now_ns() + 200_000_000, JOINTS
    p = np.tile(client.active_plan_record().positions[-1], (3, 1))
    v, a = np.zeros_like(p), np.zeros_like(p)
    offsets = np.array([0, 10**9, 2 * 10**9])
    if reason == "handover":
        p += 1e-6
    elif reason == "limits":
        p[1:, 0] += 1.5
    elif reason == "not_at_rest":
        v[-1, 0] = 0.1
    elif reason == "late":
        start_ns -= 10**9
    elif reason == "early":
        start_ns += 10**10
    elif reason == "spacing":
        offsets = np.array([0, 10**5, 2 * 10**9])
    elif reason == "malformed":
        names = (*JOINTS[:-1], "jaw")
    return Plan(names, start_ns, offsets, p, v, a)


def test_bad_plans_are_refused_by_reason_and_nothing_moves(graph: Graph):
    client = graph.client
    accepted = client.state["accepted"]
    for reason in ("handover", "limits", "not_at_rest", "late", "early", "spacing", "malformed"):
        name = f"refused.{reason}"
        before = counter(client, name)
        client.plans.publish(convert.plan_to_message(bad_plan(client, reason)))
        client.wait_until(lambda name=name, before=before: counter(client, name) == before + 1, name)
    assert client.state["accepted"] == accepted
    assert np.ptp(client.positions(), axis=0).max() == 0.0


def test_bad_chunks_are_refused_by_reason_and_nothing_moves(graph: Graph):
    client = graph.client
    rest = client.active_plan_record().positions[-1]
    good = np.tile(rest, (20, 1))
    unknown = (*JOINTS[:-1], "jaw")
    cases = {
        "refused.joints": (unknown, 0, good),
        "refused.future": (JOINTS, 10**10, good),
        "refused.stale": (JOINTS, -(10**10), good),
        "refused.handover_error": (JOINTS, 0, good + 1.0),
        "refused.malformed": (JOINTS, 0, good),
    }

    def count(reason: str) -> int:
        status = client.diagnostics.get(PLANNER)
        return 0 if status is None else int({v.key: v.value for v in status.values}.get(reason, "0"))

    graph.processes.stop("planner_node")  # one that has planned refuses an old chunk as "reordered"
    client.diagnostics.pop(PLANNER)
    graph.start()
    for reason, (names, ahead_ns, path) in cases.items():
        before = count(reason)
        message = convert.chunk_to_message(Chunk.from_rate(client.now_ns() + ahead_ns, names, path, 0.05))
        if reason == "refused.malformed":
            message.points[3].positions[2] = float("nan")
        client.chunks.publish(message)
        client.wait_until(lambda reason=reason, before=before: count(reason) == before + 1, reason)
    assert np.ptp(client.positions(), axis=0).max() == 0.0


def test_ending_the_supervisor_in_motion_brings_the_arm_to_rest_first(graph: Graph):
    client = graph.client
    start_motion(client)
    assert graph.processes.stop("supervisor_node") == 0
    client.wait(0.5)
    client.process_pending()
    assert "stopped" in client.modes
    # The approach to a rest is slow; its end must be at rest. At 150 rad/s^3 even a last step that came 15 ms
    # late is below this speed [rad/s]; a stop that is cut off 40 ms early is at 0.12.
    last_step = np.diff(client.positions()[-2:], axis=0)
    assert np.abs(last_step).max() / (np.diff(client.stamps()[-2:])[0] / NS) < 0.02
    assert_within_limits(client)


def test_a_restarted_supervisor_is_disarmed_and_continues_once_armed(graph: Graph):
    client = graph.client
    start_motion(client)
    assert graph.processes.stop("supervisor_node") == 0
    assert_within_limits(client)
    client.state, client.active_plan = {}, None
    graph.processes.start("supervisor_node", *graph.nodes["supervisor_node"])
    client.wait_until(lambda: client.active_plan is not None, "the active plan of the new supervisor")
    assert not client.active_plan.points, "there is no active plan before arming"
    client.clear()
    client.arm()
    client.wait_for_planner()
    assert counter(client, "accepted") == 0
    start_motion(client, joint=1, angle_rad=0.3)
    client.wait_for_rest()
    assert_within_limits(client)
    client.wait_until(lambda: counter(client, "accepted") > 0, "an accepted plan")
    assert not is_moving(client)
