"""Default thresholds of the supervisor, and its behaviour exactly at them."""

import dataclasses

import numpy as np
import pytest
from core.generators import T0
from safety.supervisor_helpers import LIMITS, MS, START, armed, measured, plan_towards

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, JointState
from vla_ros.core.trajectory import Plan
from vla_ros.safety.fault_rules import RULES, Action
from vla_ros.safety.monitors import JUMP_GRACE_S, OVERSPEED_SAMPLES, MonitorConfig
from vla_ros.safety.speed_scaling import MIN_SCALE, REFUSAL_WINDOW, SpeedScalingConfig
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import COMMANDING_MODES, Supervisor, SupervisorConfig

DEFAULTS = {
    "handover_tolerance": 1e-9,
    "max_plan_late_s": 0.0,
    "max_plan_early_s": 1.0,
    "arming_tolerance_rad": 0.2,
    "max_command_step_rad": 0.1,
    "joint_state_timeout_s": 0.2,
    "joint_stamp_max_age_s": 0.5,
    "joint_stamp_max_ahead_s": 0.05,
    "max_joint_jump_ratio": 2.0,
    "tracking_error_warn_rad": 0.25,
    "tracking_error_stop_rad": 0.5,
    "tracking_lag_s": 0.25,
    "untracked_joints": ("gripper",),
    "overspeed_ratio": 3.0,
    "rest_speed_rad_s": 0.15,
    "settling_time_s": 0.5,
    "max_clock_drift_s": 0.1,
    "plan_timeout_s": 2.0,
    "estop_timeout_s": 0.0,
    "handover_error_warn_rad": 0.4,
    "handover_error_stop_rad": 0.8,
    "uncertainty_warn_rad": 0.2,
    "uncertainty_stop_rad": 0.6,
    "max_loop_stall_s": 0.3,
    "deadman_timeout_s": 0.0,
    "camera_timeout_s": 0.3,
    "camera_stamp_max_age_s": 0.3,
    "camera_stamp_max_ahead_s": 0.05,
    "latency_warn_s": 1.0,
    "latency_stop_s": 2.5,
    "refusal_ratio_warn": 0.3,
    "refusal_ratio_stop": 0.9,
    "ramp_s": 1.0,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_threshold(name: str) -> None:
    config = SupervisorConfig()
    values = {**vars(config.monitors), **vars(config.speed_scaling), **vars(config)}
    assert values[name] == DEFAULTS[name]


def test_the_constants_of_monitors_and_speed_scaling() -> None:
    assert (OVERSPEED_SAMPLES, JUMP_GRACE_S, MIN_SCALE, REFUSAL_WINDOW) == (5, 0.02, 0.1, 20)
    assert COMMANDING_MODES == (Mode.RUNNING, Mode.STOPPING, Mode.STOPPED)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(SpeedScalingConfig)])
