"""Random sequences of plans, requests, sensor data and faults: commands keep the limits and the arm comes to rest."""

from __future__ import annotations

import numpy as np
import pytest
from core.generators import SEED, T0, assert_within_limits, names, random_chunk, rng_of
from hypothesis import given, settings
from safety.supervisor_helpers import LIMITS, MS, PLANNER, START, invalid_plans, measured, modified

from vla_ros.core.records import Refusal
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor
from vla_ros.testing.fuzzer import CommandStream


class RandomEventFuzzer:
    """A supervisor that receives independent random events at every step, in random order.

    `vla_ros.testing.fuzzer.Fuzzer` runs the periodic activities of a real graph for hours; this one reaches more
    combinations in a short time.
    """

    def __init__(self, seed: int) -> None:
        self.rng, self.now = rng_of(seed), T0
        self.supervisor = Supervisor(LIMITS)
        self.stream = CommandStream(
            self.supervisor.config.max_command_step_rad, lambda t, q: assert_within_limits(t, q, LIMITS)
        )
        self.pose, self.plans = START, []

    def send_joint_state(self) -> None:
        if self.rng.random() < 0.96:
            positions = self.pose + self.rng.normal(0.0, 1e-3, 3)
            self.supervisor.joint_state(measured(positions, self.now), self.now - int(self.rng.integers(0, 2 * MS)))
        else:
            self.supervisor.joint_state(measured(np.zeros(2), self.now, names(2)), self.now)

    def send_plan(self) -> None:
        active_plan = self.supervisor.active_plan()
        if active_plan is None:
            return
        plan = PLANNER.plan(random_chunk(self.rng, LIMITS, self.now), active_plan, self.now)
        if isinstance(plan, Refusal):
            return
        draw = self.rng.random()
        if draw < 0.1:
            plan = modified(plan, start_ns=plan.start_ns + int(self.rng.integers(-50 * MS, 50 * MS)))
        elif draw < 0.2:
            plan = self.rng.choice([p for plans in invalid_plans(plan).values() for p in plans])
        elif draw < 0.3 and self.plans:
            plan = self.plans[self.rng.integers(len(self.plans))]
        elif draw < 0.4:
            self.plans.append(plan)
            return
        self.supervisor.plan(plan, self.now - int(self.rng.integers(0, MS)))
        self.plans.append(plan)

    def tick(self) -> None:
        command = self.supervisor.tick(self.now - int(self.rng.integers(0, MS) if self.rng.random() < 0.02 else 0))
        self.stream.add(command)
        if command is not None:
            self.pose = command.state.position

    def reset(self) -> None:
        if self.supervisor.reset(self.now).success:
            self.stream.end_stretch()  # the next arming holds the measured, not the commanded pose

    def step(self) -> None:
        r = self.rng
        self.now += int(r.uniform(0.3, 20.0) * MS) if r.random() < 0.3 else 2 * MS
        if r.random() < 0.005:
            self.now += int(r.uniform(20.0, 400.0) * MS)
        events = [
            (0.7, self.send_joint_state),
            (0.06, self.send_plan),
            (0.004, lambda: self.supervisor.stop(self.now - int(r.integers(0, 3 * MS)))),
            (0.003, lambda: self.supervisor.estop(self.now - int(r.integers(0, 3 * MS)))),
            (0.02, self.reset),
            (0.003, lambda: self.supervisor.monitors.estop_input(True, self.now)),
            (0.05, lambda: self.supervisor.monitors.estop_input(False, self.now)),
            (0.003, lambda: self.supervisor.monitors.other_publishers(1)),
            (0.05, lambda: self.supervisor.monitors.other_publishers(0)),
            (0.05, lambda: self.supervisor.arm(self.now)),
        ]
        for i in r.permutation(len(events)):
            if r.random() < events[i][0]:
                events[i][1]()
        self.tick()

    def run_without_input(self) -> None:
        for _ in range(4000):
            self.now += 2 * MS
            self.tick()
        self.stream.end_stretch()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=25)
@given(seed=SEED)
def test_random_events_never_violate_limits_and_silence_ends_at_rest(seed: int) -> None:
    fuzzer = RandomEventFuzzer(seed)
    for _ in range(700):
        fuzzer.step()
    fuzzer.run_without_input()
    assert not any(fuzzer.stream.violations.values()), fuzzer.stream.violations
    command = fuzzer.supervisor.tick(fuzzer.now)
    assert command is None or not command.state.velocity.any()
    assert fuzzer.supervisor.mode is not Mode.RUNNING
