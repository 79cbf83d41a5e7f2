"""The certificate against the truth, which is sampled here from polynomials built by the test itself."""

import numpy as np
import pytest
from core.draw import SEED, T0, any_limits, any_plan, names, rng_of
from hypothesis import given, settings

from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.safety.limit_certificate import QUANTITIES, certify

HERMITE = np.linalg.inv(
    [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 2, 0, 0, 0],
        [1, 1, 1, 1, 1, 1],
        [0, 1, 2, 3, 4, 5],
        [0, 0, 2, 6, 12, 20],
    ]
)
"""From (p, v, a) at both ends of a piece of length 1 to monomial coefficients."""


def powers(count: int) -> np.ndarray:
    """From monomial coefficients to values and three derivatives at `count` points of [0, 1], (4, count, 6)."""
    u = np.linspace(0.0, 1.0, count)
    rows = []
    for k in range(4):
        one = [np.polynomial.Polynomial.basis(n).deriv(k)(u) if k else u**n for n in range(6)]
        rows.append(np.stack(one, axis=1))
    return np.array(rows)


POWERS = powers(200)


def sampled(plan: Plan) -> np.ndarray:
    """Position, velocity, acceleration and jerk at 200 instants of every piece, shape (4, M * 200, J)."""
    out = []
    for i, span in enumerate(np.diff(plan.offsets_ns)):
        h = span / 1e9
        scale = np.array([1.0, h, h * h])[:, None]
        ends = [np.stack([plan.positions[k], plan.velocities[k], plan.accelerations[k]]) * scale for k in (i, i + 1)]
        values = POWERS @ (HERMITE @ np.concatenate(ends))
        out.append(values / np.array([1.0, h, h**2, h**3])[:, None, None])
    return np.concatenate(out, axis=1)


def peaks(plan: Plan, limits: Limits) -> np.ndarray:
    """Largest |value| over limit of each quantity of each joint, shape (4, J); position from mid-range."""
    values = sampled(plan)
    values[0] -= (limits.lower + limits.upper) / 2
    half = (limits.upper - limits.lower) / 2
    most = np.stack([half, limits.velocity, limits.acceleration, limits.jerk])
    return np.abs(values).max(axis=1) / most


def fitting(plan: Plan, rng: np.random.Generator, ratio: float) -> Limits:
    """Limits of which the plan uses the part `ratio` in one quantity, and less in every other."""
    values = sampled(plan)
    lower, upper = values[0].min(axis=0), values[0].max(axis=0)
    peak = np.abs(values).max(axis=1) / rng.uniform(0.3, 1.0, (4, len(plan.joints)))
    half = (upper - lower) / 2 / rng.uniform(0.3, 1.0, len(plan.joints))
    quantity, joint = rng.integers(4), rng.integers(len(plan.joints))
    if quantity:
        peak[quantity, joint] = np.abs(values[quantity, :, joint]).max() / ratio
    else:
        half[joint] = (upper - lower)[joint] / 2 / ratio
    middle = (lower + upper) / 2
    return Limits(plan.joints, middle - half, middle + half, peak[1], peak[2], peak[3])


@settings(max_examples=60)
@given(seed=SEED)
def test_nothing_that_violates_is_permitted_and_nearly_all_else_is(seed: int) -> None:
    rng, wrongly = rng_of(seed), 0
    for _ in range(50):
        plan = any_plan(rng, joints=int(rng.integers(1, 4)))
        limits = fitting(plan, rng, float(rng.choice([0.9, 0.98, 0.999, 1.00001, 1.01, 1.1])))
        peak, verdict = peaks(plan, limits).max(), certify(plan, limits)
        assert not (verdict.permitted and peak > 1 + 1e-6), (peak, verdict)
        wrongly += peak <= 0.98 and not verdict.permitted
    assert wrongly <= 0.01 * 50


@settings(max_examples=20)
@given(seed=SEED)
def test_short_pieces_far_from_the_middle_are_not_permitted_by_rounding(seed: int) -> None:
    rng = rng_of(seed)
    for _ in range(25):
        offsets = np.array([0, 1_000_000, 2_000_000, 200_000_000])
        p = np.full((4, 1), rng.uniform(-3.0, 3.0))
        p[:2] += rng.normal(0.0, 1e-8, (2, 1))
        plan = Plan(names(1), T0, offsets, p, np.zeros((4, 1)), np.zeros((4, 1)))
        jerk = np.abs(sampled(plan)[3]).max()
        one = np.ones(1)
        for ratio in (0.97, 1.0001, 1.001, 1.01):
            limits = Limits(names(1), -4 * one, 4 * one, 10 * one, 100 * one, jerk / ratio * one)
            assert certify(plan, limits).permitted == (ratio < 1), ratio


