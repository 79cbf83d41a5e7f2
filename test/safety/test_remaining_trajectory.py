"""The remaining trajectory: equal to the motions of the supervisor, inside the limits, at rest at its end."""

from __future__ import annotations

import numpy as np
import pytest
from core.generators import T0, assert_within_limits
from safety.supervisor_helpers import LIMITS, MS, START, armed, moving, plan_towards, run

from vla_ros.core.limit_monitor import check_limits
from vla_ros.core.records import NS
from vla_ros.core.trajectory import Plan
from vla_ros.safety.limit_certificate import certify
from vla_ros.safety.remaining_trajectory import DelayedTrajectory, remaining_trajectory
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.stopping import Brake, PathStop
from vla_ros.safety.supervisor import Supervisor


def remaining(supervisor: Supervisor, now: int) -> Plan:
    return remaining_trajectory(supervisor.motions, LIMITS.joints, now)


def assert_same(plan: Plan, supervisor: Supervisor, now: int, error: float) -> None:
    """The commands of the supervisor equal the plan at every tick until rest."""
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


def without_faults(supervisor: Supervisor) -> Supervisor:
    """The supervisor without faults, which the missing joint states would cause."""
    supervisor.monitors.faults = lambda *_args, **_kwargs: []  # type: ignore[method-assign]
    return supervisor


def test_the_remainder_of_a_plan_equals_the_plan_and_is_certified() -> None:
    supervisor, plan, now = moving()
    plan_left = remaining(without_faults(supervisor), now + 1)
    assert plan_left.start_ns == now + 1
    assert plan_left.end_ns == plan.end_ns
    assert certify(plan_left, LIMITS).permitted
    assert_ends_at_rest(plan_left)
    assert_same(plan_left, supervisor, now + 1, 1e-9)


def test_a_pending_plan_follows_the_active_one() -> None:
    supervisor, _, now = moving()
    pending = plan_towards(supervisor, now, target=-1.0)
    assert supervisor.plan(pending, now) is None
    assert pending.start_ns > now
    plan_left = remaining(without_faults(supervisor), now)
    assert plan_left.end_ns == pending.end_ns
    assert certify(plan_left, LIMITS).permitted
    assert_same(plan_left, supervisor, now, 1e-9)


@pytest.mark.parametrize("after_ms", [0, 3, 50])
def test_the_remainder_of_a_path_stop_equals_the_path_stop(after_ms: int) -> None:
    supervisor, _, now = moving()
    supervisor.stop(now)
    assert isinstance(supervisor.motions[0], PathStop)
    run(supervisor, now, now + after_ms * MS)
    now += after_ms * MS
    plan_left = remaining(without_faults(supervisor), now)
    assert_ends_at_rest(plan_left)
    assert_same(plan_left, supervisor, now, 1e-6)


@pytest.mark.parametrize("after_ms", [0, 3, 50])
def test_the_remainder_of_an_emergency_stop_equals_the_brake(after_ms: int) -> None:
    supervisor, _, now = moving()
    supervisor.estop(now)
    assert isinstance(supervisor.motions[0], Brake)
    run(supervisor, now, now + after_ms * MS)
    now += after_ms * MS
    plan_left = remaining(without_faults(supervisor), now)
    assert_ends_at_rest(plan_left)
    assert_same(plan_left, supervisor, now, 1e-7)


def test_without_a_remainder_the_position_is_held() -> None:
    supervisor = armed()
    assert supervisor.mode is Mode.RUNNING
    plan_left = remaining(supervisor, T0 + NS)
    assert plan_left.start_ns == T0 + NS
    np.testing.assert_allclose(plan_left.positions, np.tile(START, (2, 1)), atol=1e-12)
    assert not plan_left.velocities.any()


def test_there_are_no_motions_before_arming_and_after_a_brake() -> None:
    assert Supervisor(LIMITS).motions == ()
    supervisor, _, now = moving()
    supervisor.estop(now)
    run(supervisor, now, now + NS)
    assert supervisor.motions == ()


DELAY = 20 * MS


@pytest.mark.parametrize("action", ["stop", "estop"])
def test_with_a_delay_a_stop_starts_after_its_message(action: str) -> None:
    supervisor, _, now = moving()
    trajectory = DelayedTrajectory(LIMITS.joints, DELAY)
    trajectory.set_motions(without_faults(supervisor).motions, now)
    before = trajectory.delayed(now)
    getattr(supervisor, action)(now + 5 * MS)
    trajectory.set_motions(supervisor.motions, now + 5 * MS)
    after = trajectory.delayed(now + 5 * MS)
    assert after.start_ns == now + 5 * MS
    for t in range(now + 5 * MS, now + 25 * MS, MS):
        np.testing.assert_allclose(after.at(t).position, before.at(t).position, rtol=0, atol=1e-9)
    for t in range(now + 5 * MS, supervisor.motions[-1].end_ns, MS):
        position = supervisor.motions[-1].at(t).position
        np.testing.assert_allclose(after.at(t + DELAY).position, position, rtol=0, atol=1e-6)
    times = np.arange(after.start_ns, after.end_ns, MS)
    assert not any(check_limits(times, after.at(times).position, LIMITS).violations.values())
    assert_ends_at_rest(after)


def test_motions_that_do_not_continue_the_previous_ones_replace_them() -> None:
    first, other = (Plan.hold(LIMITS.joints, np.full(len(LIMITS.joints), p), T0 + k) for k, p in enumerate((0.0, 0.3)))
    trajectory = DelayedTrajectory(LIMITS.joints, DELAY)
    trajectory.set_motions([first], T0)
    trajectory.set_motions([other], T0 + 1)
    np.testing.assert_array_equal(trajectory.delayed(T0 + 1).positions, np.full((2, len(LIMITS.joints)), 0.3))


def test_motions_older_than_the_delay_are_dropped() -> None:
    pose = np.zeros(len(LIMITS.joints))
    trajectory = DelayedTrajectory(LIMITS.joints, DELAY)
    for k in range(5):
        trajectory.set_motions([Plan.hold(LIMITS.joints, pose, T0 + k * DELAY)], T0 + k * DELAY)
    assert trajectory.delayed(T0 + 4 * DELAY).start_ns == T0 + 4 * DELAY
    assert len(trajectory._motions) == 2
