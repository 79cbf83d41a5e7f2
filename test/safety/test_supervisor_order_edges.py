"""What the supervisor takes for the motion that counts, and what it forgets when it is armed, stopped or reset."""

import dataclasses

import numpy as np
from core.draw import T0
from safety.arm import LIMITS, MS, START, armed, measured, reach

from vla_ros.core.trajectory import Plan
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor, SupervisorConfig


def hold(start_ns: int, pose: np.ndarray = START) -> Plan:
    return Plan.hold(LIMITS.joints, pose, start_ns)


def by_hand(supervisor: Supervisor, now: int) -> list[str]:
    """Joint states of an arm that stands where it is and says that it moves; the faults they cause."""
    moving = dataclasses.replace(measured(stamp_ns=now), velocities=np.full(3, 0.3))
    assert supervisor.joint_state(moving, now) is None
    supervisor.tick(now)
    return [fault.name for fault in supervisor.faults]


def test_the_motion_that_counts_is_the_newest_that_has_begun() -> None:
    supervisor = armed()
    first, second = hold(T0), hold(T0 + 10)
    supervisor._motions = [first, second]
    for at, counts, begun in ((-5, first, first), (0, first, first), (9, first, first), (10, second, first)):
        assert supervisor._motion_at(T0 + at) is counts
        assert supervisor._motion_at(T0 + at, pending=False) is begun
    assert supervisor._motion_at(T0 + 11, pending=False) is second


def test_a_plan_replaces_one_that_begins_at_the_same_instant() -> None:
    supervisor = armed()
    plan = reach(supervisor, T0)
    again = dataclasses.replace(plan)
    assert supervisor.plan(plan, T0) is None
    assert supervisor.plan(again, T0) is None
    assert supervisor.motions[1:] == (again,)
    assert len(supervisor.motions) == 2


def test_a_step_of_nothing_is_none_though_none_is_granted() -> None:
    supervisor = Supervisor(LIMITS, SupervisorConfig(handover_tolerance=0.0))
    supervisor.joint_state(measured(), T0)
    assert supervisor.arm(T0).ok
    assert supervisor.plan(hold(T0 + MS), T0) is None


def test_as_far_as_the_largest_step_is_no_stall_but_may_not_be_sent() -> None:
    supervisor = armed()
    zero = np.zeros(3)
    assert supervisor.tick(T0) is not None
    supervisor._last = dataclasses.replace(supervisor._last, state=supervisor._last.state._replace(position=zero))
    supervisor._motions = [hold(T0, zero + 0.1)]
    assert supervisor.tick(T0 + 2 * MS) is None
    assert dict(supervisor.faulted) == {"command": 1}


def test_armed_at_once_after_a_stop_the_stop_is_over() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.stop(T0)
    end = supervisor.motions[0].end_ns
    supervisor.tick(end)
    assert supervisor.mode is Mode.STOPPED
    assert supervisor.motions
    assert supervisor.at_rest
    assert supervisor.arm(end).ok
    assert by_hand(supervisor, end + 600 * MS) == []
    assert supervisor.mode is Mode.RUNNING


def test_reset_at_once_after_an_emergency_stop_the_arm_may_be_moved_by_hand() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.estop(T0)
    supervisor.tick(T0 + 2 * MS)
    assert supervisor.reset(T0 + 2 * MS).ok
    assert by_hand(supervisor, T0 + 700 * MS) == []
    assert supervisor.mode is Mode.READY


def test_a_fault_while_stopped_does_not_change_why_it_was_stopped() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.stop(T0)
    end = supervisor.motions[0].end_ns
    supervisor.tick(end)
    supervisor.watch.publishers(1)
    supervisor.tick(end + MS)
    assert [fault.name for fault in supervisor.faults] == ["second_publisher"]
    assert (supervisor.mode, supervisor.reason) == (Mode.STOPPED, "asked to stop")


def test_just_armed_nobody_misses_a_plan() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    assert supervisor.faults == []
