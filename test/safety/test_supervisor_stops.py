"""Stops of the supervisor: along the path, by braking, after a loop stall; only arming resumes operation."""

from __future__ import annotations

import numpy as np
import pytest
from core.generators import T0
from safety.supervisor_helpers import LIMITS, MS, PLANNER, START, armed, measured, moving, plan_towards, run, speed

from vla_ros.core.records import NS, Chunk, JointState
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor


def test_a_stop_slows_along_the_path_and_holds_until_armed() -> None:
    supervisor, plan, now = moving()
    assert supervisor.stop(now, "operator request").success
    assert supervisor.mode is Mode.STOPPING
    assert supervisor.reason == "operator request"
    path = plan.at(now + np.arange(3000) * MS).position
    commands = run(supervisor, now, now + 3 * NS)
    for command in commands:
        assert np.abs(path - command.state.position).max(axis=1).min() < 3e-3
    assert supervisor.mode is Mode.STOPPED
    assert supervisor.reason == "operator request"
    end = commands[-1].state.position
    assert np.abs(end - plan.positions[-1]).max() > 0.01
    assert supervisor.plan(plan, now + 3 * NS).reason == "not_running"
    supervisor.joint_state(measured(end, now + 3 * NS), now + 3 * NS)
    assert supervisor.arm(now + 3 * NS).success
    np.testing.assert_allclose(supervisor.tick(now + 3 * NS).state.position, end, atol=1e-12)


def test_a_stop_discards_pending_plans() -> None:
    supervisor, _, now = moving()
    pending = plan_towards(supervisor, now, target=-1.0)
    assert supervisor.plan(pending, now) is None
    supervisor.stop(now)
    end = run(supervisor, now, now + 3 * NS)[-1]
    assert supervisor.mode is Mode.STOPPED
    assert (end.state.position > 0.0).any()
    assert supervisor.active_plan() is None


def test_loss_of_joint_states_stops_the_arm_along_the_path() -> None:
    supervisor, _, now = moving()
    run(supervisor, now, now + 190 * MS, joint_states=False)
    assert supervisor.mode is Mode.RUNNING
    run(supervisor, now + 190 * MS, now + 3 * NS, joint_states=False)
    assert supervisor.mode is Mode.STOPPED
    assert "joint state" in supervisor.reason
    run(supervisor, now + 3 * NS, now + 4 * NS)
    assert supervisor.mode is Mode.STOPPED


def test_an_emergency_stop_latches_brakes_and_then_ends_commanding() -> None:
    supervisor, plan, now = moving()
    assert supervisor.estop(now).success
    assert supervisor.mode is Mode.ESTOPPED
    assert not supervisor.reset(now).success
    assert not supervisor.arm(now).success
    assert speed(supervisor, now) > 0.1
    assert not supervisor.reset(now).success
    commands = run(supervisor, now, now + NS)
    moving_for = sum(c is not None for c in commands)
    assert 0 < moving_for < 250
    assert all(c is None for c in commands[moving_for:])
    last = commands[moving_for - 1].state
    assert not last.velocity.any()
    assert not last.acceleration.any()
    assert supervisor.mode is Mode.ESTOPPED
    assert supervisor.plan(plan, now + NS).reason == "not_running"
    assert not supervisor.arm(now + NS).success
    assert supervisor.reset(now + NS).success
    assert run(supervisor, now + NS, now + 2 * NS) == [None] * 500
    assert supervisor.mode is Mode.READY


@pytest.mark.parametrize("mode", ["inactive", "ready", "running", "stopping", "stopped", "estopped"])
def test_an_emergency_stop_is_accepted_in_every_mode(mode: str) -> None:
    supervisor, now = Supervisor(LIMITS), T0
    if mode == "ready":
        supervisor.joint_state(measured(), T0)
        supervisor.tick(T0)
    elif mode != "inactive":
        supervisor, _, now = moving()
        if mode in ("stopping", "stopped"):
            supervisor.stop(now)
        if mode == "estopped":
            supervisor.estop(now, "first")
        if mode == "stopped":
            run(supervisor, now, now + 3 * NS)
            now += 3 * NS
    assert supervisor.mode.value == mode
    assert supervisor.estop(now, "second").success
    assert supervisor.mode is Mode.ESTOPPED
    assert supervisor.reason == ("first" if mode == "estopped" else "second")
    run(supervisor, now, now + 3 * NS)
    assert supervisor.tick(now + 3 * NS) is None
    assert supervisor.mode is Mode.ESTOPPED
    assert supervisor.reset(now + 3 * NS).success
    assert supervisor.mode in (Mode.READY, Mode.INACTIVE)


def test_after_a_loop_stall_the_last_command_is_held_without_a_jump():
    supervisor, _, now = moving()
    last = supervisor.tick(now)
    assert last is not None
    later = now + 300 * MS
    supervisor.joint_state(measured(), later)
    command = supervisor.tick(later)
    assert command is not None
    assert np.array_equal(command.state.position, last.state.position)
    assert not command.state.velocity.any()
    assert supervisor.mode is Mode.STOPPED
    assert "stalled for 0.300 s" in supervisor.reason


