"""Watchdogs of the arm itself: silent just inside their thresholds, heard just outside."""

from __future__ import annotations

import numpy as np
import pytest
from core.draw import T0
from safety.watching import LIMITS, MS, START, STEP, heard, names, sample

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, JointState
from vla_ros.safety.monitors import Watch, WatchConfig


def test_before_anything_was_heard_the_joint_states_are_missing() -> None:
    watch = Watch(LIMITS, WatchConfig())
    assert names(watch, T0) == ["joint_state"]
    assert watch.age_s(T0) == float("inf")
    assert not watch.resting


@pytest.mark.parametrize(("age_ms", "found"), [(0, []), (200, []), (201, ["joint_state"]), (-1, ["joint_state"])])
def test_silence_of_the_joint_states(age_ms: int, found: list[str]) -> None:
    assert names(heard(), T0 + age_ms * MS) == found


@pytest.mark.parametrize(
    ("old_ms", "found"), [(0, []), (499, []), (501, ["joint_stamp"]), (-49, []), (-51, ["joint_stamp"])]
)
def test_stamps_too_old_or_in_the_future(old_ms: int, found: list[str]) -> None:
    watch = Watch(LIMITS, WatchConfig())
    watch.joint_state(sample(START, T0 - old_ms * MS), T0, None)
    assert names(watch, T0) == found


def test_stamps_that_do_not_advance() -> None:
    watch = heard()
    for now in range(T0, T0 + 600 * MS, STEP):
        watch.joint_state(sample(START, T0), now, None)
        assert names(watch, now) == ([] if now - T0 <= 500 * MS else ["joint_stamp"])


def test_an_arm_that_leaps_does_not_count_until_it_could_have_gone_there() -> None:
    watch = heard()
    far = START + np.array([0.0, 0.5, 0.0])
    refusal = watch.joint_state(sample(far, T0 + STEP), T0 + STEP, None)
    assert refusal is not None
    assert refusal.reason == "joint_jump"
    assert LIMITS.joints[1] in refusal.detail
    assert watch.measured is not None
    np.testing.assert_array_equal(watch.measured.positions, START)
    later = T0 + 106 * MS  # 0.5 rad at twice 2 rad/s takes 125 ms, of which 20 are granted
    assert watch.joint_state(sample(far, later), later, None) is None
    watch = heard()
    soon = T0 + 104 * MS
    assert watch.joint_state(sample(far, soon), soon, None) is not None


def test_other_joints_do_not_count() -> None:
    watch = Watch(LIMITS, WatchConfig())
    refusal = watch.joint_state(JointState(T0, ("a", "b", "c"), START), T0, None)
    assert refusal is not None
    assert refusal.reason == "joint_state"
    assert names(watch, T0) == ["joint_state"]


def test_the_servo_may_lag_but_not_stay_away() -> None:
    """It may be anywhere it was commanded to be in the last quarter second."""
    watch = heard()
    for k in range(50):
        now = T0 + k * STEP
        commanded, lagging = START + 0.02 * k, START + 0.02 * max(k - 24, 0)
        watch.joint_state(sample(lagging, now), now, commanded)
        assert watch.tracking_error == pytest.approx(0.0, abs=1e-12)
    for k in range(50, 100):
        now = T0 + k * STEP
        watch.joint_state(sample(lagging, now), now, START + 0.98)
        late = k >= 50 + 24
        assert watch.tracking_error == pytest.approx(0.98 - 0.50 if late else watch.tracking_error)
    assert names(watch, now) == ["tracking_high"]


@pytest.mark.parametrize(
    ("apart", "found"),
    [(0.249, []), (0.251, ["tracking_high"]), (0.499, ["tracking_high"]), (0.501, ["tracking"])],
)
@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("joint", range(3))
def test_distance_from_what_was_commanded(apart: float, found: list[str], side: float, joint: int) -> None:
    watch = heard()
    watch.joint_state(sample(START, T0), T0, START + side * apart * np.eye(3)[joint])
    assert names(watch, T0) == found


