"""A supervisor that is armed, in mid-motion, or given plans with one thing wrong."""

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


def reach(supervisor: Supervisor, now: int, target: float = 1.0) -> Plan:
    """A plan that carries every joint towards `target`, from the plan in force."""
    active_plan = supervisor.active_plan()
    assert active_plan is not None
    plan = PLANNER.plan(Chunk.from_rate(now, LIMITS.joints, np.full((60, 3), target), 1 / 30), active_plan, now)
    assert isinstance(plan, Plan)
    return plan


def run(supervisor: Supervisor, start: int, end: int, *, fresh: bool = True) -> list:
    """Commands every 2 ms, with joint states of an arm that obeys, or without."""
    commands = []
    pose = START if supervisor.monitors.measured is None else supervisor.monitors.measured.positions
    for now in range(start, end, 2 * MS):
        if fresh:
            supervisor.joint_state(measured(pose, now), now)
        commands.append(supervisor.tick(now))
        pose = commands[-1].state.position if commands[-1] else pose
    return commands


def moving(now: int = T0) -> tuple[Supervisor, Plan, int]:
    """A supervisor 0.3 s into a motion."""
    supervisor = armed(now)
    supervisor.tick(now)
    plan = reach(supervisor, now)
    assert supervisor.plan(plan, now) is None
    run(supervisor, now, now + 300 * MS)
    return supervisor, plan, now + 300 * MS


def speed(supervisor: Supervisor, now: int) -> float:
    command = supervisor.tick(now)
    assert command is not None
    return float(np.abs(command.state.velocity).max())


def changed(plan: Plan, **fields: object) -> Plan:
    names_ = ("joints", "start_ns", "offsets_ns", "positions", "velocities", "accelerations")
    return Plan(**{**{n: getattr(plan, n) for n in names_}, **fields})


def bad_plans(plan: Plan) -> dict[str, list[Plan]]:
    """Plans that differ from a good one in what is named, and in nothing else."""
    first, last = np.zeros_like(plan.positions), np.zeros_like(plan.positions)
    first[0, 1], last[-1, 1] = 1.0, 1.0
    far = np.zeros_like(plan.positions)
    far[5, 2] = 1.0
    two = np.array([0, 1000])
    short = {f: getattr(plan, f)[[0, -1]] for f in ("positions", "velocities", "accelerations")}
    return {
        "joints": [
            plan.reordered(LIMITS.joints[::-1]),
            changed(plan, joints=("joint_0", "joint_1", "other")),
        ],
        "late": [
            changed(plan, start_ns=T0 - MS),
            changed(plan, start_ns=plan.start_ns - NS),
            changed(plan, start_ns=0),
        ],
        "early": [changed(plan, start_ns=T0 + NS + MS), changed(plan, start_ns=2**60 + plan.start_ns)],
        "handover": [
            changed(plan, positions=plan.positions + 1.1e-9 * first),
            changed(plan, velocities=plan.velocities + 1.1e-9 * first),
            changed(plan, accelerations=plan.accelerations + 1.1e-9 * first),
            changed(plan, positions=plan.positions + 1e300 * first),
        ],
        "spacing": [changed(plan, offsets_ns=two, **short)],
        "not_at_rest": [
            changed(plan, velocities=plan.velocities + 1e-8 * last),
            changed(plan, accelerations=plan.accelerations + 1e-8 * last),
        ],
        "limits": [
            changed(plan, positions=plan.positions + 3.0 * far),
            changed(plan, velocities=plan.velocities + 5.0 * far),
            changed(plan, accelerations=plan.accelerations + 20.0 * far),
            changed(plan, accelerations=plan.accelerations + 1e300 * far),
        ],
    }
