"""Monitors of the arm and of time-outs: no fault at each threshold, a fault just beyond it."""

from __future__ import annotations

import numpy as np
import pytest
from core.generators import T0
from safety.monitor_helpers import LIMITS, MS, START, STEP, fault_names, sample, with_joint_state

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, JointState
from vla_ros.core.robot import Limits
from vla_ros.safety.monitors import MonitorConfig, Monitors


def test_without_any_joint_state_the_timeout_is_present() -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    assert fault_names(monitors, T0) == ["joint_state_timeout"]
    assert monitors.age_s(T0) == float("inf")
    assert not monitors.at_rest


@pytest.mark.parametrize(
    ("age_ms", "found"), [(0, []), (200, []), (201, ["joint_state_timeout"]), (-1, ["joint_state_timeout"])]
)
def test_joint_state_timeout(age_ms: int, found: list[str]) -> None:
    assert fault_names(with_joint_state(), T0 + age_ms * MS) == found


@pytest.mark.parametrize(
    ("age_ms", "found"), [(0, []), (499, []), (501, ["joint_stamp"]), (-49, []), (-51, ["joint_stamp"])]
)
def test_joint_stamps_too_old_or_in_the_future(age_ms: int, found: list[str]) -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    monitors.joint_state(sample(START, T0 - age_ms * MS), T0, None)
    assert fault_names(monitors, T0) == found


def test_joint_stamps_that_do_not_advance() -> None:
    monitors = with_joint_state()
    for now in range(T0, T0 + 600 * MS, STEP):
        monitors.joint_state(sample(START, T0), now, None)
        assert fault_names(monitors, now) == ([] if now - T0 <= 500 * MS else ["joint_stamp"])


def test_a_joint_jump_is_refused_until_the_arm_could_have_moved_there() -> None:
    monitors = with_joint_state()
    far = START + np.array([0.0, 0.5, 0.0])
    refusal = monitors.joint_state(sample(far, T0 + STEP), T0 + STEP, None)
    assert refusal is not None
    assert refusal.reason == "joint_jump"
    assert LIMITS.joints[1] in refusal.detail
    assert monitors.measured is not None
    np.testing.assert_array_equal(monitors.measured.positions, START)
    later = T0 + 106 * MS  # 0.5 rad at twice 2 rad/s takes 125 ms, of which 20 ms are grace
    assert monitors.joint_state(sample(far, later), later, None) is None
    monitors = with_joint_state()
    soon = T0 + 104 * MS
    assert monitors.joint_state(sample(far, soon), soon, None) is not None


def test_a_joint_state_with_other_joints_is_refused() -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    refusal = monitors.joint_state(JointState(T0, ("a", "b", "c"), START), T0, None)
    assert refusal is not None
    assert refusal.reason == "joint_state"
    assert fault_names(monitors, T0) == ["joint_state_timeout"]


def test_the_tracking_error_allows_a_lag() -> None:
    """The arm may be anywhere in the range of positions commanded during the last 0.25 s."""
    monitors = with_joint_state()
    for k in range(50):
        now = T0 + k * STEP
        commanded, lagging = START + 0.02 * k, START + 0.02 * max(k - 24, 0)
        monitors.joint_state(sample(lagging, now), now, commanded)
        assert monitors.tracking_error == pytest.approx(0.0, abs=1e-12)
    for k in range(50, 100):
        now = T0 + k * STEP
        monitors.joint_state(sample(lagging, now), now, START + 0.98)
        late = k >= 50 + 24
        assert monitors.tracking_error == pytest.approx(0.98 - 0.50 if late else monitors.tracking_error)
    assert fault_names(monitors, now) == ["tracking_error_high"]


@pytest.mark.parametrize(
    ("deviation", "found"),
    [(0.249, []), (0.251, ["tracking_error_high"]), (0.499, ["tracking_error_high"]), (0.501, ["tracking_error"])],
)
@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("joint", range(3))
def test_tracking_error_thresholds(deviation: float, found: list[str], side: float, joint: int) -> None:
    monitors = with_joint_state()
    monitors.joint_state(sample(START, T0), T0, START + side * deviation * np.eye(3)[joint])
    assert fault_names(monitors, T0) == found


