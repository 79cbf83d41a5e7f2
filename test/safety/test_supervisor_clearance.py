"""An emergency stop keeps its distance like every other: it brakes where that is proved clear, else along the path."""

from __future__ import annotations

import numpy as np
import pytest
from core.generators import T0, assert_within_limits, instants
from safety.shapes import CARTS, Carts, poses_of, ride

from vla_ros.core.records import NS, JointState
from vla_ros.core.trajectory import Plan
from vla_ros.safety.clearance import ClearanceChecker
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.stopping import Brake, PathStop, brake
from vla_ros.safety.supervisor import Supervisor

MS = 1_000_000


def riding(gap: float) -> tuple[Supervisor, Plan]:
    """A supervisor that follows a ride of two carts, and the ride."""
    it, plan = Supervisor(CARTS, clearance=ClearanceChecker(Carts())), ride(gap)
    begin = T0 - 20 * MS
    assert it.joint_state(JointState(begin, CARTS.joints, plan.positions[0], np.zeros(2)), begin) is None
    assert it.arm(begin).success
    assert it.plan(plan, begin + MS) is None
    return it, plan


@pytest.mark.parametrize("gap", [0.1, 0.8])
def test_an_emergency_stop_at_any_instant_keeps_distances_and_limits_and_ends_at_rest(gap: float) -> None:
    leaves = 0
    for now in (int(t) for t in instants(T0, T0 + 1_490 * MS, 20)):
        it, plan = riding(gap)
        assert it.estop(now).success
        [stop] = it.motions
        poses = poses_of(stop, now, 100)
        assert np.diff(poses).min() >= 0.05
        times = np.arange(now - 20 * MS, stop.end_ns + 10 * MS, MS)
        times = times[times >= plan.start_ns]
        assert_within_limits(times, np.array([(stop if t >= now else plan).at(int(t)).position for t in times]), CARTS)
        assert not stop.at(stop.end_ns).velocity.any()
        assert stop.end_ns <= plan.end_ns
        bare = np.diff(poses_of(brake(plan.at(now), now, CARTS), now, 100)).min()
        leaves += bare < 0.05
        assert isinstance(stop, Brake) == (bare >= 0.05 + 0.001) or 0.05 <= bare < 0.051
    assert (leaves > 0) == (gap < 0.5), "of near carts some would meet if each braked for itself"


def test_without_a_clear_brake_an_emergency_stop_follows_the_path_and_then_ends_commanding() -> None:
    it, plan = riding(0.1)
    now = T0 + 600 * MS
    it.estop(now, "button")
    [stop] = it.motions
    assert isinstance(stop, PathStop)
    assert stop.plan is plan
    assert it.mode is Mode.ESTOPPED
    assert it.tick(stop.end_ns) is not None
    assert it.tick(stop.end_ns + MS) is None


def test_without_a_clear_brake_an_emergency_stop_while_stopping_keeps_the_path_stop() -> None:
    for gap, leaves in ((0.1, False), (0.8, True)):
        it, _ = riding(gap)
        it.stop(T0 + 600 * MS)
        [stop] = it.motions
        it.estop(T0 + 620 * MS)
        [motion] = it.motions
        assert (motion is not stop) is leaves
        assert isinstance(motion, Brake) is leaves


def test_a_failing_collision_model_does_not_prevent_an_emergency_stop() -> None:
    it, _ = riding(0.8)

    def fails(*_: object) -> np.ndarray:
        raise RuntimeError("no model")

    it.clearance.model.distances = fails
    assert it.estop(T0 + NS // 2).success
    assert it.mode is Mode.ESTOPPED
    assert isinstance(it.motions[0], PathStop)
