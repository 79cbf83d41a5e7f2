"""Simulated time: a simulator's `/clock` at any pace, paused, resumed, and set back."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from nodes.conftest import PARAMS
from rosgraph_msgs.msg import Clock

from vla_ros.config import load_robot
from vla_ros.core.limit_monitor import check_limits
from vla_ros.core.records import NS, Array, Chunk
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import chunk_to_message, to_time
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import JOINTS, GraphClient

pytestmark = pytest.mark.graph
SIMULATED = (*PARAMS, "-p", "use_sim_time:=true")
PATIENT = (*SIMULATED, "-p", "joint_state_timeout_s:=1.0")
LONG_AGO = 100 * NS
"""Simulators begin at zero or thereabouts, far from what the system's clock says."""


class Simulator:
    """Says what time it is, 200 times a second, at a pace of its own."""

    def __init__(self, listener: GraphClient) -> None:
        self.now_ns, self.pace, self._listener = LONG_AGO, 1.0, listener
        self._clock = listener.node.create_publisher(Clock, topics.CLOCK, topics.NEWEST)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell)
        self._thread.start()

    def _tell(self) -> None:
        before_ns = time.monotonic_ns()
        while not self._ended.wait(0.005):
            real_ns = time.monotonic_ns()
            self.now_ns += round(self.pace * (real_ns - before_ns))
            before_ns = real_ns
            self._clock.publish(Clock(clock=to_time(self.now_ns)))

    def end(self) -> None:
        """Fall silent."""
        self._ended.set()
        self._thread.join()

    def chunk(self, goal: Array) -> None:
        """Two seconds of a chunk that holds a goal."""
        chunk = Chunk.from_rate(self.now_ns, JOINTS, np.tile(goal, (40, 1)), dt_s=0.05)
        self._listener.chunks.publish(chunk_to_message(chunk))


@pytest.fixture
def simulator(processes: ProcessGroup, listener: GraphClient) -> Iterator[Simulator]:
    """Supervisor, planner and physics, all on simulated time at half the pace of the real one; armed."""
    made = Simulator(listener)
    try:
        made.pace = 0.5
        processes.start("supervisor_node", *PATIENT)
        processes.start("planner_node", *SIMULATED)
        processes.start("sim_node", *SIMULATED, "-p", "cameras:=false")
        listener.arm()
        listener.wait_for_planner()
        yield made
    finally:
        made.end()


def test_the_arm_moves_pauses_and_stops_with_the_simulators_clock(simulator: Simulator, listener: GraphClient):
    pose = np.array(listener.commands[-1].position)
    goal = pose + np.array([0.4, 0, 0, 0, 0, 0])
    simulator.chunk(goal)
    listener.wait_until(lambda: listener.commands[-1].position[0] > pose[0] + 0.1, "motion")
    simulator.pace = 0.0
    listener.wait(0.2)
    held = len(listener.commands)
    listener.wait_until(lambda: "simulated time stands still" in listener.state["reason"], "a stop for the pause")
    assert len(listener.commands) == held, "nothing is commanded while time stands still"
    simulator.pace = 1.0
    listener.wait_until(lambda: listener.mode == "stopped", "rest, once time runs on")
    listener.wait_until(lambda: len({c.position[0] for c in listener.commands[-20:]}) == 1, "rest")
    assert listener.call(topics.ARM).success, "and it can be armed again"
    listener.wait_for_full_speed()
    listener.wait_for_planner()
    simulator.chunk(goal)
    listener.wait_until(lambda: abs(listener.commands[-1].position[0] - goal[0]) < 0.02, "the goal")
    stamps = listener.stamps()
    assert stamps[0] > LONG_AGO
    assert stamps[-1] <= simulator.now_ns, "commands are stamped with simulated time"
    judgement = check_limits(stamps, listener.positions(), load_robot("so101").limits)
    assert judgement.samples > 100
    assert not any(judgement.violations.values()), judgement


def test_a_clock_that_is_set_back_stops_the_arm_for_good(simulator: Simulator, listener: GraphClient):
    simulator.now_ns -= 10 * NS
    listener.wait_until(lambda: "clock was set by" in listener.state["reason"], "a stop")
    assert listener.state["fault.clock_jump"] == "1"
    simulator.now_ns += 11 * NS
    listener.wait_until(lambda: listener.mode == "stopped", "rest")

    def refused_for_the_clock() -> bool:
        """On a busy machine the simulator is still behind the new time, and its old joint states are named first."""
        answer = listener.call(topics.ARM)
        assert not answer.success, "it must not be armed again"
        return "clock was set" in answer.message

    listener.wait_until(refused_for_the_clock, "a refusal that names the clock")
