"""Supervisors that are armed or executing a motion, and plans with a single defect."""

from __future__ import annotations

import numpy as np
from core.generators import T0, arm_limits

from vla_ros.core.records import NS, Chunk, JointState
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.supervisor import Supervisor

MS = 1_000_000
LIMITS = arm_limits(3)
START = np.array([0.3, -0.2, 0.1])
PLANNER = Planner(LIMITS, PlannerConfig(max_handover_error_rad=10.0))


def measured(positions: np.ndarray = START, stamp_ns: int = T0, joints: tuple[str, ...] = LIMITS.joints) -> JointState:
    return JointState(stamp_ns, joints, positions, np.zeros(len(positions)))


def armed(now: int = T0) -> Supervisor:
    supervisor = Supervisor(LIMITS)
    assert supervisor.joint_state(measured(stamp_ns=now), now) is None
    assert supervisor.arm(now).success
    return supervisor


def plan_towards(supervisor: Supervisor, now: int, target: float = 1.0) -> Plan:
    """A plan that moves every joint towards `target`, from the active plan."""
    active_plan = supervisor.active_plan()
    assert active_plan is not None
    plan = PLANNER.plan(Chunk.from_rate(now, LIMITS.joints, np.full((60, 3), target), 1 / 30), active_plan, now)
    assert isinstance(plan, Plan)
    return plan


def run(supervisor: Supervisor, start: int, end: int, *, joint_states: bool = True) -> list:
    """Commands every 2 ms; with `joint_states`, of an arm that follows its commands exactly."""
    commands = []
    pose = START if supervisor.monitors.measured is None else supervisor.monitors.measured.positions
    for now in range(start, end, 2 * MS):
        if joint_states:
            supervisor.joint_state(measured(pose, now), now)
        commands.append(supervisor.tick(now))
        pose = commands[-1].state.position if commands[-1] else pose
    return commands


def moving(now: int = T0) -> tuple[Supervisor, Plan, int]:
    """A supervisor 0.3 s after the start of a motion, with the plan and the time."""
    supervisor = armed(now)
    supervisor.tick(now)
    plan = plan_towards(supervisor, now)
    assert supervisor.plan(plan, now) is None
    run(supervisor, now, now + 300 * MS)
    return supervisor, plan, now + 300 * MS


def speed(supervisor: Supervisor, now: int) -> float:
    command = supervisor.tick(now)
    assert command is not None
    return float(np.abs(command.state.velocity).max())


def modified(plan: Plan, **fields: object) -> Plan:
    fields_ = ("joints", "start_ns", "offsets_ns", "positions", "velocities", "accelerations")
    return Plan(**{**{n: getattr(plan, n) for n in fields_}, **fields})


def invalid_plans(plan: Plan) -> dict[str, list[Plan]]:
    """Plans that differ from a valid one by a single defect, by the reason of their refusal."""
    first, last = np.zeros_like(plan.positions), np.zeros_like(plan.positions)
    first[0, 1], last[-1, 1] = 1.0, 1.0
    middle = np.zeros_like(plan.positions)
    middle[5, 2] = 1.0
    close_offsets = np.array([0, 1000])
    two_knots = {f: getattr(plan, f)[[0, -1]] for f in ("positions", "velocities", "accelerations")}
    return {
        "joints": [
            plan.reordered(LIMITS.joints[::-1]),
            modified(plan, joints=("joint_0", "joint_1", "other")),
        ],
        "late": [
            modified(plan, start_ns=T0 - MS),
            modified(plan, start_ns=plan.start_ns - NS),
            modified(plan, start_ns=0),
        ],
        "early": [modified(plan, start_ns=T0 + NS + MS), modified(plan, start_ns=2**60 + plan.start_ns)],
        "handover": [
            modified(plan, positions=plan.positions + 1.1e-9 * first),
            modified(plan, velocities=plan.velocities + 1.1e-9 * first),
            modified(plan, accelerations=plan.accelerations + 1.1e-9 * first),
            modified(plan, positions=plan.positions + 1e300 * first),
        ],
        "spacing": [modified(plan, offsets_ns=close_offsets, **two_knots)],
        "not_at_rest": [
            modified(plan, velocities=plan.velocities + 1e-8 * last),
            modified(plan, accelerations=plan.accelerations + 1e-8 * last),
        ],
        "limits": [
            modified(plan, positions=plan.positions + 3.0 * middle),
            modified(plan, velocities=plan.velocities + 5.0 * middle),
            modified(plan, accelerations=plan.accelerations + 20.0 * middle),
            modified(plan, accelerations=plan.accelerations + 1e300 * middle),
        ],
    }
