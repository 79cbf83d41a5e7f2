"""The way to rest as one plan: the motions themselves, inside the limits, however they follow one another."""

from __future__ import annotations

import numpy as np
import pytest
from core.generators import T0, assert_within_limits
from safety.arm import LIMITS, MS, START, armed, moving, reach, run

from vla_ros.core.limit_monitor import check_limits
from vla_ros.core.records import NS
from vla_ros.core.trajectory import Plan
from vla_ros.safety.limit_certificate import certify
from vla_ros.safety.remaining_trajectory import DelayedTrajectory, remaining_trajectory
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.stopping import Brake, PathStop
from vla_ros.safety.supervisor import Supervisor


def way(supervisor: Supervisor, now: int) -> Plan:
    return remaining_trajectory(supervisor.motions, LIMITS.joints, now)


def assert_same(plan: Plan, supervisor: Supervisor, now: int, error: float) -> None:
    """What the supervisor goes on to command is what the plan says, at every tick until it rests."""
    for t in range(now, plan.end_ns + 100 * MS, MS):
        command = supervisor.tick(t)
        if command is not None:
            np.testing.assert_allclose(plan.at(t).position, command.state.position, rtol=0, atol=error)
            np.testing.assert_allclose(plan.at(t).velocity, command.state.velocity, rtol=0, atol=1e3 * error)


def assert_ends_at_rest(plan: Plan) -> None:
    assert not plan.velocities[-1].any()
    assert not plan.accelerations[-1].any()
    assert_within_limits(
        times := plan.start_ns + np.arange(0, plan.end_ns - plan.start_ns, MS), plan.at(times).position, LIMITS
    )


def quiet(supervisor: Supervisor) -> Supervisor:
    """Without watchdogs that would stop it for want of joint states."""
    supervisor.monitors.faults = lambda *_args, **_kwargs: []  # type: ignore[method-assign]
    return supervisor


def test_the_remainder_of_a_plan_equals_the_plan_and_is_certified() -> None:
    supervisor, plan, now = moving()
    left = way(quiet(supervisor), now + 1)
    assert left.start_ns == now + 1
    assert left.end_ns == plan.end_ns
    assert certify(left, LIMITS).permitted
    assert_ends_at_rest(left)
    assert_same(left, supervisor, now + 1, 1e-9)


def test_a_pending_plan_follows_the_active_one() -> None:
    supervisor, _, now = moving()
    pending = reach(supervisor, now, target=-1.0)
    assert supervisor.plan(pending, now) is None
    assert pending.start_ns > now
    left = way(quiet(supervisor), now)
    assert left.end_ns == pending.end_ns
    assert certify(left, LIMITS).permitted
    assert_same(left, supervisor, now, 1e-9)


@pytest.mark.parametrize("after_ms", [0, 3, 50])
def test_the_remainder_of_a_path_stop_equals_the_path_stop(after_ms: int) -> None:
    supervisor, _, now = moving()
    supervisor.stop(now)
    assert isinstance(supervisor.motions[0], PathStop)
    run(supervisor, now, now + after_ms * MS)
    now += after_ms * MS
    left = way(quiet(supervisor), now)
    assert_ends_at_rest(left)
    assert_same(left, supervisor, now, 1e-6)


@pytest.mark.parametrize("after_ms", [0, 3, 50])
def test_the_remainder_of_an_emergency_stop_equals_the_brake(after_ms: int) -> None:
    supervisor, _, now = moving()
    supervisor.estop(now)
    assert isinstance(supervisor.motions[0], Brake)
    run(supervisor, now, now + after_ms * MS)
    now += after_ms * MS
    left = way(quiet(supervisor), now)
    assert_ends_at_rest(left)
    assert_same(left, supervisor, now, 1e-7)


def test_without_a_remainder_the_position_is_held() -> None:
    supervisor = armed()
    assert supervisor.mode is Mode.RUNNING
    left = way(supervisor, T0 + NS)
    assert left.start_ns == T0 + NS
    np.testing.assert_allclose(left.positions, np.tile(START, (2, 1)), atol=1e-12)
    assert not left.velocities.any()


def test_there_are_no_motions_before_arming_and_after_a_brake() -> None:
    assert Supervisor(LIMITS).motions == ()
    supervisor, _, now = moving()
    supervisor.estop(now)
    run(supervisor, now, now + NS)
    assert supervisor.motions == ()


LAG = 20 * MS


@pytest.mark.parametrize("how", ["stop", "estop"])
def test_with_a_delay_a_stop_starts_after_its_message(how: str) -> None:
    supervisor, _, now = moving()
    trail = DelayedTrajectory(LIMITS.joints, LAG)
    trail.set_motions(quiet(supervisor).motions, now)
    before = trail.delayed(now)
    getattr(supervisor, how)(now + 5 * MS)
    trail.set_motions(supervisor.motions, now + 5 * MS)
    after = trail.delayed(now + 5 * MS)
    assert after.start_ns == now + 5 * MS
    for t in range(now + 5 * MS, now + 25 * MS, MS):
        np.testing.assert_allclose(after.at(t).position, before.at(t).position, rtol=0, atol=1e-9)
    for t in range(now + 5 * MS, supervisor.motions[-1].end_ns, MS):
        position = supervisor.motions[-1].at(t).position
        np.testing.assert_allclose(after.at(t + LAG).position, position, rtol=0, atol=1e-6)
    times = np.arange(after.start_ns, after.end_ns, MS)
    assert not any(check_limits(times, after.at(times).position, LIMITS).violations.values())
    assert_ends_at_rest(after)


def test_motions_that_do_not_continue_the_previous_ones_replace_them() -> None:
    first, other = (Plan.hold(LIMITS.joints, np.full(len(LIMITS.joints), p), T0 + k) for k, p in enumerate((0.0, 0.3)))
    trail = DelayedTrajectory(LIMITS.joints, LAG)
    trail.set_motions([first], T0)
    trail.set_motions([other], T0 + 1)
    np.testing.assert_array_equal(trail.delayed(T0 + 1).positions, np.full((2, len(LIMITS.joints)), 0.3))


def test_motions_older_than_the_delay_are_dropped() -> None:
    pose = np.zeros(len(LIMITS.joints))
    trail = DelayedTrajectory(LIMITS.joints, LAG)
    for k in range(5):
        trail.set_motions([Plan.hold(LIMITS.joints, pose, T0 + k * LAG)], T0 + k * LAG)
    assert trail.delayed(T0 + 4 * LAG).start_ns == T0 + 4 * LAG
    assert len(trail._motions) == 2
