"""The watchdogs at the very edge: equal is still permitted, and every number is said as it was measured."""

import numpy as np
import pytest
from core.draw import T0, arm_limits

from vla_ros.core.records import NS, JointState
from vla_ros.core.robot import Limits
from vla_ros.safety.monitors import Watch, WatchConfig

MS = 1_000_000
LIMITS = arm_limits(3)
START = np.array([0.3, -0.2, 0.1])
BINARY = 0.25
"""Thresholds that are exact in binary, so that equal means equal."""


def sample(pose: np.ndarray, stamp: int, velocity: float | None = 0.0) -> JointState:
    return JointState(stamp, LIMITS.joints, pose, None if velocity is None else np.full(3, velocity))


def heard(config: WatchConfig | None = None) -> Watch:
    watch = Watch(LIMITS, config or WatchConfig())
    assert watch.joint_state(sample(START, T0), T0, None) is None
    return watch


def names(watch: Watch, now: int, running: bool = False) -> list[str]:
    return [fault.name for fault in watch.faults(now, running)]


def test_it_begins_with_nothing() -> None:
    watch = Watch(LIMITS, WatchConfig())
    assert watch.measured is None
    assert watch.tracking_error == 0.0
    assert np.isinf(watch.speed).all()
    assert names(heard(), T0) == []
    assert names(heard(), T0, running=False) == []


