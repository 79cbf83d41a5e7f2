"""Simulated time: a simulator's `/clock` at any rate, paused, resumed, and set back."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from nodes.graph import LIMITS, PARAMS
from rosgraph_msgs.msg import Clock

from vla_ros.core.limit_monitor import check_limits
from vla_ros.core.records import NS, Array, Chunk
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import chunk_to_message, to_time
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import JOINTS, GraphClient

pytestmark = pytest.mark.graph
SIM_TIME = (*PARAMS, "-p", "use_sim_time:=true")
PATIENT = (*SIM_TIME, "-p", "joint_state_timeout_s:=1.0")
START_NS = 100 * NS
"""Simulators start near zero, far from the system clock."""


class SimulatedClock:
    """Publishes `/clock` 200 times a second; `rate` is simulated per real time."""

    def __init__(self, client: GraphClient) -> None:
        self.now_ns, self.rate = START_NS, 1.0
        self._publisher = client.node.create_publisher(Clock, topics.CLOCK, topics.NEWEST)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        before_ns = time.monotonic_ns()
        while not self._ended.wait(0.005):
            real_ns = time.monotonic_ns()
            self.now_ns += round(self.rate * (real_ns - before_ns))
            before_ns = real_ns
            self._publisher.publish(Clock(clock=to_time(self.now_ns)))

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def clock(processes: ProcessGroup, client: GraphClient) -> Iterator[SimulatedClock]:
    """Supervisor, planner and physics on simulated time at half the rate of real time; armed."""
    made = SimulatedClock(client)
    try:
        made.rate = 0.5
        processes.start("supervisor_node", *PATIENT)
        processes.start("planner_node", *SIM_TIME)
        processes.start("sim_node", *SIM_TIME, "-p", "cameras:=false")
        client.arm()
        client.wait_for_planner()
        yield made
    finally:
        made.stop()


def test_the_arm_moves_pauses_and_stops_with_the_simulated_clock(clock: SimulatedClock, client: GraphClient):
    pose = np.array(client.commands[-1].position)
    goal = pose + np.array([0.4, 0, 0, 0, 0, 0])

    def send_chunk() -> None:
        chunk: Array = np.tile(goal, (40, 1))
        client.chunks.publish(chunk_to_message(Chunk.from_rate(clock.now_ns, JOINTS, chunk, dt_s=0.05)))

    client.repeat_until(send_chunk, lambda: client.commands[-1].position[0] > pose[0] + 0.1, "motion", period_s=6.0)
    clock.rate = 0.0
    client.wait(0.2)
    count = len(client.commands)
    client.wait_until(lambda: "simulated time stands still" in client.state["reason"], "a stop because of the pause")
    assert len(client.commands) == count, "no command while time stands still"
    clock.rate = 1.0
    client.wait_until(lambda: client.mode == "stopped", "rest once time continues")
    client.wait_until(lambda: len({c.position[0] for c in client.commands[-20:]}) == 1, "rest")
    assert client.call(topics.ARM).success
    client.wait_for_full_speed()
    client.wait_for_planner()
    client.repeat_until(send_chunk, lambda: abs(client.commands[-1].position[0] - goal[0]) < 0.02, "the goal")
    stamps = client.stamps()
    assert stamps[0] > START_NS
    assert stamps[-1] <= clock.now_ns, "commands are stamped with simulated time"
    report = check_limits(stamps, client.positions(), LIMITS)
    assert report.samples > 100
    assert not any(report.violations.values()), report


def test_a_clock_that_is_set_back_stops_the_arm_until_a_restart(clock: SimulatedClock, client: GraphClient):
    clock.now_ns -= 10 * NS
    client.wait_until(lambda: "clock was set by" in client.state["reason"], "a stop")
    assert client.state["fault.clock_jump"] == "1"
    clock.now_ns += 11 * NS
    client.wait_until(lambda: client.mode == "stopped", "rest")

    def refused_for_the_clock() -> bool:
        """On a busy machine the simulator is behind the new time, and its old joint states are reported first."""
        response = client.call(topics.ARM)
        assert not response.success, "arming must be refused"
        return "clock was set" in response.message

    client.wait_until(refused_for_the_clock, "a refusal because of the clock")