@pytest.mark.parametrize(("share", "mode"), [(0.98, Mode.RUNNING), (1.02, Mode.STOPPED)])
def test_a_plan_beyond_the_maximum_command_step_is_a_loop_stall(share: float, mode: Mode) -> None:
    supervisor, plan, now = moving()
    last = supervisor.tick(now)
    assert last is not None
    times = now + np.arange(0, 400 * MS, MS // 10)
    deviation = np.abs(plan.at(times).position - last.state.position).max(axis=1)
    later = int(times[np.searchsorted(deviation, share * supervisor.config.max_command_step_rad)])
    supervisor.joint_state(measured(supervisor.monitors.measured.positions, later), later)
    supervisor.tick(later)
    assert supervisor.mode is mode
    assert supervisor.fault_counts["loop_stall"] == (mode is Mode.STOPPED)


def test_an_emergency_stop_while_stopping_shortens_the_stop() -> None:
    ends = []
    for emergency in (False, True):
        supervisor, _, now = moving()
        supervisor.stop(now)
        run(supervisor, now, now + 20 * MS)
        if emergency:
            supervisor.estop(now + 20 * MS)
        sent = [c for c in run(supervisor, now + 20 * MS, now + 2 * NS) if c is not None]
        ends.append(max(c.stamp_ns for c in sent if c.state.velocity.any()) - now)
    assert ends[1] < ends[0] - 20 * MS


@pytest.mark.parametrize("action", ["stop", "estop"])
def test_arming_and_reset_end_the_expectation_of_rest(action: str) -> None:
    """The last measurement precedes the end of the stop, and the next ones move, after arming again or by hand."""
    supervisor = armed()
    supervisor.tick(T0)
    getattr(supervisor, action)(T0)
    end = T0 + 102 * MS
    supervisor.joint_state(measured(stamp_ns=T0 + 50 * MS), T0 + 50 * MS)
    supervisor.tick(end - 40 * MS)
    supervisor.tick(end)
    if action == "estop":
        supervisor.monitors.expect_rest(end + 100 * MS)  # as after a longer brake
        assert supervisor.reset(end).success
    else:
        assert supervisor.mode is Mode.STOPPED
        supervisor.monitors.expect_rest(end + 100 * MS)
        assert supervisor.arm(end).success
    for now in range(end, end + NS, 10 * MS):
        moved = JointState(now, LIMITS.joints, START, np.ones(3))
        supervisor.joint_state(moved, now)
        supervisor.tick(now)
    assert supervisor.mode is (Mode.READY if action == "estop" else Mode.RUNNING)


def test_a_reset_while_running_is_refused() -> None:
    supervisor = armed()
    assert not supervisor.reset(T0).success
    assert supervisor.mode is Mode.RUNNING


def test_overspeed_while_held_is_an_emergency_stop() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.stop(T0)
    run(supervisor, T0, T0 + NS)
    for now in range(T0 + NS, T0 + NS + 20 * MS, 2 * MS):
        supervisor.joint_state(JointState(now, LIMITS.joints, START, np.full(3, 9.0)), now)
        supervisor.tick(now)
    assert supervisor.mode is Mode.ESTOPPED
    assert "moves at 9.00" in supervisor.reason


def test_a_loop_stall_while_holding_still_has_no_effect():
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.joint_state(measured(stamp_ns=T0 + 300 * MS), T0 + 300 * MS)
    assert supervisor.tick(T0 + 300 * MS) is not None
    assert supervisor.mode is Mode.RUNNING


def in_slow_motion() -> tuple[Supervisor, int]:
    """A supervisor during a motion so in_slow_motion that it stays near its last command for a long time."""
    supervisor = armed(T0)
    supervisor.tick(T0)
    active_plan = supervisor.active_plan()
    slope = START + 0.05 * np.linspace(0, 1, 60)[:, None]
    plan = PLANNER.plan(Chunk.from_rate(T0, LIMITS.joints, slope, 1 / 30), active_plan, T0)
    assert supervisor.plan(plan, T0) is None
    run(supervisor, T0, T0 + 600 * MS)
    return supervisor, T0 + 600 * MS


@pytest.mark.parametrize(("stall_s", "mode"), [(0.299, Mode.RUNNING), (0.3, Mode.RUNNING), (0.301, Mode.STOPPING)])
def test_a_loop_stall_during_a_slow_motion_is_a_stop(stall_s: float, mode: Mode) -> None:
    supervisor, now = in_slow_motion()
    before = supervisor.tick(now)
    later = now + round(stall_s * NS)
    supervisor.joint_state(measured(before.state.position, later), later)
    command = supervisor.tick(later)
    assert np.abs(command.state.position - before.state.position).max() <= supervisor.config.max_command_step_rad
    assert supervisor.mode is mode
    assert supervisor.fault_counts["loop_stall"] == (mode is Mode.STOPPING)
    assert ("stalled for 0.301 s" in supervisor.reason) == (mode is Mode.STOPPING)


def test_a_loop_stall_at_rest_has_no_effect() -> None:
    supervisor, plan, _ = moving()
    run(supervisor, plan.start_ns, plan.end_ns + 10 * MS)
    later = plan.end_ns + NS
    supervisor.joint_state(measured(plan.at(plan.end_ns).position, later), later)
    supervisor.tick(later)
    assert supervisor.mode is Mode.RUNNING
    assert not supervisor.fault_counts["loop_stall"]


def test_loss_of_an_input_stops_the_arm_before_the_end_of_its_plan() -> None:
    supervisor, plan, now = moving()
    while supervisor.mode is Mode.RUNNING:
        now += 2 * MS
        supervisor.tick(now)
    assert plan not in supervisor.motions, "the stop starts in the tick of the fault"
    commands = run(supervisor, now, plan.end_ns, joint_states=False)
    rested = next(c.stamp_ns for c in commands if c.stamp_ns > now and not c.state.velocity.any())
    assert supervisor.mode is Mode.STOPPED
    assert rested < plan.end_ns - NS // 2
    assert "no joint state" in supervisor.reason
