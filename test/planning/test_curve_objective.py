"""Chunks that are curves: exact representation, time scaling, planning, and refusal of invalid ones."""

import numpy as np
import pytest
from core.generators import SEED, T0, arm_limits, names, random_plan, rng_of
from hypothesis import given

from vla_ros.core.errors import RecordError
from vla_ros.core.records import NS, Chunk, Refusal
from vla_ros.core.trajectory import Plan
from vla_ros.planning import objective
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.limit_certificate import certify


def of_plan(plan: Plan) -> Chunk:
    """The chunk that is the same curve as a plan."""
    numbers = (plan.positions, plan.velocities, plan.accelerations)
    return Chunk(plan.start_ns, plan.joints, plan.offsets_ns / NS, *numbers)


def wave(t: np.ndarray, joints: int = 2) -> list[np.ndarray]:
    """Position, velocity and acceleration of a slow motion inside `arm_limits`, (n, J) each."""
    w, phase = 2 * np.pi * 0.25, np.arange(joints)
    angle = w * t[:, None] + phase
    return [0.5 * (np.sin(angle) - np.sin(phase)), 0.5 * w * np.cos(angle), -0.5 * w * w * np.sin(angle)]


def curve(stamp_ns: int = T0, knots: int = 8, end_s: float = 1.6, joints: int = 2, **fields: object) -> Chunk:
    t = np.linspace(0.0, end_s, knots)
    values = dict(zip(("positions", "velocities", "accelerations"), wave(t, joints), strict=True))
    return Chunk(**{"stamp_ns": stamp_ns, "joints": names(joints), "offsets_s": t, **values, **fields})  # type: ignore[arg-type]


@given(seed=SEED)
def test_a_curve_equals_the_plan_with_the_same_knots(seed: int) -> None:
    rng = rng_of(seed)
    plan = random_plan(rng)
    some = of_plan(plan)
    t = rng.integers(0, plan.offsets_ns[-1], 50)
    np.testing.assert_allclose(some.sample(t / NS), plan.derivative(plan.start_ns + t, 0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(some.sample(np.array([-1.0, 1e9])), plan.positions[[0, -1]], rtol=0, atol=1e-9)
    permutation = rng.permutation(3)
    permuted = some.reordered([plan.joints[i] for i in permutation])
    np.testing.assert_array_equal(permuted.sample(t / NS), some.sample(t / NS)[:, permutation])


@given(seed=SEED)
def test_a_time_scaled_curve_is_the_same_path(seed: int) -> None:
    rng = rng_of(seed)
    some, scale = of_plan(random_plan(rng)), float(rng.uniform(0.05, 1.0))
    x = rng.uniform(0.0, some.offsets_s[-1], 30)
    slow = some.time_scaled(scale)
    assert slow.is_curve
    np.testing.assert_allclose(slow.sample(x / scale), some.sample(x), rtol=0, atol=1e-9)


def test_waypoints_of_a_curve_lie_on_it() -> None:
    some = curve()
    points = some.as_waypoints(0.05)
    assert not points.is_curve
    assert len(points.positions) == 32
    np.testing.assert_array_equal(points.positions, some.sample(points.offsets_s))
    assert points.as_waypoints(0.1) is points


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"velocities": None}, "needs velocities, accelerations"),
        ({"accelerations": None}, "needs velocities, accelerations"),
        ({"offsets_s": [0.1], **{n: [[0.0, 0.0]] for n in ("positions", "velocities", "accelerations")}}, "two knots"),
        ({"velocities": np.zeros((8, 1))}, "must have shape"),
        ({"accelerations": np.zeros((7, 2))}, "must have shape"),
        ({"velocities": np.full((8, 2), np.nan)}, "finite"),
        ({"accelerations": np.full((8, 2), np.inf)}, "finite"),
        ({"velocities": np.full((8, 2), 1.7e308)}, "too large"),
        ({"positions": np.tile([[1e308], [-1e308]], (4, 2))}, "too large"),
        ({"offsets_s": [*range(7), 1e300]}, "too large"),
    ],
    ids=str,
)
def test_an_invalid_curve_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(RecordError, match=message) as caught:
        curve(**fields)  # type: ignore[arg-type]
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("field", ["positions", "velocities", "accelerations"])
@pytest.mark.parametrize("factor", [1e3, 1e290, -1e290])
@pytest.mark.parametrize("late_s", [0.0, 0.3])
@pytest.mark.parametrize("ensemble_weight", [0.0, 0.85])
def test_an_extreme_curve_makes_a_certified_plan_or_a_refusal(
    field: str, factor: float, late_s: float, ensemble_weight: float
) -> None:
    numbers = np.array(getattr(curve(), field))
    numbers[5:] += factor
    limits = arm_limits(2)
    plan = Planner(limits, PlannerConfig(ensemble_weight=ensemble_weight)).plan(
        curve(**{field: numbers}),  # type: ignore[arg-type]
        Plan.hold(names(2), np.zeros(2), T0),
        T0 + int(late_s * NS),
    )
    if isinstance(plan, Refusal):
        assert plan.reason in ("handover_error", "infeasible")
    else:
        assert certify(plan, limits).permitted


