"""Action and recovery of each fault: as its rule states, and nothing without a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest
from core.generators import T0
from safety.monitor_helpers import LIMITS, MS, START, STEP, sample

from vla_ros.core.records import NS
from vla_ros.safety.fault_rules import RULES, Action, Fault, Recovery, by_severity
from vla_ros.safety.monitors import MonitorConfig
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor, SupervisorConfig


def test_faults_are_sorted_by_severity_and_the_sort_is_stable() -> None:
    faults = [
        Fault(name, "") for name in ("no_plan", "joint_state_timeout", "estop_input", "tracking_error", "overspeed")
    ]
    assert [f.name for f in by_severity(faults)] == [
        "estop_input",
        "overspeed",
        "joint_state_timeout",
        "tracking_error",
        "no_plan",
    ]


def test_the_recovery_of_every_fault_fits_its_action() -> None:
    for rule in RULES.values():
        allowed = {
            Action.WARN: (Recovery.AUTOMATIC,),
            Action.STOP: (Recovery.ARM, Recovery.RESTART),
            Action.ESTOP: (Recovery.RESET, Recovery.RESTART),
        }
        assert rule.recovery in allowed[rule.action]
        assert rule.description


class Scenario(NamedTuple):
    """How to cause a fault and how to clear it.

    Attributes:
        cause: Makes the fault present.
        clear: Makes it absent.
        config: Thresholds of the monitors.
        setup: Inputs that are required before arming.
    """

    cause: Callable[[Supervisor, int], None]
    clear: Callable[[Supervisor, int], None]
    config: Mapping[str, float] = MappingProxyType({})
    setup: Callable[[Supervisor, int], None] = lambda _supervisor, _now: None


def report_joint_state(supervisor: Supervisor, now: int, velocity: float = 0.0) -> None:
    last = supervisor.monitors.measured
    supervisor.joint_state(sample(START if last is None else last.positions, now, velocity), now)


def move_away(supervisor: Supervisor, now: int) -> None:
    """The arm is moved move_away from its command."""
    for k in range(1, 40):
        supervisor.joint_state(sample(START + 0.016 * k, now, 0.0), now)


SCENARIOS = {
    "joint_stamp": Scenario(lambda s, n: s.joint_state(sample(START, n - NS), n) and None, report_joint_state),
    "tracking_error": Scenario(move_away, report_joint_state),
    "clock_jump": Scenario(lambda s, _n: s.monitors.clock_drift(NS), lambda s, _n: s.monitors.clock_drift(0)),
    "second_publisher": Scenario(
        lambda s, _n: s.monitors.other_publishers(1), lambda s, _n: s.monitors.other_publishers(0)
    ),
    "estop_input": Scenario(
        lambda s, n: s.monitors.estop_input(True, n), lambda s, n: s.monitors.estop_input(False, n)
    ),
    "overspeed": Scenario(lambda s, n: [report_joint_state(s, n, 9.0) for _ in range(5)] and None, report_joint_state),
    "deadman": Scenario(
        lambda s, n: s.monitors.deadman(False, n),
        lambda s, n: s.monitors.deadman(True, n),
        {"deadman_timeout_s": 5.0},
        lambda s, n: s.monitors.deadman(True, n),
    ),
    "camera_timeout": Scenario(
        lambda s, n: s.monitors.image("front", n, n - 51 * MS),
        lambda s, n: s.monitors.image("front", n, n),
        {"cameras": ("front",), "camera_timeout_s": 0.05},
        lambda s, n: s.monitors.image("front", n, n),
    ),
    "camera_stamp": Scenario(
        lambda s, n: s.monitors.image("front", n - NS, n),
        lambda s, n: s.monitors.image("front", n, n),
        {"cameras": ("front",), "camera_timeout_s": 5.0},
        lambda s, n: s.monitors.image("front", n, n),
    ),
    "estop_timeout": Scenario(
        lambda s, n: s.monitors.estop_input(False, n - 51 * MS),
        lambda s, n: s.monitors.estop_input(False, n + NS),
        {"estop_timeout_s": 0.05},
        lambda s, n: s.monitors.estop_input(False, n),
    ),
}


def armed_with(scenario: Scenario) -> Supervisor:
    supervisor = Supervisor(LIMITS, SupervisorConfig(MonitorConfig(**scenario.config)))
    scenario.setup(supervisor, T0)
    report_joint_state(supervisor, T0)
    assert supervisor.arm(T0).success
    supervisor.tick(T0)
    return supervisor


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_while_running_has_the_action_and_recovery_of_its_rule(name: str) -> None:
    scenario, rule = SCENARIOS[name], RULES[name]
    supervisor = armed_with(scenario)
    now = T0 + 2 * MS
    scenario.cause(supervisor, now)
    supervisor.tick(now)
    assert supervisor.mode is (Mode.ESTOPPED if rule.action is Action.ESTOP else Mode.STOPPING)
    assert [f.name for f in supervisor.faults if f.rule.action > Action.WARN] == [name]
    assert supervisor.reason == supervisor.faults[0].detail
    assert supervisor.fault_counts[name] == 1
    for now in range(T0 + 4 * MS, T0 + 150 * MS, 2 * MS):
        supervisor.tick(now)
    assert not supervisor.arm(now).success
    if rule.action is Action.ESTOP:
        result = supervisor.reset(now)
        assert not result.success
        assert "cannot reset" in result.message
        assert supervisor.mode is Mode.ESTOPPED
    report_joint_state(supervisor, now)
    scenario.clear(supervisor, now)
    supervisor.tick(now)
    assert supervisor.mode is (Mode.ESTOPPED if rule.action is Action.ESTOP else Mode.STOPPED), (
        "no recovery without a request"
    )
    assert supervisor.fault_counts[name] == 1
    if rule.recovery is Recovery.RESET:
        assert not supervisor.arm(now).success
    if rule.recovery is Recovery.RESET or name == "tracking_error":
        assert supervisor.reset(now).success
    report_joint_state(supervisor, now)
    assert supervisor.arm(now).success is (rule.recovery is not Recovery.RESTART)


@pytest.mark.parametrize("name", [n for n in SCENARIOS if n not in ("tracking_error", "overspeed")])
def test_a_fault_before_arming_prevents_arming(name: str) -> None:
    scenario, rule = SCENARIOS[name], RULES[name]
    supervisor = Supervisor(LIMITS, SupervisorConfig(MonitorConfig(**scenario.config)))
    scenario.setup(supervisor, T0)
    report_joint_state(supervisor, T0)
    supervisor.tick(T0)
    assert supervisor.mode is Mode.READY
    scenario.cause(supervisor, T0)
    assert supervisor.tick(T0) is None
    assert supervisor.mode is (Mode.ESTOPPED if rule.action is Action.ESTOP else Mode.INACTIVE)
    result = supervisor.arm(T0)
    assert not result.success
    assert supervisor.reason in result.message


def test_the_reason_of_mode_inactive_follows_the_most_severe_fault() -> None:
    supervisor = Supervisor(LIMITS)
    supervisor.tick(T0)
    assert "no joint state" in supervisor.reason
    report_joint_state(supervisor, T0)
    supervisor.monitors.other_publishers(1)
    supervisor.tick(T0)
    assert "2 publishers" in supervisor.reason


def test_a_warning_is_reported_and_has_no_other_effect() -> None:
    supervisor = armed_with(Scenario(lambda _s, _n: None, lambda _s, _n: None))
    for now in range(T0, T0 + 3 * NS, STEP):
        report_joint_state(supervisor, now)
        supervisor.tick(now)
    assert [f.name for f in supervisor.faults] == ["no_plan"]
    assert supervisor.mode is Mode.RUNNING


def test_a_moving_arm_is_not_armed() -> None:
    supervisor = Supervisor(LIMITS)
    report_joint_state(supervisor, T0, 0.2)
    result = supervisor.arm(T0)
    assert not result.success
    assert "moves at 0.20 rad/s" in result.message
    report_joint_state(supervisor, T0, 0.1)
    assert supervisor.arm(T0).success


def test_motion_after_a_stop_escalates_to_an_emergency_stop() -> None:
    supervisor = armed_with(Scenario(lambda _s, _n: None, lambda _s, _n: None))
    supervisor.stop(T0)
    for now in range(T0, T0 + 2 * NS, STEP):
        report_joint_state(supervisor, now, 0.3)
        supervisor.tick(now)
        if supervisor.mode is Mode.ESTOPPED:
            break
    assert supervisor.mode is Mode.ESTOPPED
    assert "still moves" in supervisor.reason
    assert now - T0 <= 100 * MS + 500 * MS + 2 * STEP
    for later in range(now, now + NS, STEP):
        report_joint_state(supervisor, later, 0.3)
        supervisor.tick(later)
    assert "still moves" in supervisor.reset(later).message
    report_joint_state(supervisor, later)
    supervisor.tick(later)
    assert supervisor.reset(later).success
