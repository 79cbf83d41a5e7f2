"""The supervisor's thresholds as documented, and what happens exactly at them."""

import dataclasses

import numpy as np
import pytest
from core.draw import T0, arm_limits

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, Chunk, JointState
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.fault_rules import RULES, Action
from vla_ros.safety.monitors import JUMP_GRACE_S, OVERSPEED_SAMPLES, WatchConfig
from vla_ros.safety.speed_scaling import LEAST, PLANS, SpeedConfig
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import COMMANDED, Supervisor, SupervisorConfig

MS = 1_000_000
LIMITS = arm_limits(3)
START = np.array([0.3, -0.2, 0.1])
DEFAULTS = {
    "handover_tolerance": 1e-9,
    "plan_late_s": 0.0,
    "plan_early_s": 1.0,
    "tracking": 0.2,
    "largest_step": 0.1,
    "joint_state_age_s": 0.2,
    "joint_stamp_age_s": 0.5,
    "joint_stamp_ahead_s": 0.05,
    "joint_jump": 2.0,
    "tracking_warn": 0.25,
    "tracking_stop": 0.5,
    "tracking_lag_s": 0.25,
    "may_be_blocked": ("gripper",),
    "overspeed": 3.0,
    "rest_speed": 0.15,
    "settle_s": 0.5,
    "clock_drift_s": 0.1,
    "no_plan_s": 2.0,
    "estop_heartbeat_s": 0.0,
    "disagreement_warn": 0.4,
    "disagreement_stop": 0.8,
    "latency_warn": 1.0,
    "latency_stop": 2.5,
    "refused_warn": 0.3,
    "refused_stop": 0.9,
    "ramp_s": 1.0,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_threshold_is_changed_here_or_not_at_all(name: str) -> None:
    assert getattr(SupervisorConfig(), name) == DEFAULTS[name]


def test_counts_and_fractions_are_changed_here_or_not_at_all() -> None:
    assert (OVERSPEED_SAMPLES, JUMP_GRACE_S, LEAST, PLANS) == (5, 0.02, 0.1, 20)
    assert COMMANDED == (Mode.RUNNING, Mode.STOPPING, Mode.STOPPED)


@pytest.mark.parametrize("name", ["disagreement", "latency", "refused"])
def test_a_warning_after_the_stop_is_refused_by_the_supervisor_too(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        SupervisorConfig(**{f"{name}_warn": 5.0, f"{name}_stop": 5.0})


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(SpeedConfig)])
def test_a_threshold_of_the_speed_scale_is_more_than_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        SupervisorConfig(**{name: 0.0})


@pytest.mark.parametrize(
    "name", [f.name for f in dataclasses.fields(WatchConfig) if f.type == "float" and f.name != "tracking_stop"]
)
def test_a_threshold_of_a_watchdog_may_be_nothing(name: str) -> None:
    assert getattr(SupervisorConfig(**{name: 0.0}), name) == 0.0


def test_tracking_warns_before_it_stops() -> None:
    with pytest.raises(ConfigError, match="tracking_warn must be less than tracking_stop"):
        SupervisorConfig(tracking_warn=0.3, tracking_stop=0.3)


def seen(supervisor: Supervisor, now: int, pose: np.ndarray = START, speed: float = 0.0) -> None:
    supervisor.joint_state(JointState(now, LIMITS.joints, pose, np.full(3, speed)), now)


def armed(config: SupervisorConfig | None = None) -> Supervisor:
    supervisor = Supervisor(LIMITS, config)
    seen(supervisor, T0)
    assert supervisor.arm(T0).ok
    assert supervisor.tick(T0) is not None
    return supervisor


def moved(supervisor: Supervisor, now: int = T0) -> Plan:
    planner = Planner(LIMITS, PlannerConfig(max_disagreement=10.0))
    in_force = supervisor.in_force()
    assert in_force is not None
    plan = planner.plan(Chunk.from_rate(now, LIMITS.joints, np.full((60, 3), 1.0), 1 / 30), in_force, now)
    assert isinstance(plan, Plan)
    return plan


def test_it_begins_with_nothing() -> None:
    supervisor = Supervisor(LIMITS)
    assert supervisor.mode is Mode.INACTIVE
    assert supervisor.reason == "no joint state yet"
    assert supervisor.accepted == 0
    assert not supervisor.handover_jump.any()
    assert supervisor.handover_jump.shape == (3,)
    assert supervisor.at_rest
    assert not supervisor.refused
    assert not supervisor.faulted
    assert not supervisor.faults


def test_every_answer_says_whether_it_was_granted() -> None:
    supervisor = Supervisor(LIMITS)
    assert not supervisor.arm(T0).ok
    assert supervisor.stop(T0).ok
    assert supervisor.mode is Mode.INACTIVE
    assert not supervisor.reset(T0).ok
    seen(supervisor, T0)
    assert supervisor.arm(T0).ok
    assert not supervisor.at_rest
    assert supervisor.stop(T0).ok
    assert supervisor.mode is Mode.STOPPING
    assert not supervisor.at_rest
    assert not supervisor.reset(T0).ok
    assert not supervisor.arm(T0).ok


