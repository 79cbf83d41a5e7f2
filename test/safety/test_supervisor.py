"""Arming, and acceptance of plans."""

from __future__ import annotations

import numpy as np
import pytest
from core.generators import T0, names
from safety.supervisor_helpers import (
    LIMITS,
    MS,
    START,
    armed,
    invalid_plans,
    measured,
    modified,
    moving,
    plan_towards,
    run,
    speed,
)

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, Refusal
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor, SupervisorConfig


def test_nothing_is_commanded_before_arming() -> None:
    supervisor = Supervisor(LIMITS)
    assert supervisor.tick(T0) is None
    assert not supervisor.arm(T0).success
    supervisor.joint_state(measured(), T0)
    assert supervisor.tick(T0) is None
    assert supervisor.mode is Mode.READY
    assert supervisor.active_plan() is None


def test_after_arming_the_measured_pose_is_held() -> None:
    supervisor = armed()
    for command in run(supervisor, T0, T0 + NS):
        np.testing.assert_allclose(command.state.position, START, rtol=0, atol=1e-12)
        np.testing.assert_allclose(command.state.velocity, 0.0, atol=1e-9)
    assert supervisor.mode is Mode.RUNNING


@pytest.mark.parametrize("joint", range(3))
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_pose_outside_the_limits_prevents_arming(joint: int, side: float) -> None:
    supervisor, pose = Supervisor(LIMITS), START.copy()
    pose[joint] = side * 1.8001
    supervisor.joint_state(measured(pose), T0)
    result = supervisor.arm(T0)
    assert not result.success
    assert LIMITS.joints[joint] in result.message
    assert supervisor.tick(T0) is None


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_pose_on_the_limit_can_be_armed(side: float) -> None:
    supervisor = Supervisor(LIMITS)
    supervisor.joint_state(measured(np.full(3, side * 1.8)), T0)
    assert supervisor.arm(T0).success
    assert supervisor.tick(T0) is not None


