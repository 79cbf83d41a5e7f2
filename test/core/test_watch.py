"""Every watchdog: silent just inside its threshold, heard just outside, and what the supervisor does about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
from core.draw import T0, arm_limits

from vla_ros.core.errors import ConfigError
from vla_ros.core.faults import RULES, Action, Clears, Fault, worst_first
from vla_ros.core.modes import Mode
from vla_ros.core.records import NS, JointState
from vla_ros.core.supervisor import Supervisor, SupervisorConfig
from vla_ros.core.watch import Watch, WatchConfig

MS = 1_000_000
LIMITS = arm_limits(3)
START = np.array([0.3, -0.2, 0.1])
STEP = 10 * MS


def sample(pose: np.ndarray, stamp_ns: int, velocity: np.ndarray | float | None = 0.0) -> JointState:
    velocities = None if velocity is None else np.broadcast_to(velocity, pose.shape)
    return JointState(stamp_ns, LIMITS.joints, pose, velocities)


def heard(config: WatchConfig | None = None, now: int = T0) -> Watch:
    watch = Watch(LIMITS, config or WatchConfig())
    assert watch.joint_state(sample(START, now), now, None) is None
    return watch


def names(watch: Watch, now: int, running: bool = False) -> list[str]:
    return [fault.name for fault in watch.faults(now, running)]


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


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_clock_that_was_set_stays_a_fault_when_it_is_set_back(sign: int) -> None:
    watch = heard()
    watch.clock(sign * 99 * MS)
    assert names(watch, T0) == []
    watch.clock(sign * 101 * MS)
    watch.clock(0)
    assert names(watch, T0) == ["clock"]


def test_other_publishers() -> None:
    watch = heard()
    for others, found in ((0, []), (1, ["second_publisher"]), (-1, []), (2, ["second_publisher"])):
        watch.publishers(others)
        assert names(watch, T0) == found
    assert "3 publishers" in watch.faults(T0, False)[0].detail


def test_silence_of_the_planner_is_said_while_running() -> None:
    watch = heard(WatchConfig(joint_state_age_s=10.0))
    watch.plan(T0)
    assert names(watch, T0 + 2 * NS, running=True) == []
    assert names(watch, T0 + 2 * NS + MS, running=True) == ["no_plan"]
    assert names(watch, T0 + 2 * NS + MS, running=False) == []


def test_the_button_and_its_heartbeat() -> None:
    watch = heard(WatchConfig(estop_heartbeat_s=0.1))
    assert names(watch, T0) == ["estop_missing"]
    watch.estop_input(False, T0)
    assert names(watch, T0 + 100 * MS) == []
    assert names(watch, T0 + 101 * MS) == ["estop_heartbeat"]
    watch.estop_input(True, T0 + 102 * MS)
    assert names(watch, T0 + 102 * MS) == ["estop_input"]
    watch.estop_input(False, T0 + 103 * MS)
    assert names(watch, T0 + 103 * MS) == []


def test_a_button_without_heartbeat_is_heard_too() -> None:
    watch = heard()
    watch.estop_input(True, T0)
    assert names(watch, T0 + 150 * MS) == ["estop_input"]


def test_the_most_severe_wins_and_equals_keep_their_order() -> None:
    faults = [Fault(name, "") for name in ("no_plan", "joint_state", "estop_input", "tracking", "overspeed")]
    assert [f.name for f in worst_first(faults)] == [
        "estop_input",
        "overspeed",
        "joint_state",
        "tracking",
        "no_plan",
    ]


def test_every_fault_has_one_rule_that_fits_what_it_does() -> None:
    for rule in RULES.values():
        allowed = {
            Action.WARN: (Clears.ITSELF,),
            Action.STOP: (Clears.ARM, Clears.NEVER),
            Action.ESTOP: (Clears.RESET, Clears.NEVER),
        }
        assert rule.clears in allowed[rule.action]
        assert rule.meaning


@pytest.mark.parametrize("name", [n for n, kind in WatchConfig.__annotations__.items() if kind == "float"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_every_bad_threshold_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        WatchConfig(**{name: value})


# -- and what the supervisor does about them -------------------------------------------------------


class Row(NamedTuple):
    """One fault: how it comes, how it goes."""

    comes: Callable[[Supervisor, int], None]
    goes: Callable[[Supervisor, int], None]
    config: Mapping[str, float] = MappingProxyType({})
    before: Callable[[Supervisor, int], None] = lambda _supervisor, _now: None


def speaks(supervisor: Supervisor, now: int, velocity: float = 0.0) -> None:
    last = supervisor.watch.measured
    supervisor.joint_state(sample(START if last is None else last.positions, now, velocity), now)


def away(supervisor: Supervisor, now: int) -> None:
    """The arm is moved away from where it is commanded."""
    for k in range(1, 40):
        supervisor.joint_state(sample(START + 0.016 * k, now, 0.0), now)


ROWS = {
    "joint_stamp": Row(lambda s, n: s.joint_state(sample(START, n - NS), n) and None, speaks),
    "tracking": Row(away, speaks),
    "clock": Row(lambda s, _n: s.watch.clock(NS), lambda s, _n: s.watch.clock(0)),
    "second_publisher": Row(lambda s, _n: s.watch.publishers(1), lambda s, _n: s.watch.publishers(0)),
    "estop_input": Row(lambda s, n: s.watch.estop_input(True, n), lambda s, n: s.watch.estop_input(False, n)),
    "overspeed": Row(lambda s, n: [speaks(s, n, 9.0) for _ in range(5)] and None, speaks),
    "estop_heartbeat": Row(
        lambda s, n: s.watch.estop_input(False, n - 51 * MS),
        lambda s, n: s.watch.estop_input(False, n + NS),
        {"estop_heartbeat_s": 0.05},
        lambda s, n: s.watch.estop_input(False, n),
    ),
}


def holding(row: Row) -> Supervisor:
    supervisor = Supervisor(LIMITS, SupervisorConfig(**row.config))
    row.before(supervisor, T0)
    speaks(supervisor, T0)
    assert supervisor.arm(T0).ok
    supervisor.tick(T0)
    return supervisor


@pytest.mark.parametrize("name", ROWS)
def test_a_fault_while_running_does_what_its_rule_says_and_needs_what_it_says(name: str) -> None:
    row, rule = ROWS[name], RULES[name]
    supervisor = holding(row)
    now = T0 + 2 * MS
    row.comes(supervisor, now)
    supervisor.tick(now)
    assert supervisor.mode is (Mode.ESTOPPED if rule.action is Action.ESTOP else Mode.STOPPING)
    assert [f.name for f in supervisor.faults if f.rule.action > Action.WARN] == [name]
    assert supervisor.reason == supervisor.faults[0].detail
    assert supervisor.faulted[name] == 1
    for now in range(T0 + 4 * MS, T0 + 150 * MS, 2 * MS):
        supervisor.tick(now)
    assert not supervisor.arm(now).ok
    if rule.action is Action.ESTOP:
        answer = supervisor.reset(now)
        assert not answer.ok
        assert "cannot reset" in answer.text
        assert supervisor.mode is Mode.ESTOPPED
    speaks(supervisor, now)
    row.goes(supervisor, now)
    supervisor.tick(now)
    assert supervisor.mode is (Mode.ESTOPPED if rule.action is Action.ESTOP else Mode.STOPPED), "nothing by itself"
    assert supervisor.faulted[name] == 1
    if rule.clears is Clears.RESET:
        assert not supervisor.arm(now).ok
    if rule.clears is Clears.RESET or name == "tracking":
        assert supervisor.reset(now).ok
    speaks(supervisor, now)
    assert supervisor.arm(now).ok is (rule.clears is not Clears.NEVER)


@pytest.mark.parametrize("name", [n for n in ROWS if n not in ("tracking", "overspeed")])
def test_a_fault_before_arming_keeps_it_from_being_armed(name: str) -> None:
    row, rule = ROWS[name], RULES[name]
    supervisor = Supervisor(LIMITS, SupervisorConfig(**row.config))
    row.before(supervisor, T0)
    speaks(supervisor, T0)
    supervisor.tick(T0)
    assert supervisor.mode is Mode.READY
    row.comes(supervisor, T0)
    assert supervisor.tick(T0) is None
    assert supervisor.mode is (Mode.ESTOPPED if rule.action is Action.ESTOP else Mode.INACTIVE)
    answer = supervisor.arm(T0)
    assert not answer.ok
    assert supervisor.reason in answer.text


def test_the_reason_of_being_inactive_follows_the_fault() -> None:
    supervisor = Supervisor(LIMITS)
    supervisor.tick(T0)
    assert "no joint state" in supervisor.reason
    speaks(supervisor, T0)
    supervisor.watch.publishers(1)
    supervisor.tick(T0)
    assert "2 publishers" in supervisor.reason


def test_a_warning_is_said_and_does_nothing() -> None:
    supervisor = holding(Row(lambda _s, _n: None, lambda _s, _n: None))
    for now in range(T0, T0 + 3 * NS, STEP):
        speaks(supervisor, now)
        supervisor.tick(now)
    assert [f.name for f in supervisor.faults] == ["no_plan"]
    assert supervisor.mode is Mode.RUNNING


def test_a_moving_arm_is_not_armed() -> None:
    supervisor = Supervisor(LIMITS)
    speaks(supervisor, T0, 0.2)
    answer = supervisor.arm(T0)
    assert not answer.ok
    assert "moves at 0.20 rad/s" in answer.text
    speaks(supervisor, T0, 0.1)
    assert supervisor.arm(T0).ok


def test_a_stop_that_does_not_rest_escalates() -> None:
    supervisor = holding(Row(lambda _s, _n: None, lambda _s, _n: None))
    supervisor.stop(T0)
    for now in range(T0, T0 + 2 * NS, STEP):
        speaks(supervisor, now, 0.3)
        supervisor.tick(now)
        if supervisor.mode is Mode.ESTOPPED:
            break
    assert supervisor.mode is Mode.ESTOPPED
    assert "still moves" in supervisor.reason
    assert now - T0 <= 100 * MS + 500 * MS + 2 * STEP
    for later in range(now, now + NS, STEP):
        speaks(supervisor, later, 0.3)
        supervisor.tick(later)
    assert "still moves" in supervisor.reset(later).text
    speaks(supervisor, later)
    supervisor.tick(later)
    assert supervisor.reset(later).ok