def run(chunks: list[Chunk], planner: Planner) -> list[Plan]:
    """Plans of chunks that each arrive 0.1 s late."""
    plans = [Plan.hold(names(2), np.zeros(2), T0)]
    for chunk in chunks:
        plan = planner.plan(chunk, plans[-1], chunk.stamp_ns + NS // 10)
        assert isinstance(plan, Plan), plan
        plans.append(plan)
    return plans[1:]


def error(plan: Plan, chunk: Chunk) -> float:
    """Mean distance of plan and curve from 0.3 s after the handover to 0.3 s before the end, rms [rad]."""
    t = np.linspace(plan.start_ns + 0.3 * NS, chunk.stamp_ns + 1.3 * NS, 200).astype(np.int64)
    return float(np.sqrt(np.mean((plan.derivative(t, 0) - chunk.sample((t - chunk.stamp_ns) / NS)) ** 2)))


def test_a_curve_is_followed_as_closely_as_many_waypoints_and_closer_than_few() -> None:
    complete = curve()
    one, many, few = (
        error(run([c], Planner(arm_limits(2)))[0], complete)
        for c in (complete, complete.as_waypoints(0.01), complete.as_waypoints(0.4))
    )
    assert one < 6e-3
    assert one < 1.02 * many
    assert one < few / 3


def test_three_points_a_piece_plan_as_six_do(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [curve(T0 + k * NS // 4, 7) for k in range(2)]
    three = run(chunks, Planner(arm_limits(2)))
    nodes, weights = np.polynomial.legendre.leggauss(6)
    monkeypatch.setattr(objective, "_NODES", (nodes + 1.0) / 2.0)
    monkeypatch.setattr(objective, "_WEIGHTS", weights / 2.0)
    six = run(chunks, Planner(arm_limits(2)))
    for a, b in zip(three, six, strict=True):
        assert 0.0 < np.abs(a.positions - b.positions).max() < 5e-5


def test_the_quadrature_integrates_between_the_breaks_of_both() -> None:
    t, w = objective.quadrature(0.2, 1.0, np.array([-1.0, 0.5, 2.0]), np.array([0.1, 0.5, 0.7]))
    assert w.sum() == pytest.approx(0.8)
    assert (w * np.abs(t - 0.5)).sum() == pytest.approx((0.3**2 + 0.5**2) / 2)
    assert (np.diff(t) >= 0.0).all()


def test_the_part_of_a_curve_past_the_horizon_is_left_for_the_next_chunk() -> None:
    limits = arm_limits(2)
    config = PlannerConfig(horizon_s=1.0, tail_s=0.5)
    hold = Plan.hold(limits.joints, np.zeros(2), T0)
    plan = Planner(limits, config).plan(curve(end_s=4.0), hold, T0)
    assert isinstance(plan, Plan)
    assert 1.4 * NS < plan.end_ns - plan.start_ns <= 1.55 * NS
    later = curve(offsets_s=np.linspace(1.5, 3.0, 8))
    plan = Planner(limits, config).plan(later, hold, T0)
    assert isinstance(plan, Plan)
    assert certify(plan, limits).permitted