def test_an_untracked_joint_has_no_tracking_error() -> None:
    monitors = with_joint_state(MonitorConfig(untracked_joints=("joint_1",)))
    monitors.joint_state(sample(START, T0), T0, START + np.array([0.0, 1.0, 0.0]))
    assert fault_names(monitors, T0) == []
    later = T0 + 300 * MS
    monitors.joint_state(sample(START, later), later, START + np.array([1.0, 0.0, 0.0]))
    assert fault_names(monitors, later) == ["tracking_error"]


def test_without_a_command_there_is_no_tracking_error() -> None:
    monitors = with_joint_state()
    monitors.joint_state(sample(START, T0), T0, START + 1.0)
    monitors.joint_state(sample(START, T0 + 1), T0 + 1, None)
    assert fault_names(monitors, T0 + 1) == []
    assert monitors.tracking_error == 0.0


@pytest.mark.parametrize(("speed", "found"), [(6.0, []), (6.01, ["overspeed"])])
def test_overspeed_requires_five_consecutive_measurements(speed: float, found: list[str]) -> None:
    monitors = with_joint_state()
    for k in range(5):
        assert fault_names(monitors, T0 + k) == []
        monitors.joint_state(sample(START, T0 + k, np.array([0.0, speed, 0.0])), T0 + k, START)
    assert fault_names(monitors, T0 + 5) == found
    monitors.joint_state(sample(START, T0 + 6), T0 + 6, START)
    assert fault_names(monitors, T0 + 6) == []


def test_without_a_command_there_is_no_overspeed() -> None:
    monitors = with_joint_state()
    for k in range(9):
        monitors.joint_state(sample(START, T0 + k, 9.0), T0 + k, None)
    assert fault_names(monitors, T0 + 9) == []


@pytest.mark.parametrize(("speed", "at_rest"), [(0.0, True), (0.15, True), (0.151, False)])
def test_rest_is_measured_with_or_without_velocities(speed: float, at_rest: bool) -> None:
    monitors = with_joint_state()
    monitors.joint_state(sample(START, T0 + STEP, np.array([0.0, 0.0, -speed])), T0 + STEP, None)
    assert monitors.at_rest is at_rest
    monitors = Monitors(LIMITS, MonitorConfig())
    monitors.joint_state(sample(START, T0, None), T0, None)
    assert not monitors.at_rest
    moved = START + np.array([0.0, 0.0, speed * (1 - 1e-9) * STEP / NS])
    monitors.joint_state(sample(moved, T0 + STEP, None), T0 + STEP, None)
    assert monitors.at_rest is at_rest


def test_a_repeated_measurement_does_not_change_the_speed() -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    for k, pose in ((0, START), (1, START + 0.001), (1, START + 0.001)):
        monitors.joint_state(sample(pose, T0 + k * STEP, None), T0 + k * STEP, None)
        assert monitors.joint_speed == pytest.approx(np.full(3, np.inf if k == 0 else 0.1))


def test_motion_after_stop() -> None:
    monitors = with_joint_state()
    monitors.expect_rest(T0 + 100 * MS)
    for ms, found in ((50, []), (101, []), (599, []), (601, ["motion_after_stop"])):
        now = T0 + ms * MS
        monitors.joint_state(sample(START, now, 0.3), now, None)
        assert fault_names(monitors, now) == found
    monitors.joint_state(sample(START, now + 1), now + 1, None)
    assert fault_names(monitors, now + 1) == []
    monitors.joint_state(sample(START, now + 2, 0.3), now + 2, None)
    assert fault_names(monitors, now + 2) == [], "once at rest it may be moved by hand"


def test_motion_after_stop_names_the_largest_joint_speed() -> None:
    monitors = with_joint_state()
    monitors.expect_rest(T0)
    late = T0 + NS
    monitors.joint_state(sample(START, late, np.array([0.1, -0.4, 0.2])), late, None)
    assert monitors.faults(late, False)[0].detail == "the arm still moves at 0.40 rad/s after a stop"


def test_motion_after_stop_requires_a_measurement_after_the_stop() -> None:
    monitors = with_joint_state()
    monitors.joint_state(sample(START, T0, 0.3), T0, None)
    monitors.expect_rest(T0 + 100 * MS)
    assert fault_names(monitors, T0 + 2 * NS) == ["joint_state_timeout"]


