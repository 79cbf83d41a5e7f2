"""Properties that hold for the limits of every robot; a new file in config/robots is tested automatically."""

from __future__ import annotations

import numpy as np
import pytest
from contract.robots import ROBOTS
from core.generators import T0, assert_within_limits, instants, random_chunk

from vla_ros.core.limit_monitor import check_limits
from vla_ros.core.records import NS, Chunk, JointState
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan, State
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.gate import Command, check_certificate, command_permitted
from vla_ros.safety.limit_certificate import QUANTITIES, certify
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.stopping import Brake, brake, emergency, path_stop
from vla_ros.safety.supervisor import Supervisor

MS = NS // 1000
PLANS, CHUNKS = 4, 60
"""Number of plans, and the maximum number of chunks for them: a random chunk may be refused as stale."""
MAX_TICKS = 4000
"""Ticks of 2 ms after which the last plan is at rest: with very low limits no stop along the path fits, and the arm
follows its plan to the end."""
NO_HANDOVER_LIMIT = PlannerConfig(max_handover_error_rad=1e6)

pytestmark = pytest.mark.parametrize("limits", ROBOTS.values(), ids=list(ROBOTS))


def middle(limits: Limits) -> np.ndarray:
    return (limits.lower + limits.upper) / 2


def plan_sequence(limits: Limits, seed: int = 0) -> list[Plan]:
    """Plans from random chunks, each continuing the one before."""
    rng, planner, now = np.random.default_rng(seed), Planner(limits, NO_HANDOVER_LIMIT), T0
    plans = [Plan.hold(limits.joints, middle(limits), now)]
    for _ in range(CHUNKS):
        if len(plans) > PLANS:
            return plans[1:]
        plan = planner.plan(random_chunk(rng, limits, now), plans[-1], now)
        if isinstance(plan, Plan):
            plans.append(plan)
        now += int(rng.uniform(0.05, 0.4) * NS)
    raise AssertionError(f"{len(plans) - 1} plans of {CHUNKS} chunks")


def sample_times(plan: Plan) -> np.ndarray:
    return instants(plan.start_ns, plan.end_ns, 9)


def sampled(motion: object, start_ns: int, end_ns: int) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(start_ns, end_ns + 10 * MS, 3 * MS)
    return times, np.stack([motion.at(int(t)).position for t in times])  # type: ignore[attr-defined]


def test_the_range_exceeds_both_braking_margins(limits: Limits) -> None:
    assert (2 * limits.braking_margin < limits.upper - limits.lower).all()
    assert certify(Plan.hold(limits.joints, middle(limits), T0), limits).permitted


def test_every_plan_is_certified_and_keeps_every_limit(limits: Limits) -> None:
    for seed in range(2):
        for plan in plan_sequence(limits, seed):
            assert check_certificate(plan, limits) is None, str(certify(plan, limits))
            times, positions = sampled(plan, plan.start_ns, plan.end_ns)
            assert_within_limits(times, positions, limits)
            assert not any(check_limits(times, positions, limits).violations.values())


def test_a_target_outside_every_range_ends_inside(limits: Limits) -> None:
    far = middle(limits) + 10 * (limits.upper - limits.lower)
    for target in (far, 2 * middle(limits) - far):
        chunk = Chunk.from_rate(T0, limits.joints, np.tile(target, (60, 1)), 1 / 30)
        plan = Planner(limits, NO_HANDOVER_LIMIT).plan(chunk, Plan.hold(limits.joints, middle(limits), T0), T0)
        assert isinstance(plan, Plan), plan
        assert check_certificate(plan, limits) is None
        end = plan.positions[-1]
        assert (limits.lower < end).all()
        assert (end < limits.upper).all()


@pytest.mark.parametrize("quantity", range(4))
def test_the_certificate_refuses_what_exceeds_one_limit_of_one_joint(limits: Limits, quantity: int) -> None:
    """A permitted plan against limits that are 2 % below the peak of one quantity of one joint."""
    plan = plan_sequence(limits)[-1]
    times = instants(plan.start_ns, plan.end_ns - 1, 4000)
    values = np.abs(plan.derivative(times, quantity) - (middle(limits) if quantity == 0 else 0.0)).max(axis=0)
    for joint, peak in enumerate(values):
        if not peak > 1e-6:
            continue
        bounds = [limits.velocity.copy(), limits.acceleration.copy(), limits.jerk.copy()]
        lower, upper = limits.lower.copy(), limits.upper.copy()
        if quantity:
            bounds[quantity - 1][joint] = peak * 0.98
        else:
            lower[joint], upper[joint] = middle(limits)[joint] - peak * 0.98, middle(limits)[joint] + peak * 0.98
        verdict = certify(plan, Limits(limits.joints, lower, upper, *bounds))
        assert not verdict.permitted
        assert (verdict.joint, verdict.quantity) == (limits.joints[joint], QUANTITIES[quantity])