def test_a_plan_computed_from_an_old_image_slows_the_arm() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    plan = plan_towards(supervisor, T0)
    assert supervisor.plan(plan, T0, plan.start_ns - 2 * NS) is None
    assert supervisor.speed_scaling.scale(T0 + 2 * NS) == pytest.approx(0.4)
    assert supervisor.plan(modified(plan), T0, plan.start_ns - NS // 10) is None
    assert supervisor.speed_scaling.scale(T0 + 4 * NS) == 1.0
    assert supervisor.speed_scaling.scale(T0 + 4 * NS) == 1.0


def test_refused_plans_slow_the_arm() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    late = modified(plan_towards(supervisor, T0), start_ns=T0 - NS)
    for _ in range(20):
        supervisor.plan(late, T0)
    assert supervisor.speed_scaling.scale(T0 + 2 * NS) == pytest.approx(0.1)


def test_after_arming_the_speed_scale_is_at_its_minimum() -> None:
    assert armed().speed_scaling.scale(T0) == pytest.approx(0.1)


def test_an_outdated_joint_state_prevents_arming() -> None:
    supervisor = Supervisor(LIMITS)
    supervisor.joint_state(measured(), T0)
    assert not supervisor.arm(T0 + 201 * MS).success
    assert supervisor.tick(T0 + 201 * MS) is None


def test_arming_after_a_stop_requires_joint_states() -> None:
    supervisor, _, now = moving()
    supervisor.stop(now)
    run(supervisor, now, now + 2 * NS, joint_states=False)
    assert supervisor.mode is Mode.STOPPED
    assert not supervisor.arm(now + 2 * NS).success
    assert supervisor.mode is Mode.STOPPED


@pytest.mark.parametrize("joints", [names(2), names(4), (*names(2), "other")])
def test_a_joint_state_of_another_robot_is_refused(joints: tuple[str, ...]) -> None:
    supervisor = Supervisor(LIMITS)
    refusal = supervisor.joint_state(measured(np.zeros(len(joints)), joints=joints), T0)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "joint_state"
    assert not supervisor.arm(T0).success


def test_the_order_of_measured_joints_does_not_matter() -> None:
    supervisor = Supervisor(LIMITS)
    supervisor.joint_state(measured(START[::-1], joints=LIMITS.joints[::-1]), T0)
    supervisor.arm(T0)
    np.testing.assert_array_equal(supervisor.tick(T0).state.position, START)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("reason", ["joints", "late", "early", "handover", "spacing", "not_at_rest", "limits"])
def test_an_invalid_plan_is_refused_with_its_reason_and_has_no_effect(reason: str) -> None:
    supervisor = armed()
    supervisor.tick(T0)
    good = plan_towards(supervisor, T0)
    for bad in invalid_plans(good)[reason]:
        before = supervisor.active_plan()
        refusal = supervisor.plan(bad, T0)
        assert refusal is not None
        assert refusal.reason == reason
        assert refusal.detail.endswith(".")
        assert supervisor.active_plan() is before
    assert supervisor.refusal_counts[reason] == len(invalid_plans(good)[reason])
    assert supervisor.accepted == 0
    assert supervisor.plan(good, T0) is None
    assert supervisor.accepted == 1


def test_a_plan_that_starts_at_the_last_command_is_late() -> None:
    supervisor = armed()
    plan = plan_towards(supervisor, T0)
    supervisor.tick(plan.start_ns)
    assert supervisor.plan(plan, plan.start_ns).reason == "late"


@pytest.mark.parametrize("how", ["inactive", "ready", "stopping", "stopped", "estopped"])
def test_plans_are_accepted_only_while_running(how: str) -> None:
    running = armed()
    plan = plan_towards(running, T0)
    supervisor = Supervisor(LIMITS)
    if how != "inactive":
        supervisor.joint_state(measured(), T0)
        supervisor.tick(T0)
    if how in ("stopping", "stopped", "estopped"):
        supervisor.arm(T0)
        supervisor.estop(T0) if how == "estopped" else supervisor.stop(T0)
    if how == "stopped":
        run(supervisor, T0, T0 + NS)
    assert supervisor.mode.value == how
    assert supervisor.plan(plan, T0).reason == "not_running"


def test_a_pending_plan_can_be_replaced_without_accumulating_error() -> None:
    """Each copy starts within the tolerance of the previous copy; the last one is 5 tolerances from the original."""
    supervisor = armed()
    supervisor.tick(T0)
    plan = plan_towards(supervisor, T0)
    assert supervisor.plan(plan, T0) is None
    assert supervisor.plan(plan, T0) is None
    results = []
    for k in range(1, 6):
        shift = np.zeros_like(plan.positions)
        shift[0] = 0.9e-9 * k
        results.append(supervisor.plan(modified(plan, positions=plan.positions + shift), T0))
    assert [a and a.reason for a in results] == [None, "handover", "handover", "handover", "handover"]


def test_the_newest_plan_replaces_pending_ones() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    early = plan_towards(supervisor, T0)
    late = modified(early, start_ns=early.start_ns + 400 * MS)
    assert supervisor.plan(late, T0) is None
    assert supervisor.plan(early, T0) is None
    assert supervisor.active_plan() is early
    sent = run(supervisor, T0, T0 + NS)[-1]
    np.testing.assert_array_equal(sent.state.position, early.at(sent.stamp_ns).position)


def test_without_a_new_plan_the_active_one_ends_at_rest() -> None:
    supervisor, plan, now = moving()
    assert speed(supervisor, now) > 0.1
    last = run(supervisor, now, plan.end_ns + NS)[-1]
    np.testing.assert_array_equal(last.state.position, plan.positions[-1])
    assert not last.state.velocity.any()
    assert supervisor.mode is Mode.RUNNING


def test_arming_after_a_stop_requires_the_arm_at_its_last_command() -> None:
    supervisor, _, now = moving()
    supervisor.stop(now)
    end = run(supervisor, now, now + 3 * NS)[-1].state.position
    later = now + 3 * NS + 90 * MS
    assert supervisor.joint_state(measured(end + np.array([0.0, 0.21, 0.0]), later), later) is None
    result = supervisor.arm(later)
    assert not result.success
    assert "not at its last commanded pose" in result.message
    assert supervisor.reset(later).success
    assert supervisor.mode is Mode.READY
    assert supervisor.tick(later) is None
    assert supervisor.arm(later).success


def test_a_clock_that_steps_back_reverts_no_command() -> None:
    supervisor, _, now = moving()
    last = supervisor.tick(now)
    for act in (supervisor.stop, supervisor.tick, supervisor.estop, supervisor.tick):
        act(now - 100 * MS)
        again = supervisor.tick(now - 10 * NS)
        assert again.stamp_ns == last.stamp_ns
        np.testing.assert_allclose(again.state.position, last.state.position, atol=1e-12)
    run(supervisor, now, now + NS)
    assert supervisor.tick(now + NS) is None


@pytest.mark.parametrize(
    "name",
    [
        "handover_tolerance",
        "max_plan_late_s",
        "max_plan_early_s",
        "arming_tolerance_rad",
        "max_command_step_rad",
        "max_loop_stall_s",
    ],
)
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_an_invalid_setting_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        SupervisorConfig(**{name: value})


def test_an_exact_switch_passes_zero_tolerance_and_the_maximum_step_is_recorded() -> None:
    exact = Supervisor(LIMITS, SupervisorConfig(handover_tolerance=0.0))
    exact.joint_state(measured(), T0)
    assert exact.arm(T0).success
    assert exact.plan(plan_towards(exact, T0), T0) is None
    assert not exact.switch_discontinuity.any()
    supervisor = armed()
    plan = plan_towards(supervisor, T0)
    shift = np.zeros_like(plan.positions)
    shift[0] = 0.9e-9
    assert supervisor.plan(modified(plan, positions=plan.positions + shift), T0) is None
    assert supervisor.plan(plan, T0) is None
    np.testing.assert_allclose(supervisor.switch_discontinuity, [0.9e-9, 0.0, 0.0], rtol=1e-3)


def test_an_accepted_plan_clears_the_no_plan_warning() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    assert not supervisor.faults
    run(supervisor, T0, T0 + 3 * NS)
    assert [f.name for f in supervisor.faults] == ["no_plan"]
    now = T0 + 3 * NS
    assert supervisor.plan(plan_towards(supervisor, now), now) is None
    run(supervisor, now, now + 10 * MS)
    assert not supervisor.faults


def test_a_warning_does_not_prevent_arming_after_a_stop() -> None:
    supervisor = Supervisor(LIMITS, SupervisorConfig(arming_tolerance_rad=0.4))
    supervisor.joint_state(measured(np.zeros(3)), T0)
    supervisor.arm(T0)
    supervisor.tick(T0)
    supervisor.stop(T0)
    run(supervisor, T0, T0 + NS)
    for deviation, ok in ((0.41, False), (0.4, True)):
        now = T0 + NS
        supervisor.monitors.measured = None
        supervisor.joint_state(measured(np.array([deviation, 0.0, 0.0]), now), now)
        assert supervisor.arm(now).success is ok
        assert [f.name for f in supervisor.faults] == ["tracking_error_high"]