@pytest.mark.parametrize(("late", "found"), [(0, []), (1, ["joint_state"])])
def test_silence_as_long_as_is_granted_is_none(late: int, found: list[str]) -> None:
    assert names(heard(WatchConfig(joint_state_age_s=BINARY)), T0 + NS // 4 + late) == found


@pytest.mark.parametrize(("more", "found"), [(0, []), (1, ["joint_stamp"])])
@pytest.mark.parametrize("side", [1, -1])
def test_a_stamp_as_old_or_as_far_ahead_as_is_granted_is_good(more: int, found: list[str], side: int) -> None:
    watch = Watch(LIMITS, WatchConfig(joint_stamp_age_s=BINARY, joint_stamp_ahead_s=BINARY))
    watch.joint_state(sample(START, T0 - side * (NS // 4 + more)), T0, None)
    assert names(watch, T0) == found


@pytest.mark.parametrize(("more", "counts"), [(0.0, True), (1e-6, False)])
def test_how_far_two_measurements_may_lie_apart(more: float, counts: bool) -> None:
    """Twice 2 rad/s for 230 ms and 20 ms of grace: 1 rad."""
    watch, now = heard(), T0 + 230 * MS
    far = START + np.array([-1.0 + 1e-12 - more, 0.0, 0.0])
    assert (watch.joint_state(sample(far, now), now, None) is None) is counts


def test_a_leap_is_said_with_the_joint_that_leapt_and_how_far() -> None:
    watch = heard()
    refusal = watch.joint_state(sample(START + np.array([0.1, 0.9, -0.5]), T0), T0, None)
    assert refusal is not None
    assert refusal.detail == "joint_1 is measured 0.900 rad from where it just was."


FAST_AND_SLOW = Limits(LIMITS.joints, LIMITS.lower, LIMITS.upper, np.array([1.0, 10.0, 1.0]), np.ones(3), np.ones(3))


def test_a_leap_is_beyond_what_that_joint_can_do_though_another_moved_farther() -> None:
    watch = Watch(FAST_AND_SLOW, WatchConfig())
    for k, pose in enumerate((np.zeros(3), np.array([0.3, 1.0, 0.0]))):
        now = T0 + k * 40 * MS  # 0.12 rad for the slow joints, 1.2 for the fast one
        refusal = watch.joint_state(sample(pose, now), now, None)
    assert refusal is not None
    assert refusal.detail == "joint_0 is measured 0.300 rad from where it just was."


def test_as_far_as_it_can_have_moved_to_the_last_bit_still_counts() -> None:
    watch = Watch(LIMITS, WatchConfig())
    for now, pose in ((T0, np.zeros(3)), (T0 + 230 * MS, np.array([0.0, 1.0, 0.0]))):
        assert watch.joint_state(sample(pose, now), now, None) is None


@pytest.mark.parametrize(("speed", "count"), [(6.0, 0), (6.0001, 1)])
def test_too_fast_is_more_than_three_times_the_limit(speed: float, count: int) -> None:
    watch = heard()
    watch.joint_state(sample(START, T0, speed), T0, START)
    assert watch._too_fast == count


def test_one_slow_measurement_begins_the_count_anew() -> None:
    watch = heard()
    for speed in (9.0, 9.0, 9.0, 9.0, 0.0, 9.0, 9.0, 9.0, 9.0):
        watch.joint_state(sample(START, T0, speed), T0, START)
        assert names(watch, T0) == []
    watch.joint_state(sample(START, T0, 9.0), T0, START)
    assert names(watch, T0) == ["overspeed"]
    for _ in range(3):
        watch.joint_state(sample(START, T0, 9.0), T0, START)
    assert names(watch, T0) == ["overspeed"], "it stays one for as long as it lasts"
    assert "moves at 9.00 rad/s" in watch.faults(T0, False)[0].detail


def test_the_joint_that_is_too_fast_is_the_one_farthest_beyond_its_own_limit() -> None:
    watch = heard()
    for _ in range(5):
        watch.joint_state(JointState(T0, LIMITS.joints, START, np.array([7.0, -8.0, 1.0])), T0, START)
    assert watch.faults(T0, False)[0].detail == "joint_1 moves at 8.00 rad/s"


def test_too_fast_is_said_of_the_joint_farthest_beyond_though_another_is_faster() -> None:
    watch = Watch(FAST_AND_SLOW, WatchConfig())
    for _ in range(5):
        watch.joint_state(JointState(T0, LIMITS.joints, START, np.array([4.0, 31.0, 0.0])), T0, START)
    assert watch.faults(T0, False)[0].detail == "joint_0 moves at 4.00 rad/s"


def test_the_count_of_fast_ones_begins_at_none() -> None:
    watch = Watch(LIMITS, WatchConfig())
    for k in range(5):
        assert names(watch, T0) == (["joint_state"] if k == 0 else [])
        watch.joint_state(sample(START, T0, 9.0), T0, START)
    assert names(watch, T0) == ["overspeed"]


def test_before_anything_was_heard_a_stop_is_not_said_to_fail() -> None:
    watch = Watch(LIMITS, WatchConfig(settle_s=0.0))
    watch.rest(0)
    assert names(watch, 1) == ["joint_state"]


def test_a_planner_that_never_spoke_is_silent_since_the_clock_began() -> None:
    watch = Watch(LIMITS, WatchConfig())
    watch.joint_state(sample(START, 2 * NS), 2 * NS, None)
    assert names(watch, 2 * NS, running=True) == []
    assert names(watch, 2 * NS + 1, running=True) == ["no_plan"]


@pytest.mark.parametrize(("apart", "strain"), [(0.0, -1.0), (0.25, 0.0), (0.375, 0.5), (0.5, 1.0), (0.75, 2.0)])
def test_the_strain_grows_from_the_warning_to_the_stop(apart: float, strain: float) -> None:
    watch = Watch(LIMITS, WatchConfig())
    watch.joint_state(sample(np.zeros(3), T0), T0, np.array([0.0, -apart, 0.0]))
    assert watch.strain == pytest.approx(strain)


@pytest.mark.parametrize(("apart", "found"), [(0.25, []), (0.26, ["tracking_high"]), (0.5, ["tracking_high"])])
def test_as_far_from_the_command_as_is_granted_is_good(apart: float, found: list[str]) -> None:
    watch = Watch(LIMITS, WatchConfig())
    zero = np.zeros(3)
    watch.joint_state(sample(zero, T0), T0, zero + np.array([0.0, apart, 0.0]))
    assert watch.tracking_error == apart
    assert names(watch, T0) == found


@pytest.mark.parametrize(("age_ns", "error"), [(NS // 4 - 1000, 0.0), (NS // 4 + 1000, 1.0)])
def test_how_long_the_arm_may_lag(age_ns: int, error: float) -> None:
    watch = Watch(LIMITS, WatchConfig(joint_jump=100.0))
    zero = np.zeros(3)
    watch.joint_state(sample(zero, T0), T0, zero)
    now = T0 + age_ns
    watch.joint_state(sample(zero, now), now, zero + 1.0)
    assert watch.tracking_error == error


@pytest.mark.parametrize(("age_ns", "error"), [(NS // 4, 0.0), (NS // 4 + 1, 1.0)])
def test_how_long_the_arm_may_lag_to_the_nanosecond(age_ns: int, error: float) -> None:
    watch = Watch(LIMITS, WatchConfig(joint_jump=100.0))
    for now, commanded in ((0, np.zeros(3)), (age_ns, np.ones(3))):
        watch.joint_state(sample(np.zeros(3), now), now, commanded)
    assert watch.tracking_error == error


def test_what_was_commanded_before_the_arm_was_let_go_is_forgotten() -> None:
    watch = heard()
    for k, commanded in enumerate((START, None, START + 1.0)):
        watch.joint_state(sample(START, T0 + k * MS), T0 + k * MS, commanded)
    assert watch.tracking_error == pytest.approx(1.0)


def test_the_speed_is_what_two_stamps_say_where_the_driver_measures_none() -> None:
    watch = Watch(LIMITS, WatchConfig())
    watch.joint_state(sample(START, T0, None), T0, None)
    watch.joint_state(sample(START - 0.02, T0 + 10 * MS, None), T0 + 50 * MS, None)
    assert watch.speed == pytest.approx(np.full(3, 2.0))
    watch.joint_state(sample(START, T0 + 5 * MS, None), T0 + 60 * MS, None)
    assert watch.speed == pytest.approx(np.full(3, 2.0)), "an older stamp says nothing"


@pytest.mark.parametrize(("ms", "found"), [(500, []), (501, ["not_resting"])])
def test_how_long_an_arm_may_settle(ms: int, found: list[str]) -> None:
    watch = heard()
    watch.rest(T0)
    watch.joint_state(sample(START, T0 + ms * MS, 0.3), T0 + ms * MS, None)
    assert names(watch, T0 + ms * MS) == found


def test_rest_seen_before_the_stop_has_ended_does_not_count() -> None:
    watch = heard()
    watch.rest(T0 + 100 * MS)
    watch.joint_state(sample(START, T0 + 100 * MS), T0 + 100 * MS, None)
    assert names(watch, T0 + 100 * MS) == []
    late = T0 + 700 * MS
    watch.joint_state(sample(START, late, 0.3), late, None)
    assert names(watch, late) == ["not_resting"]
    assert "0.30 rad/s" in watch.faults(late, False)[0].detail


@pytest.mark.parametrize(("drift", "found"), [(NS // 4, []), (-NS // 4, []), (NS // 4 + 1, ["clock"])])
def test_how_far_the_clock_may_move(drift: int, found: list[str]) -> None:
    watch = heard(WatchConfig(clock_drift_s=BINARY))
    watch.clock(drift)
    assert names(watch, T0) == found


def test_the_farthest_the_clock_was_set_is_said() -> None:
    watch = heard()
    for drift in (NS, -3 * NS, 2 * NS):
        watch.clock(drift)
    assert watch.faults(T0, False)[0].detail == "the system clock was set by 3.000 s"


@pytest.mark.parametrize(("late", "found"), [(0, []), (1, ["no_plan"])])
def test_how_long_no_plan_may_come(late: int, found: list[str]) -> None:
    watch = heard(WatchConfig(joint_state_age_s=9.0))
    watch.plan(T0)
    assert names(watch, T0 + 2 * NS + late, running=True) == found


@pytest.mark.parametrize(("late", "found"), [(0, []), (1, ["estop_heartbeat"])])
def test_how_long_the_button_may_be_silent(late: int, found: list[str]) -> None:
    watch = heard(WatchConfig(estop_heartbeat_s=BINARY, joint_state_age_s=9.0))
    watch.estop_input(False, T0)
    assert names(watch, T0 + NS // 4 + late) == found


def test_without_a_heartbeat_a_button_that_falls_silent_is_nothing() -> None:
    watch = heard(WatchConfig(joint_state_age_s=9.0))
    watch.estop_input(False, T0)
    assert names(watch, T0 + 5 * NS) == []


def test_the_age_is_of_the_last_measurement_that_counts() -> None:
    watch = heard()
    assert watch.age_s(T0 + NS // 2) == 0.5
    watch.joint_state(JointState(T0, ("a", "b", "c"), START), T0 + NS, None)
    assert watch.age_s(T0 + NS) == 1.0
    assert "no joint state for 1.000 s" in watch.faults(T0 + NS, False)[0].detail


@pytest.mark.parametrize(("ms", "found"), [(300, []), (301, ["camera"])])
def test_how_long_a_camera_may_be_silent_unless_it_is_said(ms: int, found: list[str]) -> None:
    watch = heard(WatchConfig(cameras=("front",), joint_state_age_s=9.0))
    watch.picture("front", T0, T0)
    assert names(watch, T0 + ms * MS) == found


@pytest.mark.parametrize(("more", "found"), [(0, []), (1, ["camera_stamp"])])
@pytest.mark.parametrize("side", [1, -1])
def test_a_picture_as_old_or_as_far_ahead_as_is_granted_is_good(more: int, found: list[str], side: int) -> None:
    watch = heard(WatchConfig(cameras=("front",), camera_stamp_age_s=BINARY, camera_stamp_ahead_s=BINARY))
    watch.picture("front", T0 - side * (NS // 4 + more), T0)
    assert names(watch, T0) == found