def test_a_joint_that_may_be_blocked_is_not_tracked() -> None:
    watch = heard(WatchConfig(may_be_blocked=("joint_1",)))
    watch.joint_state(sample(START, T0), T0, START + np.array([0.0, 1.0, 0.0]))
    assert names(watch, T0) == []
    later = T0 + 300 * MS
    watch.joint_state(sample(START, later), later, START + np.array([1.0, 0.0, 0.0]))
    assert names(watch, later) == ["tracking"]


def test_not_commanded_there_is_nothing_to_track() -> None:
    watch = heard()
    watch.joint_state(sample(START, T0), T0, START + 1.0)
    watch.joint_state(sample(START, T0 + 1), T0 + 1, None)
    assert names(watch, T0 + 1) == []
    assert watch.tracking_error == 0.0


@pytest.mark.parametrize(("speed", "found"), [(6.0, []), (6.01, ["overspeed"])])
def test_five_measurements_in_a_row_over_three_times_the_limit(speed: float, found: list[str]) -> None:
    watch = heard()
    for k in range(5):
        assert names(watch, T0 + k) == []
        watch.joint_state(sample(START, T0 + k, np.array([0.0, speed, 0.0])), T0 + k, START)
    assert names(watch, T0 + 5) == found
    watch.joint_state(sample(START, T0 + 6), T0 + 6, START)
    assert names(watch, T0 + 6) == []


def test_an_arm_that_is_not_commanded_may_be_moved_by_hand() -> None:
    watch = heard()
    for k in range(9):
        watch.joint_state(sample(START, T0 + k, 9.0), T0 + k, None)
    assert names(watch, T0 + 9) == []


@pytest.mark.parametrize(("speed", "rests"), [(0.0, True), (0.15, True), (0.151, False)])
def test_rest_is_measured_with_or_without_velocities(speed: float, rests: bool) -> None:
    watch = heard()
    watch.joint_state(sample(START, T0 + STEP, np.array([0.0, 0.0, -speed])), T0 + STEP, None)
    assert watch.resting is rests
    watch = Watch(LIMITS, WatchConfig())
    watch.joint_state(sample(START, T0, None), T0, None)
    assert not watch.resting
    moved = START + np.array([0.0, 0.0, speed * (1 - 1e-9) * STEP / NS])
    watch.joint_state(sample(moved, T0 + STEP, None), T0 + STEP, None)
    assert watch.resting is rests


def test_a_measurement_that_comes_twice_says_nothing_of_speed() -> None:
    watch = Watch(LIMITS, WatchConfig())
    for k, pose in ((0, START), (1, START + 0.001), (1, START + 0.001)):
        watch.joint_state(sample(pose, T0 + k * STEP, None), T0 + k * STEP, None)
        assert watch.speed == pytest.approx(np.full(3, np.inf if k == 0 else 0.1))


def test_a_stop_that_does_not_rest_in_time() -> None:
    watch = heard()
    watch.rest(T0 + 100 * MS)
    for ms, found in ((50, []), (101, []), (599, []), (601, ["not_resting"])):
        now = T0 + ms * MS
        watch.joint_state(sample(START, now, 0.3), now, None)
        assert names(watch, now) == found
    watch.joint_state(sample(START, now + 1), now + 1, None)
    assert names(watch, now + 1) == []
    watch.joint_state(sample(START, now + 2, 0.3), now + 2, None)
    assert names(watch, now + 2) == [], "once at rest it may be moved by hand"


def test_without_measurements_a_stop_is_not_said_to_fail() -> None:
    watch = heard()
    watch.joint_state(sample(START, T0, 0.3), T0, None)
    watch.rest(T0 + 100 * MS)
    assert names(watch, T0 + 2 * NS) == ["joint_state"]


@pytest.mark.parametrize("name", [n for n, kind in WatchConfig.__annotations__.items() if kind == "float"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_every_bad_threshold_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        WatchConfig(**{name: value})
