"""Random stories of everything at once: no command leaves the limits, and silence ends at rest."""

from __future__ import annotations

import numpy as np
import pytest
from core.draw import SEED, T0, assert_inside, names, rng_of, wild_chunk
from hypothesis import given, settings
from safety.arm import LIMITS, MS, PLANNER, START, bad_plans, changed, measured

from vla_ros.core.records import Refusal
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor


class Story:
    """A supervisor and everything that happens to it, drawn at random; keeps what was sent."""

    def __init__(self, seed: int) -> None:
        self.rng, self.now = rng_of(seed), T0
        self.supervisor = Supervisor(LIMITS)
        self.streams: list[list] = [[]]
        self.pose, self.plans = START, []

    def sees(self) -> None:
        kind = self.rng.random()
        if kind < 0.96:
            at = self.pose + self.rng.normal(0.0, 1e-3, 3)
            self.supervisor.joint_state(measured(at, self.now), self.now - int(self.rng.integers(0, 2 * MS)))
        else:
            self.supervisor.joint_state(measured(np.zeros(2), self.now, names(2)), self.now)

    def plan(self) -> None:
        in_force = self.supervisor.in_force()
        if in_force is None:
            return
        plan = PLANNER.plan(wild_chunk(self.rng, LIMITS, self.now), in_force, self.now)
        if isinstance(plan, Refusal):
            return
        kind = self.rng.random()
        if kind < 0.1:
            plan = changed(plan, start_ns=plan.start_ns + int(self.rng.integers(-50 * MS, 50 * MS)))
        elif kind < 0.2:
            spoilt = bad_plans(plan)
            plan = self.rng.choice([p for plans in spoilt.values() for p in plans])
        elif kind < 0.3 and self.plans:
            plan = self.plans[self.rng.integers(len(self.plans))]
        elif kind < 0.4:
            self.plans.append(plan)
            return
        self.supervisor.plan(plan, self.now - int(self.rng.integers(0, MS)))
        self.plans.append(plan)

    def tick(self) -> None:
        command = self.supervisor.tick(self.now - int(self.rng.integers(0, MS) if self.rng.random() < 0.02 else 0))
        if command is None:
            self.streams.append([])
            return
        stream = self.streams[-1]
        self.pose = command.state.position
        if not stream or command.stamp_ns > stream[-1].stamp_ns:
            stream.append(command)

    def reset(self) -> None:
        if self.supervisor.reset(self.now).ok:
            self.streams.append([])  # what is armed next is held where it is measured, not where it was sent

    def step(self) -> None:
        r = self.rng
        self.now += int(r.uniform(0.3, 20.0) * MS) if r.random() < 0.3 else 2 * MS
        if r.random() < 0.005:
            self.now += int(r.uniform(20.0, 400.0) * MS)
        acts = [
            (0.7, self.sees),
            (0.06, self.plan),
            (0.004, lambda: self.supervisor.stop(self.now - int(r.integers(0, 3 * MS)))),
            (0.003, lambda: self.supervisor.estop(self.now - int(r.integers(0, 3 * MS)))),
            (0.02, self.reset),
            (0.003, lambda: self.supervisor.watch.estop_input(True, self.now)),
            (0.05, lambda: self.supervisor.watch.estop_input(False, self.now)),
            (0.003, lambda: self.supervisor.watch.publishers(1)),
            (0.05, lambda: self.supervisor.watch.publishers(0)),
            (0.05, lambda: self.supervisor.arm(self.now)),
        ]
        for i in r.permutation(len(acts)):
            if r.random() < acts[i][0]:
                acts[i][1]()
        self.tick()

    def silence(self) -> None:
        for _ in range(4000):
            self.now += 2 * MS
            self.tick()

    def check(self) -> int:
        for stream in (s for s in self.streams if s):
            times = np.array([c.stamp_ns for c in stream])
            told = np.stack([c.state.position for c in stream])
            stalls = np.flatnonzero(np.diff(times) >= 20 * MS) + 1
            assert (np.abs(told[stalls] - told[stalls - 1]) <= self.supervisor.config.largest_step).all()
            for part in np.split(np.arange(len(times)), stalls):
                assert_inside(times[part], told[part], LIMITS)
        return sum(map(len, self.streams))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=25)
@given(seed=SEED)
def test_whatever_happens_what_is_sent_keeps_every_limit_and_silence_ends_at_rest(seed: int) -> None:
    story = Story(seed)
    for _ in range(700):
        story.step()
    story.silence()
    story.check()
    command = story.supervisor.tick(story.now)
    assert command is None or not command.state.velocity.any()
    assert story.supervisor.mode is not Mode.RUNNING
