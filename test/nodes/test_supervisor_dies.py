"""What the arm does when the supervisor is killed in mid-motion, with each kind of controller."""

import json

import numpy as np
import pytest
from nodes.conftest import PARAMS, PATIENT
from nodes.test_supervised import assert_within_limits, moving, swing
from std_msgs.msg import String

from vla_ros.nodes.common import topics
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import GraphClient

pytestmark = pytest.mark.graph


class Robot:
    """What the simulator's controller tells its servos, and where they are."""

    def __init__(self, listener: GraphClient) -> None:
        self.told: list[np.ndarray] = []
        self.at: list[np.ndarray] = []
        listener.node.create_subscription(String, topics.GROUND_TRUTH, self._hear, topics.LATCHED)

    def _hear(self, message: String) -> None:
        truth = json.loads(message.data)
        self.told.append(np.array(truth["commanded"]))
        self.at.append(np.array(truth["joint_positions"]))


def bring_up(processes: ProcessGroup, listener: GraphClient, *output: str, sim: tuple[str, ...] = ()) -> Robot:
    processes.start("supervisor_node", *PATIENT, *output)
    processes.start("planner_node", *PARAMS)
    processes.start("sim_node", *PARAMS, "-p", "cameras:=false", *sim)
    robot = Robot(listener)
    listener.arm()
    listener.wait_for_planner()
    return robot


def set_in_motion(listener: GraphClient) -> None:
    """On a busy machine a plan may come too late, and is asked for again."""
    for _ in range(5):
        swing(listener)
        end = listener.now_ns() + 3 * 10**9
        listener.wait_until(lambda end=end: moving(listener) or listener.now_ns() > end, "an answer")
        if moving(listener):
            return
    raise AssertionError(f"no motion; state {listener.state}")


def kill_in_mid_motion(processes: ProcessGroup, listener: GraphClient) -> np.ndarray:
    """The rest the plan in force leads to, shape (6,) [rad]."""
    set_in_motion(listener)
    processes.running["supervisor_node"].kill()
    return listener.active_plan_record().positions[-1]


def trajectories(processes: ProcessGroup, listener: GraphClient) -> Robot:
    return bring_up(
        processes,
        listener,
        *("-p", "output:=trajectory", "-p", f"command_topic:={topics.ROBOT_TRAJECTORY}"),
        sim=("-p", f"trajectory_topic:={topics.ROBOT_TRAJECTORY}"),
    )


def test_a_forward_controller_holds_the_last_command_for_ever(processes: ProcessGroup, listener: GraphClient):
    robot = bring_up(processes, listener)
    rest = kill_in_mid_motion(processes, listener)
    listener.wait(1.0)
    robot.told.clear()
    listener.wait(4.0)
    assert len(robot.told) > 20
    held = robot.told[0]
    np.testing.assert_array_equal(robot.told, np.tile(held, (len(robot.told), 1)))
    assert np.abs(held - rest).max() > 0.01, "not where the plan would have rested"
    # The very last commands may have been on their way when their sender died.
    assert np.abs(listener.positions() - held).max(axis=1).min() < 1e-12


def test_a_trajectory_controller_runs_to_the_rest_of_the_plan(processes: ProcessGroup, listener: GraphClient):
    robot = trajectories(processes, listener)
    rest = kill_in_mid_motion(processes, listener)
    last = np.array(listener.commands[-1].position)
    assert np.abs(last - rest).max() > 0.01, "not yet where the plan rests"
    listener.wait_until(lambda: listener.now_ns() > listener.active_plan_record().end_ns + 10**9, "the end of the plan")
    robot.told.clear()
    listener.wait(1.0)
    np.testing.assert_allclose(robot.told, np.tile(rest, (len(robot.told), 1)), atol=1e-9)
    np.testing.assert_allclose(robot.at[-1][:5], rest[:5], atol=0.1)


def test_a_trajectory_controller_follows_stops_too(processes: ProcessGroup, listener: GraphClient):
    robot = trajectories(processes, listener)
    for service, mode in ((topics.STOP, "stopped"), (topics.ESTOP, "estopped")):
        set_in_motion(listener)
        rest = listener.active_plan_record().positions[-1]
        assert listener.call(service).success
        listener.wait_until(lambda mode=mode: listener.mode == mode, mode)
        listener.wait(1.5)
        end = np.array(listener.commands[-1].position)
        assert np.abs(end - rest).max() > 1e-3, "stopped before the plan would have rested"
        np.testing.assert_allclose(robot.told[-1], end, atol=1e-6)
        if mode == "stopped":
            assert listener.call(topics.ARM).success
            listener.wait_until(lambda: listener.active_plan.points, "a plan in force")
            listener.wait_for_full_speed()
    assert_within_limits(listener)