@pytest.mark.parametrize(("apart", "ok"), [(0.2, True), (0.2001, False), (-0.2, True), (-0.2001, False)])
def test_a_stopped_arm_is_armed_only_where_it_was_commanded_to_be(apart: float, ok: bool) -> None:
    supervisor = armed(SupervisorConfig(tracking_warn=9.0, tracking_stop=9.1))
    supervisor.watch.measured = None  # so that no jump is refused
    supervisor.stop(T0)
    now = T0 + 150 * MS
    zero = np.zeros(3)
    supervisor._last = dataclasses.replace(supervisor._last, state=supervisor._last.state._replace(position=zero))
    supervisor._motions = [Plan.hold(LIMITS.joints, zero, T0)]
    supervisor.tick(now)
    supervisor.tick(now + 2 * MS)
    seen(supervisor, now, np.array([0.0, apart, 0.0]))
    assert supervisor.mode is Mode.STOPPED
    assert supervisor.arm(now + 2 * MS).ok is ok


def test_a_reset_forgets_where_the_arm_was_commanded_to_be() -> None:
    supervisor = armed()
    supervisor.estop(T0)
    supervisor.tick(T0 + 2 * MS)
    assert supervisor.reset(T0 + 2 * MS).ok
    assert supervisor.mode is Mode.READY, "the inputs are fresh, and that is seen at once"
    elsewhere = START + 0.001
    seen(supervisor, T0 + 4 * MS, elsewhere)
    assert supervisor.arm(T0 + 4 * MS).ok
    np.testing.assert_array_equal(supervisor.tick(T0 + 6 * MS).state.position, elsewhere)


def test_a_plan_that_is_not_yet_due_does_not_move_the_arm() -> None:
    supervisor = armed()
    plan = moved(supervisor)
    assert supervisor.plan(plan, T0) is None
    before = supervisor.tick(plan.start_ns - 1)
    np.testing.assert_array_equal(before.state.position, START)
    assert supervisor.in_force() is plan
    supervisor.tick(plan.start_ns)
    assert supervisor._motions == [plan], "from its first instant it is followed, and what is past is forgotten"
    on = supervisor.tick(plan.start_ns + 100 * MS)
    np.testing.assert_array_equal(on.state.position, plan.at(plan.start_ns + 100 * MS).position)


def test_a_plan_replaces_those_that_begin_after_it_and_keeps_those_before() -> None:
    supervisor = armed()
    late = moved(supervisor, T0 + 200 * MS)
    soon = moved(supervisor, T0)
    assert supervisor.plan(late, T0) is None
    assert supervisor.plan(soon, T0) is None
    assert supervisor.in_force() is soon
    assert supervisor.accepted == 2
    assert [m.start_ns for m in supervisor._motions] == [T0, soon.start_ns]


def test_a_command_that_may_not_be_sent_is_held_back_and_latches() -> None:
    supervisor = armed()
    supervisor._motions = [Plan.hold(LIMITS.joints, START + 0.09, T0)]
    assert supervisor.tick(T0 + 2 * MS) is None
    assert supervisor.mode is Mode.ESTOPPED
    assert supervisor.faulted["command"] == 1
    assert "held back" in supervisor.reason
    assert supervisor.tick(T0 + 4 * MS) is None
    assert not supervisor.arm(T0 + 4 * MS).ok


def test_every_motion_ends_where_its_own_end_says() -> None:
    supervisor = armed()
    supervisor.stop(T0)
    end = supervisor._motions[0].end_ns
    supervisor.tick(end - 1)
    assert supervisor.mode is Mode.STOPPING
    supervisor.tick(end)
    assert supervisor.mode is Mode.STOPPED
    assert supervisor.reason == "asked to stop"


@pytest.mark.parametrize("name", RULES)
def test_a_fault_that_only_warns_never_stops(name: str) -> None:
    assert (RULES[name].action is Action.WARN) == (name in ("tracking_high", "no_plan"))


def test_the_counters_count_a_fault_once_while_it_lasts() -> None:
    supervisor = armed()
    for k in range(1, 5):
        supervisor.watch.publishers(1)
        supervisor.tick(T0 + k * 2 * MS)
    assert supervisor.faulted["second_publisher"] == 1
    supervisor.watch.publishers(0)
    supervisor.tick(T0 + 10 * MS)
    supervisor.watch.publishers(1)
    supervisor.tick(T0 + 12 * MS)
    assert supervisor.faulted["second_publisher"] == 2


def test_the_latency_that_slows_is_from_the_picture_to_the_start_of_the_plan() -> None:
    supervisor = armed()
    plan = moved(supervisor)
    supervisor.plan(plan, T0, plan.start_ns - NS)
    assert supervisor.speed._latency == 1.0