@pytest.mark.parametrize("name", [n for n, kind in MonitorConfig.__annotations__.items() if kind == "float"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_an_invalid_threshold_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        MonitorConfig(**{name: value})


BINARY = 0.25
"""A threshold that is exact in binary, so that equality is exact."""


def test_initial_values() -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    assert monitors.measured is None
    assert monitors.tracking_error == 0.0
    assert np.isinf(monitors.joint_speed).all()
    assert fault_names(with_joint_state(), T0) == []
    assert fault_names(with_joint_state(), T0, running=False) == []


@pytest.mark.parametrize(("late", "found"), [(0, []), (1, ["joint_state_timeout"])])
def test_the_joint_state_timeout_is_inclusive(late: int, found: list[str]) -> None:
    assert fault_names(with_joint_state(MonitorConfig(joint_state_timeout_s=BINARY)), T0 + NS // 4 + late) == found


@pytest.mark.parametrize(("more", "found"), [(0, []), (1, ["joint_stamp"])])
@pytest.mark.parametrize("side", [1, -1])
def test_the_bounds_of_joint_stamps_are_inclusive(more: int, found: list[str], side: int) -> None:
    monitors = Monitors(LIMITS, MonitorConfig(joint_stamp_max_age_s=BINARY, joint_stamp_max_ahead_s=BINARY))
    monitors.joint_state(sample(START, T0 - side * (NS // 4 + more)), T0, None)
    assert fault_names(monitors, T0) == found


@pytest.mark.parametrize(("more", "accepted"), [(0.0, True), (1e-6, False)])
def test_maximum_jump_between_two_measurements(more: float, accepted: bool) -> None:
    """Twice 2 rad/s for 230 ms and 20 ms of grace: 1 rad."""
    monitors, now = with_joint_state(), T0 + 230 * MS
    far = START + np.array([-1.0 + 1e-12 - more, 0.0, 0.0])
    assert (monitors.joint_state(sample(far, now), now, None) is None) is accepted


def test_the_refusal_of_a_jump_names_joint_and_distance() -> None:
    monitors = with_joint_state()
    refusal = monitors.joint_state(sample(START + np.array([0.1, 0.9, -0.5]), T0), T0, None)
    assert refusal is not None
    assert refusal.detail == "joint_1 is measured 0.900 rad from its previous position."


FAST_AND_SLOW = Limits(LIMITS.joints, LIMITS.lower, LIMITS.upper, np.array([1.0, 10.0, 1.0]), np.ones(3), np.ones(3))


def test_the_refusal_of_a_jump_names_the_joint_farthest_beyond_its_own_limit() -> None:
    monitors = Monitors(FAST_AND_SLOW, MonitorConfig())
    for k, pose in enumerate((np.zeros(3), np.array([0.3, 1.0, 0.0]))):
        now = T0 + k * 40 * MS  # 0.12 rad for the slow joints, 1.2 for the fast one
        refusal = monitors.joint_state(sample(pose, now), now, None)
    assert refusal is not None
    assert refusal.detail == "joint_0 is measured 0.300 rad from its previous position."


def test_the_maximum_jump_is_inclusive_to_the_last_bit() -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    for now, pose in ((T0, np.zeros(3)), (T0 + 230 * MS, np.array([0.0, 1.0, 0.0]))):
        assert monitors.joint_state(sample(pose, now), now, None) is None


@pytest.mark.parametrize(("speed", "count"), [(6.0, 0), (6.0001, 1)])
def test_the_overspeed_ratio_is_inclusive(speed: float, count: int) -> None:
    monitors = with_joint_state()
    monitors.joint_state(sample(START, T0, speed), T0, START)
    assert monitors._overspeed_count == count


def test_one_slow_measurement_resets_the_overspeed_count() -> None:
    monitors = with_joint_state()
    for speed in (9.0, 9.0, 9.0, 9.0, 0.0, 9.0, 9.0, 9.0, 9.0):
        monitors.joint_state(sample(START, T0, speed), T0, START)
        assert fault_names(monitors, T0) == []
    monitors.joint_state(sample(START, T0, 9.0), T0, START)
    assert fault_names(monitors, T0) == ["overspeed"]
    for _ in range(3):
        monitors.joint_state(sample(START, T0, 9.0), T0, START)
    assert fault_names(monitors, T0) == ["overspeed"], "the fault remains while the overspeed lasts"
    assert "moves at 9.00 rad/s" in monitors.faults(T0, False)[0].detail


def test_overspeed_names_the_joint_farthest_beyond_its_own_limit() -> None:
    monitors = with_joint_state()
    for _ in range(5):
        monitors.joint_state(JointState(T0, LIMITS.joints, START, np.array([7.0, -8.0, 1.0])), T0, START)
    assert monitors.faults(T0, False)[0].detail == "joint_1 moves at 8.00 rad/s"


def test_overspeed_is_relative_to_the_limit_of_each_joint() -> None:
    monitors = Monitors(FAST_AND_SLOW, MonitorConfig())
    for _ in range(5):
        monitors.joint_state(JointState(T0, LIMITS.joints, START, np.array([4.0, 31.0, 0.0])), T0, START)
    assert monitors.faults(T0, False)[0].detail == "joint_0 moves at 4.00 rad/s"


def test_the_overspeed_count_starts_at_zero() -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    for k in range(5):
        assert fault_names(monitors, T0) == (["joint_state_timeout"] if k == 0 else [])
        monitors.joint_state(sample(START, T0, 9.0), T0, START)
    assert fault_names(monitors, T0) == ["overspeed"]


def test_motion_after_stop_is_not_reported_before_the_first_measurement() -> None:
    monitors = Monitors(LIMITS, MonitorConfig(settling_time_s=0.0))
    monitors.expect_rest(0)
    assert fault_names(monitors, 1) == ["joint_state_timeout"]


def test_without_any_plan_the_timeout_counts_from_time_zero() -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    monitors.joint_state(sample(START, 2 * NS), 2 * NS, None)
    assert fault_names(monitors, 2 * NS, running=True) == []
    assert fault_names(monitors, 2 * NS + 1, running=True) == ["no_plan"]


@pytest.mark.parametrize(("deviation", "severity"), [(0.0, -1.0), (0.25, 0.0), (0.375, 0.5), (0.5, 1.0), (0.75, 2.0)])
def test_the_severity_rises_from_the_warning_to_the_stop_threshold(deviation: float, severity: float) -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    monitors.joint_state(sample(np.zeros(3), T0), T0, np.array([0.0, -deviation, 0.0]))
    assert monitors.severity == pytest.approx(severity)


@pytest.mark.parametrize(
    ("deviation", "found"), [(0.25, []), (0.26, ["tracking_error_high"]), (0.5, ["tracking_error_high"])]
)
def test_tracking_error_thresholds_are_inclusive(deviation: float, found: list[str]) -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    zero = np.zeros(3)
    monitors.joint_state(sample(zero, T0), T0, zero + np.array([0.0, deviation, 0.0]))
    assert monitors.tracking_error == deviation
    assert fault_names(monitors, T0) == found


@pytest.mark.parametrize(("age_ns", "error"), [(NS // 4 - 1000, 0.0), (NS // 4 + 1000, 1.0)])
def test_tracking_lag_window(age_ns: int, error: float) -> None:
    monitors = Monitors(LIMITS, MonitorConfig(max_joint_jump_ratio=100.0))
    zero = np.zeros(3)
    monitors.joint_state(sample(zero, T0), T0, zero)
    now = T0 + age_ns
    monitors.joint_state(sample(zero, now), now, zero + 1.0)
    assert monitors.tracking_error == error


@pytest.mark.parametrize(("age_ns", "error"), [(NS // 4, 0.0), (NS // 4 + 1, 1.0)])
def test_the_tracking_lag_window_is_inclusive_to_the_nanosecond(age_ns: int, error: float) -> None:
    monitors = Monitors(LIMITS, MonitorConfig(max_joint_jump_ratio=100.0))
    for now, commanded in ((0, np.zeros(3)), (age_ns, np.ones(3))):
        monitors.joint_state(sample(np.zeros(3), now), now, commanded)
    assert monitors.tracking_error == error


def test_past_commands_are_discarded_when_the_arm_is_not_commanded() -> None:
    monitors = with_joint_state()
    for k, commanded in enumerate((START, None, START + 1.0)):
        monitors.joint_state(sample(START, T0 + k * MS), T0 + k * MS, commanded)
    assert monitors.tracking_error == pytest.approx(1.0)


def test_without_measured_velocities_the_speed_is_computed_from_stamps() -> None:
    monitors = Monitors(LIMITS, MonitorConfig())
    monitors.joint_state(sample(START, T0, None), T0, None)
    monitors.joint_state(sample(START - 0.02, T0 + 10 * MS, None), T0 + 50 * MS, None)
    assert monitors.joint_speed == pytest.approx(np.full(3, 2.0))
    monitors.joint_state(sample(START, T0 + 5 * MS, None), T0 + 60 * MS, None)
    assert monitors.joint_speed == pytest.approx(np.full(3, 2.0)), "an older stamp is ignored"


@pytest.mark.parametrize(("ms", "found"), [(500, []), (501, ["motion_after_stop"])])
def test_the_settling_time_is_inclusive(ms: int, found: list[str]) -> None:
    monitors = with_joint_state()
    monitors.expect_rest(T0)
    monitors.joint_state(sample(START, T0 + ms * MS, 0.3), T0 + ms * MS, None)
    assert fault_names(monitors, T0 + ms * MS) == found


def test_rest_before_the_end_of_a_stop_is_not_sufficient() -> None:
    monitors = with_joint_state()
    monitors.expect_rest(T0 + 100 * MS)
    monitors.joint_state(sample(START, T0 + 100 * MS), T0 + 100 * MS, None)
    assert fault_names(monitors, T0 + 100 * MS) == []
    late = T0 + 700 * MS
    monitors.joint_state(sample(START, late, 0.3), late, None)
    assert fault_names(monitors, late) == ["motion_after_stop"]
    assert "0.30 rad/s" in monitors.faults(late, False)[0].detail


@pytest.mark.parametrize(("drift", "found"), [(NS // 4, []), (-NS // 4, []), (NS // 4 + 1, ["clock_jump"])])
def test_the_maximum_clock_drift_is_inclusive(drift: int, found: list[str]) -> None:
    monitors = with_joint_state(MonitorConfig(max_clock_drift_s=BINARY))
    monitors.clock_drift(drift)
    assert fault_names(monitors, T0) == found


def test_the_maximum_clock_drift_is_reported() -> None:
    monitors = with_joint_state()
    for drift in (NS, -3 * NS, 2 * NS):
        monitors.clock_drift(drift)
    assert monitors.faults(T0, False)[0].detail == "the system clock was set by 3.000 s"


@pytest.mark.parametrize(("late", "found"), [(0, []), (1, ["no_plan"])])
def test_the_plan_timeout_is_inclusive(late: int, found: list[str]) -> None:
    monitors = with_joint_state(MonitorConfig(joint_state_timeout_s=9.0))
    monitors.plan(T0)
    assert fault_names(monitors, T0 + 2 * NS + late, running=True) == found


@pytest.mark.parametrize(("late", "found"), [(0, []), (1, ["estop_timeout"])])
def test_the_timeout_of_the_emergency_stop_button_is_inclusive(late: int, found: list[str]) -> None:
    monitors = with_joint_state(MonitorConfig(estop_timeout_s=BINARY, joint_state_timeout_s=9.0))
    monitors.estop_input(False, T0)
    assert fault_names(monitors, T0 + NS // 4 + late) == found


def test_without_a_timeout_a_silent_button_is_no_fault() -> None:
    monitors = with_joint_state(MonitorConfig(joint_state_timeout_s=9.0))
    monitors.estop_input(False, T0)
    assert fault_names(monitors, T0 + 5 * NS) == []


def test_a_refused_joint_state_does_not_reset_the_age() -> None:
    monitors = with_joint_state()
    assert monitors.age_s(T0 + NS // 2) == 0.5
    monitors.joint_state(JointState(T0, ("a", "b", "c"), START), T0 + NS, None)
    assert monitors.age_s(T0 + NS) == 1.0
    assert "no joint state for 1.000 s" in monitors.faults(T0 + NS, False)[0].detail


@pytest.mark.parametrize(("ms", "found"), [(300, []), (301, ["camera_timeout"])])
def test_the_default_camera_timeout_is_inclusive(ms: int, found: list[str]) -> None:
    monitors = with_joint_state(MonitorConfig(cameras=("front",), joint_state_timeout_s=9.0))
    monitors.image("front", T0, T0)
    assert fault_names(monitors, T0 + ms * MS) == found


@pytest.mark.parametrize(("more", "found"), [(0, []), (1, ["camera_stamp"])])
@pytest.mark.parametrize("side", [1, -1])
def test_the_bounds_of_image_stamps_are_inclusive(more: int, found: list[str], side: int) -> None:
    monitors = with_joint_state(
        MonitorConfig(cameras=("front",), camera_stamp_max_age_s=BINARY, camera_stamp_max_ahead_s=BINARY)
    )
    monitors.image("front", T0 - side * (NS // 4 + more), T0)
    assert fault_names(monitors, T0) == found