@pytest.mark.parametrize("quantity", range(4))
@pytest.mark.parametrize("joint", range(3))
def test_the_verdict_names_joint_and_quantity(quantity: int, joint: int) -> None:
    plan = any_plan(rng_of(quantity * 3 + joint))
    loose = fitting(plan, rng_of(0), 0.5)
    tight = [loose.velocity.copy(), loose.acceleration.copy(), loose.jerk.copy()]
    lower, upper = loose.lower - 1.0, loose.upper + 1.0
    peak = np.abs(sampled(plan)[quantity][:, joint]).max()
    if quantity:
        tight[quantity - 1][joint] = peak / 1.5
    else:
        upper = upper.copy()
        upper[joint] = plan.positions[:, joint].max() - 0.05
    verdict = certify(plan, Limits(plan.joints, lower, upper, *tight))
    assert (verdict.permitted, verdict.reason) == (False, "limits")
    assert (verdict.joint, verdict.quantity) == (plan.joints[joint], QUANTITIES[quantity])
    assert verdict.ratio > 1.0
    assert verdict.joint in str(verdict)


@given(seed=SEED)
def test_a_permitted_plan_says_how_close_it_comes(seed: int) -> None:
    rng = rng_of(seed)
    plan = any_plan(rng)
    limits = fitting(plan, rng, 0.9)
    verdict = certify(plan, limits)
    if verdict.permitted:
        assert peaks(plan, limits).max() - 1e-9 <= verdict.ratio <= 1 + 1e-9


@given(seed=SEED)
def test_plans_are_judged_the_same_when_time_or_angle_are_scaled(seed: int) -> None:
    rng = rng_of(seed)
    plan = any_plan(rng)
    limits = fitting(plan, rng, float(rng.choice([0.9, 1.1])))
    k, stretch = float(rng.uniform(0.1, 10.0)), int(rng.integers(2, 6))
    other = Plan(
        plan.joints,
        T0,
        plan.offsets_ns * stretch,
        plan.positions * k,
        plan.velocities * k / stretch,
        plan.accelerations * k / stretch**2,
    )
    scaled = Limits(
        limits.joints,
        limits.lower * k,
        limits.upper * k,
        limits.velocity * k / stretch,
        limits.acceleration * k / stretch**2,
        limits.jerk * k / stretch**3,
    )
    assert certify(other, scaled).permitted == certify(plan, limits).permitted


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [1e6, 1e155, 1e300, -1e308, 1.7e308])
@pytest.mark.parametrize("field", ["positions", "velocities", "accelerations"])
@pytest.mark.parametrize("knot", [0, 1])
def test_huge_values_are_refused(field: str, value: float, knot: int) -> None:
    values = {f: np.zeros((3, 2)) for f in ("positions", "velocities", "accelerations")}
    values[field][knot, 1] = value
    plan = Plan(names(2), T0, np.array([0, NS, 2 * NS]), **values)
    verdict = certify(plan, any_limits(rng_of(0), joints=2))
    assert (verdict.permitted, verdict.reason) == (False, "limits")
    assert str(verdict).endswith(".")


def still(offsets_ns: list[int], joints: tuple[str, ...] = names(2)) -> dict:
    zero = np.zeros((len(offsets_ns), len(joints)))
    return {
        "joints": joints,
        "start_ns": T0,
        "offsets_ns": np.array(offsets_ns),
        "positions": zero,
        "velocities": zero,
        "accelerations": zero,
    }


def wide(joints: tuple[str, ...] = names(2)) -> Limits:
    one = np.ones(len(joints))
    return Limits(joints, -one, one, one, one, one)


@pytest.mark.parametrize("offsets", [[0, 1], [0, 999_999, NS], [0, NS, NS + 999_999]])
def test_pieces_too_short_to_prove_are_refused(offsets: list[int]) -> None:
    assert certify(Plan(**still(offsets)), wide()).reason == "spacing"


def test_a_piece_of_the_shortest_length_is_permitted() -> None:
    assert certify(Plan(**still([0, 1_000_000])), wide()).permitted


@pytest.mark.parametrize("field", ["velocities", "accelerations"])
@pytest.mark.parametrize("value", [2e-9, -2e-9, 0.5])
def test_a_plan_that_does_not_end_at_rest_is_refused(field: str, value: float) -> None:
    moving = np.zeros((2, 2))
    moving[-1, 1] = value
    assert certify(Plan(**{**still([0, NS]), field: moving}), wide()).reason == "not_at_rest"


@pytest.mark.parametrize("joints", [names(2)[::-1], names(1), names(3), ("a", "b")])
def test_other_joints_are_refused(joints: tuple[str, ...]) -> None:
    verdict = certify(Plan(**still([0, NS], joints)), wide())
    assert (verdict.permitted, verdict.reason) == (False, "joints")
    assert str(verdict) == "not permitted: joints."


def test_a_long_plan_is_judged_before_the_next_few_ticks() -> None:
    """One thousand pieces for seven joints: the judge must not hold up the commands."""
    plan = Plan(**still([i * 2_000_000 for i in range(1001)], names(7)))
    assert certify(plan, wide(names(7))).permitted
