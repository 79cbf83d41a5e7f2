"""What the supervisor does about a fault, and what it takes to go on: the rule, and nothing by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest
from core.draw import T0
from safety.watching import LIMITS, MS, START, STEP, sample

from vla_ros.core.records import NS
from vla_ros.safety.fault_rules import RULES, Action, Clears, Fault, worst_first
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor, SupervisorConfig


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
    "deadman": Row(
        lambda s, n: s.watch.deadman(False, n),
        lambda s, n: s.watch.deadman(True, n),
        {"deadman_s": 5.0},
        lambda s, n: s.watch.deadman(True, n),
    ),
    "camera": Row(
        lambda s, n: s.watch.picture("front", n, n - 51 * MS),
        lambda s, n: s.watch.picture("front", n, n),
        {"cameras": ("front",), "camera_age_s": 0.05},
        lambda s, n: s.watch.picture("front", n, n),
    ),
    "camera_stamp": Row(
        lambda s, n: s.watch.picture("front", n - NS, n),
        lambda s, n: s.watch.picture("front", n, n),
        {"cameras": ("front",), "camera_age_s": 5.0},
        lambda s, n: s.watch.picture("front", n, n),
    ),
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
