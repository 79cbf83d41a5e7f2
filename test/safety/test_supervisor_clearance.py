"""Clearance of emergency stops: the arm brakes if the brake is proved clear, else supervisor stops along the path."""

from __future__ import annotations

import numpy as np
import pytest
from core.generators import T0, assert_within_limits, instants
from safety.collision_models import CARTS, Carts, cart_plan, sampled_poses

from vla_ros.core.records import NS, JointState
from vla_ros.core.trajectory import Plan
from vla_ros.safety.clearance import ClearanceChecker
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.stopping import Brake, PathStop, brake
from vla_ros.safety.supervisor import Supervisor

MS = 1_000_000


def executing(gap: float) -> tuple[Supervisor, Plan]:
    """A supervisor that executes a plan of two carts, and the plan."""
    supervisor, plan = Supervisor(CARTS, clearance=ClearanceChecker(Carts())), cart_plan(gap)
    begin = T0 - 20 * MS
    assert supervisor.joint_state(JointState(begin, CARTS.joints, plan.positions[0], np.zeros(2)), begin) is None
    assert supervisor.arm(begin).success
    assert supervisor.plan(plan, begin + MS) is None
    return supervisor, plan


@pytest.mark.parametrize("gap", [0.1, 0.8])
def test_an_emergency_stop_at_any_instant_keeps_distances_and_limits_and_ends_at_rest(gap: float) -> None:
    collisions = 0
    for now in (int(t) for t in instants(T0, T0 + 1_490 * MS, 20)):
        supervisor, plan = executing(gap)
        assert supervisor.estop(now).success
        [stop] = supervisor.motions
        poses = sampled_poses(stop, now, 100)
        assert np.diff(poses).min() >= 0.05
        times = np.arange(now - 20 * MS, stop.end_ns + 10 * MS, MS)
        times = times[times >= plan.start_ns]
        assert_within_limits(times, np.array([(stop if t >= now else plan).at(int(t)).position for t in times]), CARTS)
        assert not stop.at(stop.end_ns).velocity.any()
        assert stop.end_ns <= plan.end_ns
        brake_minimum = np.diff(sampled_poses(brake(plan.at(now), now, CARTS), now, 100)).min()
        collisions += brake_minimum < 0.05
        assert isinstance(stop, Brake) == (brake_minimum >= 0.05 + 0.001) or 0.05 <= brake_minimum < 0.051
    assert (collisions > 0) == (gap < 0.5), "independent brakes of close carts would collide at some instants"


def test_without_a_clear_brake_an_emergency_stop_follows_the_path_and_then_ends_commanding() -> None:
    supervisor, plan = executing(0.1)
    now = T0 + 600 * MS
    supervisor.estop(now, "button")
    [stop] = supervisor.motions
    assert isinstance(stop, PathStop)
    assert stop.plan is plan
    assert supervisor.mode is Mode.ESTOPPED
    assert supervisor.tick(stop.end_ns) is not None
    assert supervisor.tick(stop.end_ns + MS) is None


def test_without_a_clear_brake_an_emergency_stop_while_stopping_keeps_the_path_stop() -> None:
    for gap, brakes in ((0.1, False), (0.8, True)):
        supervisor, _ = executing(gap)
        supervisor.stop(T0 + 600 * MS)
        [stop] = supervisor.motions
        supervisor.estop(T0 + 620 * MS)
        [motion] = supervisor.motions
        assert (motion is not stop) is brakes
        assert isinstance(motion, Brake) is brakes


def test_a_failing_collision_model_does_not_prevent_an_emergency_stop() -> None:
    supervisor, _ = executing(0.8)

    def fails(*_: object) -> np.ndarray:
        raise RuntimeError("no model")

    supervisor.clearance.model.distances = fails
    assert supervisor.estop(T0 + NS // 2).success
    assert supervisor.mode is Mode.ESTOPPED
    assert isinstance(supervisor.motions[0], PathStop)