@pytest.mark.parametrize("stop_method", [path_stop, emergency])
def test_every_stop_keeps_every_limit_and_rests(limits: Limits, stop_method: object) -> None:
    for plan in plan_sequence(limits, 1):
        for now in sample_times(plan):
            stop = stop_method(plan, int(now), limits)  # type: ignore[operator]
            times, positions = sampled(stop, int(now), stop.end_ns)
            assert_within_limits(times, positions, limits)
            rest = stop.at(stop.end_ns)
            assert not rest.velocity.any()
            assert not rest.acceleration.any()


def test_an_emergency_takes_no_longer_than_the_stop_along_the_path(limits: Limits) -> None:
    for plan in plan_sequence(limits, 2):
        for now in sample_times(plan):
            quick = emergency(plan, int(now), limits)
            if isinstance(quick, Brake):
                assert quick.end_ns <= path_stop(plan, int(now), limits).end_ns + 1


def test_with_the_full_braking_margin_every_instant_can_be_braked(limits: Limits) -> None:
    full_margin = limits.acceleration**3 / (6 * limits.jerk**2) <= (limits.upper - limits.lower) / 20
    for plan in plan_sequence(limits, 3):
        for now in sample_times(plan):
            minimum, maximum = brake(plan.at(int(now)), int(now), limits).position_range()
            assert (limits.lower <= minimum)[full_margin].all()
            assert (maximum <= limits.upper)[full_margin].all()


@pytest.mark.parametrize("side", [-1, 1])
def test_the_gate_checks_the_limits_of_every_joint(limits: Limits, side: int) -> None:
    still = np.zeros(len(limits.joints))
    edge = limits.upper if side > 0 else limits.lower

    def permitted(position: np.ndarray, velocity: np.ndarray) -> bool:
        return command_permitted(Command(T0, State(position, velocity, still)), None, limits)

    for joint in range(len(limits.joints)):
        one = np.eye(len(limits.joints))[joint]
        at_edge = np.where(one > 0, edge, middle(limits))
        assert permitted(at_edge, still)
        assert not permitted(at_edge + side * 3e-6 * one, still)
        assert permitted(middle(limits), side * one * limits.velocity)
        assert not permitted(middle(limits), side * one * limits.velocity * 1.002)
        assert not permitted(middle(limits) + np.where(one > 0, np.nan, 0.0), still)
        assert not permitted(middle(limits), np.where(one > 0, np.nan, 0.0))


def run_session(limits: Limits, end: str) -> tuple[Supervisor, list[Command]]:
    """Arm in the middle, follow random chunks, then end the session by `end`; returns every command sent."""
    rng, planner, supervisor = np.random.default_rng(len(end)), Planner(limits, NO_HANDOVER_LIMIT), Supervisor(limits)
    pose, sent = middle(limits), []
    still = np.zeros_like(pose)
    supervisor.joint_state(JointState(T0, limits.joints, pose, still), T0)
    assert supervisor.arm(T0).success
    length = int(rng.uniform(0.8, 1.6) * 500)
    for k in range(length + MAX_TICKS):
        now = T0 + k * 2 * MS
        if k > length and supervisor.at_rest:
            break
        if k % 5 == 0 and not (end == "no_input" and k > length):
            supervisor.joint_state(JointState(now, limits.joints, pose, still), now)
        if k == length and end != "no_input":
            getattr(supervisor, end)(now)
        active_plan = supervisor.active_plan()
        if k % 50 == 0 and k < length and active_plan is not None:
            plan = planner.plan(random_chunk(rng, limits, now), active_plan, now)
            if isinstance(plan, Plan):
                assert supervisor.plan(plan, now) is None
        command = supervisor.tick(now)
        if command is not None:
            pose = command.state.position
            sent.append(command)
    return supervisor, sent


@pytest.mark.parametrize(
    ("end", "mode"), [("stop", Mode.STOPPED), ("estop", Mode.ESTOPPED), ("no_input", Mode.STOPPED)]
)
def test_a_complete_session_keeps_every_limit_and_ends_at_rest(limits: Limits, end: str, mode: Mode) -> None:
    supervisor, sent = run_session(limits, end)
    assert supervisor.mode is mode
    assert supervisor.at_rest
    assert not supervisor.fault_counts["invalid_command"]
    found = check_limits(np.array([c.stamp_ns for c in sent]), np.stack([c.state.position for c in sent]), limits)
    assert not any(found.violations.values()), (found.violations, found.peak_ratio)
    assert not sent[-1].state.velocity.any()
    assert found.peak_ratio["velocity"] > 0.01, "the arm moved"
