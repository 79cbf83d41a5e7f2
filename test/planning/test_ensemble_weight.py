"""With an ensemble weight, chunks that agree are averaged and others replace the active plan."""

import numpy as np
import pytest
from core.generators import T0, arm_limits, rng_of
from planning.test_planner import check, motion

from vla_ros.core.records import NS, Chunk
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner, PlannerConfig


def stream_error(ensemble_weight: float, bias: float) -> float:
    """Root mean square tracking error of chunks displaced by `bias` at random, after two seconds."""
    rng, limits = rng_of(3), arm_limits()
    planner = Planner(limits, PlannerConfig(ensemble_weight=ensemble_weight, max_handover_error_rad=1.0))
    active_plan, now, errors = Plan.hold(limits.joints, motion(np.zeros(1))[0], T0), T0, []
    for _ in range(60):
        stamp, now = now, now + NS // 5
        t = (stamp - T0) / NS + np.arange(1, 51) / 30
        chunk = Chunk.from_rate(stamp, limits.joints, motion(t) + rng.normal(0.0, bias, 6), 1 / 30)
        plan = planner.plan(chunk, active_plan, now)
        assert isinstance(plan, Plan), plan
        check(plan, active_plan, limits)
        active_plan = plan
        times = plan.start_ns + np.arange(0, 200_000_000, 10_000_000)
        if now > T0 + 2 * NS:
            errors.append(plan.at(times).position - motion((times - T0) / NS))
    return float(np.sqrt(np.mean(np.square(errors))))


def test_chunks_that_agree_are_averaged() -> None:
    assert stream_error(0.85, bias=0.02) < 0.6 * stream_error(0.0, bias=0.02)


def test_the_ensemble_adds_no_error_without_noise() -> None:
    assert stream_error(0.85, bias=0.0) < 1.2 * stream_error(0.0, bias=0.0) + 1e-3


@pytest.mark.parametrize("ensemble_weight", [0.0, 0.5, 0.9])
def test_a_changed_target_is_followed_immediately(ensemble_weight: float) -> None:
    limits = arm_limits()
    planner = Planner(limits, PlannerConfig(ensemble_weight=ensemble_weight))
    active_plan = Plan.hold(limits.joints, np.zeros(6), T0)
    for k, target in enumerate((0.0, 0.0, 0.0, 0.4)):
        now = T0 + (k + 1) * NS // 5
        plan = planner.plan(Chunk.from_rate(now, limits.joints, np.full((50, 6), target), 1 / 30), active_plan, now)
        assert isinstance(plan, Plan), plan
        check(plan, active_plan, limits)
        active_plan = plan
    np.testing.assert_allclose(active_plan.positions[-1], 0.4, atol=5e-3)


def test_a_plan_at_rest_has_no_weight() -> None:
    limits = arm_limits()
    active_plan = Plan.hold(limits.joints, np.zeros(6), T0)
    chunk = Chunk.from_rate(T0, limits.joints, np.full((50, 6), 0.1), 1 / 30)
    with_ensemble, without = (
        Planner(limits, PlannerConfig(ensemble_weight=m)).plan(chunk, active_plan, T0) for m in (0.9, 0.0)
    )
    assert isinstance(with_ensemble, Plan)
    assert isinstance(without, Plan)
    np.testing.assert_array_equal(with_ensemble.positions, without.positions)