def test_a_threshold_of_the_speed_scaling_must_be_positive(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        SpeedScalingConfig(**{name: 0.0})


@pytest.mark.parametrize(
    "name",
    [f.name for f in dataclasses.fields(MonitorConfig) if f.type == "float" and f.name != "tracking_error_stop_rad"],
)
def test_a_threshold_of_the_monitors_may_be_zero(name: str) -> None:
    assert getattr(MonitorConfig(**{name: 0.0}), name) == 0.0


def test_the_tracking_error_warning_must_be_below_the_stop() -> None:
    with pytest.raises(ConfigError, match="tracking_error_warn_rad must be less than tracking_error_stop_rad"):
        MonitorConfig(tracking_error_warn_rad=0.3, tracking_error_stop_rad=0.3)


def report_joint_state(supervisor: Supervisor, now: int, pose: np.ndarray = START, speed: float = 0.0) -> None:
    supervisor.joint_state(JointState(now, LIMITS.joints, pose, np.full(3, speed)), now)


def armed_and_ticked(config: SupervisorConfig | None = None) -> Supervisor:
    supervisor = Supervisor(LIMITS, config)
    report_joint_state(supervisor, T0)
    assert supervisor.arm(T0).success
    assert supervisor.tick(T0) is not None
    return supervisor


def test_initial_values() -> None:
    supervisor = Supervisor(LIMITS)
    assert supervisor.mode is Mode.INACTIVE
    assert supervisor.reason == "no joint state yet"
    assert supervisor.accepted == 0
    assert not supervisor.switch_discontinuity.any()
    assert supervisor.switch_discontinuity.shape == (3,)
    assert supervisor.at_rest
    assert not supervisor.refusal_counts
    assert not supervisor.fault_counts
    assert not supervisor.faults


def test_every_request_returns_its_success() -> None:
    supervisor = Supervisor(LIMITS)
    assert not supervisor.arm(T0).success
    assert supervisor.stop(T0).success
    assert supervisor.mode is Mode.INACTIVE
    assert not supervisor.reset(T0).success
    report_joint_state(supervisor, T0)
    assert supervisor.arm(T0).success
    assert not supervisor.at_rest
    assert supervisor.stop(T0).success
    assert supervisor.mode is Mode.STOPPING
    assert not supervisor.at_rest
    assert not supervisor.reset(T0).success
    assert not supervisor.arm(T0).success


@pytest.mark.parametrize(("deviation", "ok"), [(0.2, True), (0.2001, False), (-0.2, True), (-0.2001, False)])
def test_the_arming_tolerance_is_inclusive(deviation: float, ok: bool) -> None:
    supervisor = armed_and_ticked(
        SupervisorConfig(MonitorConfig(tracking_error_warn_rad=9.0, tracking_error_stop_rad=9.1))
    )
    supervisor.monitors.measured = None  # so that no jump is refused
    supervisor.stop(T0)
    now = T0 + 150 * MS
    zero = np.zeros(3)
    supervisor._last = dataclasses.replace(supervisor._last, state=supervisor._last.state._replace(position=zero))
    supervisor._motions = [Plan.hold(LIMITS.joints, zero, T0)]
    supervisor.tick(now)
    supervisor.tick(now + 2 * MS)
    report_joint_state(supervisor, now, np.array([0.0, deviation, 0.0]))
    assert supervisor.mode is Mode.STOPPED
    assert supervisor.arm(now + 2 * MS).success is ok


def test_a_reset_discards_the_last_command() -> None:
    supervisor = armed_and_ticked()
    supervisor.estop(T0)
    supervisor.tick(T0 + 2 * MS)
    assert supervisor.reset(T0 + 2 * MS).success
    assert supervisor.mode is Mode.READY, "valid inputs are detected by the reset itself"
    elsewhere = START + 0.001
    report_joint_state(supervisor, T0 + 4 * MS, elsewhere)
    assert supervisor.arm(T0 + 4 * MS).success
    np.testing.assert_array_equal(supervisor.tick(T0 + 6 * MS).state.position, elsewhere)


def test_a_pending_plan_does_not_move_the_arm() -> None:
    supervisor = armed_and_ticked()
    plan = plan_towards(supervisor, T0)
    assert supervisor.plan(plan, T0) is None
    before = supervisor.tick(plan.start_ns - 1)
    np.testing.assert_array_equal(before.state.position, START)
    assert supervisor.active_plan() is plan
    supervisor.tick(plan.start_ns)
    assert supervisor._motions == [plan], "the plan is active from its first instant, and past motions are dropped"
    on = supervisor.tick(plan.start_ns + 100 * MS)
    np.testing.assert_array_equal(on.state.position, plan.at(plan.start_ns + 100 * MS).position)


def test_a_plan_replaces_later_plans_and_keeps_earlier_ones() -> None:
    supervisor = armed_and_ticked()
    late = plan_towards(supervisor, T0 + 200 * MS)
    soon = plan_towards(supervisor, T0)
    assert supervisor.plan(late, T0) is None
    assert supervisor.plan(soon, T0) is None
    assert supervisor.active_plan() is soon
    assert supervisor.accepted == 2
    assert [m.start_ns for m in supervisor._motions] == [T0, soon.start_ns]


def test_an_invalid_command_is_not_sent_and_latches() -> None:
    supervisor = armed_and_ticked()
    supervisor._motions = [Plan.hold(LIMITS.joints, START + 0.09, T0)]
    assert supervisor.tick(T0 + 2 * MS) is None
    assert supervisor.mode is Mode.ESTOPPED
    assert supervisor.fault_counts["invalid_command"] == 1
    assert "not sent" in supervisor.reason
    assert supervisor.tick(T0 + 4 * MS) is None
    assert not supervisor.arm(T0 + 4 * MS).success


def test_a_stop_ends_exactly_at_its_end_time() -> None:
    supervisor = armed_and_ticked()
    supervisor.stop(T0)
    end = supervisor._motions[0].end_ns
    supervisor.tick(end - 1)
    assert supervisor.mode is Mode.STOPPING
    supervisor.tick(end)
    assert supervisor.mode is Mode.STOPPED
    assert supervisor.reason == "stop requested"


@pytest.mark.parametrize("name", RULES)
def test_the_faults_with_action_warn(name: str) -> None:
    assert (RULES[name].action is Action.WARN) == (name in ("tracking_error_high", "no_plan"))


def test_a_lasting_fault_is_counted_once() -> None:
    supervisor = armed_and_ticked()
    for k in range(1, 5):
        supervisor.monitors.other_publishers(1)
        supervisor.tick(T0 + k * 2 * MS)
    assert supervisor.fault_counts["second_publisher"] == 1
    supervisor.monitors.other_publishers(0)
    supervisor.tick(T0 + 10 * MS)
    supervisor.monitors.other_publishers(1)
    supervisor.tick(T0 + 12 * MS)
    assert supervisor.fault_counts["second_publisher"] == 2


def test_the_latency_is_from_image_capture_to_the_start_of_the_plan() -> None:
    supervisor = armed_and_ticked()
    plan = plan_towards(supervisor, T0)
    supervisor.plan(plan, T0, plan.start_ns - NS)
    assert supervisor.speed_scaling._latency_s == 1.0


def hold(start_ns: int, pose: np.ndarray = START) -> Plan:
    return Plan.hold(LIMITS.joints, pose, start_ns)


def faults_when_moved_by_hand(supervisor: Supervisor, now: int) -> list[str]:
    """Report constant positions with non-zero velocities; the names of the faults this causes."""
    moving = dataclasses.replace(measured(stamp_ns=now), velocities=np.full(3, 0.3))
    assert supervisor.joint_state(moving, now) is None
    supervisor.tick(now)
    return [fault.name for fault in supervisor.faults]


def test_the_active_motion_is_the_newest_that_has_started() -> None:
    supervisor = armed()
    first, second = hold(T0), hold(T0 + 10)
    supervisor._motions = [first, second]
    for at, active, started in ((-5, first, first), (0, first, first), (9, first, first), (10, second, first)):
        assert supervisor._motion_at(T0 + at) is active
        assert supervisor._motion_at(T0 + at, pending=False) is started
    assert supervisor._motion_at(T0 + 11, pending=False) is second


def test_a_plan_replaces_one_with_the_same_start() -> None:
    supervisor = armed()
    plan = plan_towards(supervisor, T0)
    again = dataclasses.replace(plan)
    assert supervisor.plan(plan, T0) is None
    assert supervisor.plan(again, T0) is None
    assert supervisor.motions[1:] == (again,)
    assert len(supervisor.motions) == 2


def test_a_switch_without_step_passes_zero_tolerance() -> None:
    supervisor = Supervisor(LIMITS, SupervisorConfig(handover_tolerance=0.0))
    supervisor.joint_state(measured(), T0)
    assert supervisor.arm(T0).success
    assert supervisor.plan(hold(T0 + MS), T0) is None


def test_exactly_the_maximum_command_step_is_no_stall_but_an_invalid_command() -> None:
    supervisor = armed()
    zero = np.zeros(3)
    assert supervisor.tick(T0) is not None
    supervisor._last = dataclasses.replace(supervisor._last, state=supervisor._last.state._replace(position=zero))
    supervisor._motions = [hold(T0, zero + 0.1)]
    assert supervisor.tick(T0 + 2 * MS) is None
    assert dict(supervisor.fault_counts) == {"invalid_command": 1}


def test_arming_directly_after_a_stop_ends_the_expectation_of_rest() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.stop(T0)
    end = supervisor.motions[0].end_ns
    supervisor.tick(end)
    assert supervisor.mode is Mode.STOPPED
    assert supervisor.motions
    assert supervisor.at_rest
    assert supervisor.arm(end).success
    assert faults_when_moved_by_hand(supervisor, end + 600 * MS) == []
    assert supervisor.mode is Mode.RUNNING


def test_after_an_emergency_stop_and_a_reset_the_arm_may_be_moved_by_hand() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.estop(T0)
    supervisor.tick(T0 + 2 * MS)
    assert supervisor.reset(T0 + 2 * MS).success
    assert faults_when_moved_by_hand(supervisor, T0 + 700 * MS) == []
    assert supervisor.mode is Mode.READY


def test_a_fault_while_stopped_keeps_the_reason_of_the_stop() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.stop(T0)
    end = supervisor.motions[0].end_ns
    supervisor.tick(end)
    supervisor.monitors.other_publishers(1)
    supervisor.tick(end + MS)
    assert [fault.name for fault in supervisor.faults] == ["second_publisher"]
    assert (supervisor.mode, supervisor.reason) == (Mode.STOPPED, "stop requested")


def test_no_plan_is_not_reported_directly_after_arming() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    assert supervisor.faults == []
