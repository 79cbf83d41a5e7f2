"""A chunk that is a curve: held without error, slowed, cut and followed as a curve, and refused where it is none."""

import numpy as np
import pytest
from core.draw import SEED, T0, any_plan, arm_limits, names, rng_of
from hypothesis import given

from vla_ros.core.errors import RecordError
from vla_ros.core.records import NS, Chunk, Refusal
from vla_ros.core.trajectory import Plan
from vla_ros.planning import objective as follow
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.limit_certificate import certify


def of_plan(plan: Plan) -> Chunk:
    """The chunk that says the same as a plan."""
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
def test_a_curve_is_the_quintic_a_plan_of_the_same_numbers_is(seed: int) -> None:
    rng = rng_of(seed)
    plan = any_plan(rng)
    some = of_plan(plan)
    t = rng.integers(0, plan.offsets_ns[-1], 50)
    np.testing.assert_allclose(some.sample(t / NS), plan.derivative(plan.start_ns + t, 0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(some.sample(np.array([-1.0, 1e9])), plan.positions[[0, -1]], rtol=0, atol=1e-9)
    turn = rng.permutation(3)
    turned = some.in_order([plan.joints[i] for i in turn])
    np.testing.assert_array_equal(turned.sample(t / NS), some.sample(t / NS)[:, turn])


@given(seed=SEED)
def test_a_slowed_curve_is_the_same_path_later(seed: int) -> None:
    rng = rng_of(seed)
    some, scale = of_plan(any_plan(rng)), float(rng.uniform(0.05, 1.0))
    x = rng.uniform(0.0, some.offsets_s[-1], 30)
    slow = some.slowed(scale)
    assert slow.curved
    np.testing.assert_allclose(slow.sample(x / scale), some.sample(x), rtol=0, atol=1e-9)


def test_waypoints_of_a_curve_lie_on_it() -> None:
    some = curve()
    points = some.as_waypoints(0.05)
    assert not points.curved
    assert len(points.positions) == 32
    np.testing.assert_array_equal(points.positions, some.sample(points.offsets_s))
    assert points.as_waypoints(0.1) is points


@pytest.mark.parametrize(
    ("fields", "sentence"),
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
def test_what_is_no_curve_is_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(RecordError, match=sentence) as caught:
        curve(**fields)  # type: ignore[arg-type]
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("field", ["positions", "velocities", "accelerations"])
@pytest.mark.parametrize("factor", [1e3, 1e290, -1e290])
@pytest.mark.parametrize("late_s", [0.0, 0.3])
@pytest.mark.parametrize("memory", [0.0, 0.85])
def test_a_senseless_curve_makes_a_proved_plan_or_a_refusal(
    field: str, factor: float, late_s: float, memory: float
) -> None:
    numbers = np.array(getattr(curve(), field))
    numbers[5:] += factor
    limits = arm_limits(2)
    plan = Planner(limits, PlannerConfig(memory=memory)).plan(
        curve(**{field: numbers}),  # type: ignore[arg-type]
        Plan.hold(names(2), np.zeros(2), T0),
        T0 + int(late_s * NS),
    )
    if isinstance(plan, Refusal):
        assert plan.reason in ("disagreement", "infeasible")
    else:
        assert certify(plan, limits).permitted


def run(chunks: list[Chunk], planner: Planner) -> list[Plan]:
    """Plans of chunks that each come 0.1 s late."""
    plans = [Plan.hold(names(2), np.zeros(2), T0)]
    for chunk in chunks:
        plan = planner.plan(chunk, plans[-1], chunk.stamp_ns + NS // 10)
        assert isinstance(plan, Plan), plan
        plans.append(plan)
    return plans[1:]


def error(plan: Plan, chunk: Chunk) -> float:
    """Mean distance of plan and curve from 0.3 s after the hand-over to 0.3 s before the end, rms [rad]."""
    t = np.linspace(plan.start_ns + 0.3 * NS, chunk.stamp_ns + 1.3 * NS, 200).astype(np.int64)
    return float(np.sqrt(np.mean((plan.derivative(t, 0) - chunk.sample((t - chunk.stamp_ns) / NS)) ** 2)))


def test_a_curve_is_followed_as_closely_as_many_waypoints_and_closer_than_few() -> None:
    whole = curve()
    one, many, few = (
        error(run([c], Planner(arm_limits(2)))[0], whole)
        for c in (whole, whole.as_waypoints(0.01), whole.as_waypoints(0.4))
    )
    assert one < 6e-3
    assert one < 1.02 * many
    assert one < few / 3


def test_three_points_a_piece_plan_as_six_do(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [curve(T0 + k * NS // 4, 7) for k in range(2)]
    three = run(chunks, Planner(arm_limits(2)))
    nodes, weights = np.polynomial.legendre.leggauss(6)
    monkeypatch.setattr(follow, "_LEFT", (nodes + 1.0) / 2.0)
    monkeypatch.setattr(follow, "_WEIGHT", weights / 2.0)
    six = run(chunks, Planner(arm_limits(2)))
    for a, b in zip(three, six, strict=True):
        assert 0.0 < np.abs(a.positions - b.positions).max() < 5e-5


def test_the_points_of_two_chunks_integrate_what_lies_between() -> None:
    t, w = follow.quadrature(0.2, 1.0, np.array([-1.0, 0.5, 2.0]), np.array([0.1, 0.5, 0.7]))
    assert w.sum() == pytest.approx(0.8)
    assert (w * np.abs(t - 0.5)).sum() == pytest.approx((0.3**2 + 0.5**2) / 2)
    assert (np.diff(t) >= 0.0).all()


def test_what_of_a_curve_lies_past_the_horizon_waits_for_the_next_chunk() -> None:
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
