"""Limit certificate, compared with values sampled from polynomials that the test builds itself."""

import numpy as np
import pytest
from core.generators import SEED, T0, names, random_limits, random_plan, rng_of
from hypothesis import given, settings

from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.safety.limit_certificate import (
    MAX_RATIO,
    MAX_SUBDIVISIONS,
    MIN_SEGMENT_NS,
    QUANTITIES,
    REST_TOLERANCE,
    Verdict,
    certify,
)

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
"""From (p, v, a) at both ends of a segment of length 1 to monomial coefficients."""


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
    """Position, velocity, acceleration and jerk at 200 instants of every segment, shape (4, M * 200, J)."""
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
    bounds = np.stack([half, limits.velocity, limits.acceleration, limits.jerk])
    return np.abs(values).max(axis=1) / bounds


def limits_with_ratio(plan: Plan, rng: np.random.Generator, ratio: float) -> Limits:
    """Limits of which the plan uses the fraction `ratio` in one quantity, and less in every other."""
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
def test_no_violation_is_permitted_and_few_valid_plans_are_refused(seed: int) -> None:
    rng, false_refusals = rng_of(seed), 0
    for _ in range(50):
        plan = random_plan(rng, joints=int(rng.integers(1, 4)))
        limits = limits_with_ratio(plan, rng, float(rng.choice([0.9, 0.98, 0.999, 1.00001, 1.01, 1.1])))
        peak, verdict = peaks(plan, limits).max(), certify(plan, limits)
        assert not (verdict.permitted and peak > 1 + 1e-6), (peak, verdict)
        false_refusals += peak <= 0.98 and not verdict.permitted
    assert false_refusals <= 0.01 * 50


@settings(max_examples=20)
@given(seed=SEED)
def test_short_segments_far_from_mid_range_are_decided_despite_rounding(seed: int) -> None:
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
    plan = random_plan(rng_of(quantity * 3 + joint))
    loose = limits_with_ratio(plan, rng_of(0), 0.5)
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
def test_the_ratio_of_a_permitted_plan_bounds_its_peak(seed: int) -> None:
    rng = rng_of(seed)
    plan = random_plan(rng)
    limits = limits_with_ratio(plan, rng, 0.9)
    verdict = certify(plan, limits)
    if verdict.permitted:
        assert peaks(plan, limits).max() - 1e-9 <= verdict.ratio <= 1 + 1e-9


@given(seed=SEED)
def test_scaling_time_or_angle_does_not_change_the_verdict(seed: int) -> None:
    rng = rng_of(seed)
    plan = random_plan(rng)
    limits = limits_with_ratio(plan, rng, float(rng.choice([0.9, 1.1])))
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
def test_very_large_values_are_refused(field: str, value: float, knot: int) -> None:
    values = {f: np.zeros((3, 2)) for f in ("positions", "velocities", "accelerations")}
    values[field][knot, 1] = value
    plan = Plan(names(2), T0, np.array([0, NS, 2 * NS]), **values)
    verdict = certify(plan, random_limits(rng_of(0), joints=2))
    assert (verdict.permitted, verdict.reason) == (False, "limits")
    assert str(verdict).endswith(".")


def at_rest(offsets_ns: list[int], joints: tuple[str, ...] = names(2)) -> dict:
    zero = np.zeros((len(offsets_ns), len(joints)))
    return {
        "joints": joints,
        "start_ns": T0,
        "offsets_ns": np.array(offsets_ns),
        "positions": zero,
        "velocities": zero,
        "accelerations": zero,
    }


def unit_limits(joints: tuple[str, ...] = names(2)) -> Limits:
    one = np.ones(len(joints))
    return Limits(joints, -one, one, one, one, one)


@pytest.mark.parametrize("offsets", [[0, 1], [0, 999_999, NS], [0, NS, NS + 999_999]])
def test_segments_below_the_minimum_duration_are_refused(offsets: list[int]) -> None:
    assert certify(Plan(**at_rest(offsets)), unit_limits()).reason == "spacing"


def test_a_segment_of_the_minimum_duration_is_permitted() -> None:
    assert certify(Plan(**at_rest([0, 1_000_000])), unit_limits()).permitted


@pytest.mark.parametrize("field", ["velocities", "accelerations"])
@pytest.mark.parametrize("value", [2e-9, -2e-9, 0.5])
def test_a_plan_that_does_not_end_at_rest_is_refused(field: str, value: float) -> None:
    moving = np.zeros((2, 2))
    moving[-1, 1] = value
    assert certify(Plan(**{**at_rest([0, NS]), field: moving}), unit_limits()).reason == "not_at_rest"


@pytest.mark.parametrize("joints", [names(2)[::-1], names(1), names(3), ("a", "b")])
def test_other_joints_are_refused(joints: tuple[str, ...]) -> None:
    verdict = certify(Plan(**at_rest([0, NS], joints)), unit_limits())
    assert (verdict.permitted, verdict.reason) == (False, "joints")
    assert str(verdict) == "not permitted: joints."


def test_a_plan_with_a_thousand_segments_is_certified() -> None:
    """One thousand segments of seven joints."""
    plan = Plan(**at_rest([i * 2_000_000 for i in range(1001)], names(7)))
    assert certify(plan, unit_limits(names(7))).permitted


def test_the_tolerances() -> None:
    assert (MAX_RATIO, REST_TOLERANCE, MAX_SUBDIVISIONS, MIN_SEGMENT_NS) == (1.0 + 1e-9, 1e-9, 6, 1_000_000)


def one_joint_plan(p: list[float], v: list[float], a: list[float], seconds: float = 1.0) -> Plan:
    offsets = (np.arange(len(p)) * seconds * NS).astype(np.int64)
    return Plan(names(1), T0, offsets, *(np.array(x, dtype=float)[:, None] for x in (p, v, a)))


def one_joint_limits(
    upper: float = 9.0, velocity: float = 9.0, acceleration: float = 99.0, jerk: float = 999.0
) -> Limits:
    one = np.ones(1)
    return Limits(names(1), -upper * one, upper * one, velocity * one, acceleration * one, jerk * one)


@pytest.mark.parametrize(("rest", "permitted"), [(1e-9, True), (-1e-9, True), (1.1e-9, False), (-1.1e-9, False)])
@pytest.mark.parametrize("field", ["velocity", "acceleration"])
def test_the_rest_tolerance_is_inclusive(rest: float, permitted: bool, field: str) -> None:
    v, a = (rest, 0.0) if field == "velocity" else (0.0, rest)
    assert certify(one_joint_plan([0.0, 0.0], [0.0, v], [0.0, a]), one_joint_limits()).permitted is permitted


STEP = one_joint_plan([0.0, 1.0], [0.0, 0.0], [0.0, 0.0])
"""From rest to rest in a second: u^3 (10 - 15 u + 6 u^2), whose peaks are known."""
PEAKS = {"velocity": 1.875, "acceleration": 10.0 / np.sqrt(3.0), "jerk": 60.0}


@pytest.mark.parametrize("quantity", PEAKS)
@pytest.mark.parametrize(("share", "permitted"), [(1.01, True), (0.999, False)])
def test_the_known_peaks_of_a_quintic_step_are_found(quantity: str, share: float, permitted: bool) -> None:
    verdict = certify(STEP, one_joint_limits(**{quantity: share * PEAKS[quantity]}))
    assert verdict.permitted is permitted
    assert verdict.quantity == quantity
    assert verdict.ratio == pytest.approx(1 / share, rel=0.01)


@pytest.mark.parametrize(
    ("share", "permitted"), [(1 + 1e-12, True), (1.0, True), (1 - 0.5e-9, True), (1 - 2e-9, False)]
)
def test_a_peak_at_a_knot_is_resolved_to_1e_9(share: float, permitted: bool) -> None:
    assert certify(STEP, one_joint_limits(jerk=60.0 * share)).permitted is permitted
    assert (
        certify(one_joint_plan([1.0, 1.0], [0.0, 0.0], [0.0, 0.0]), one_joint_limits(upper=share)).permitted
        is permitted
    )


def test_the_verdict_names_quantity_ratio_and_time() -> None:
    late = one_joint_plan([0.0, 0.0, 0.0, 1.0], [0.0] * 4, [0.0] * 4, seconds=0.5)
    verdict = certify(late, one_joint_limits(velocity=1.0))
    assert (verdict.reason, verdict.quantity, verdict.at_ns) == ("limits", "velocity", NS)
    assert verdict.ratio >= 3.7
    assert str(verdict).startswith("not permitted (limits): velocity of joint_0 reaches 3.7")
    good = certify(late, one_joint_limits(velocity=4.0))
    assert (good.permitted, good.reason, good.at_ns) == (True, "", NS)
    assert 3.75 / 4 <= good.ratio <= 1.0
    assert str(good).startswith("permitted; velocity of joint_0 reaches 0.9")


def test_a_single_violating_segment_is_found_at_any_index() -> None:
    for bad in range(8):
        p = np.zeros(9)
        p[bad + 1 :] = 0.3
        verdict = certify(one_joint_plan(p.tolist(), [0.0] * 9, [0.0] * 9), one_joint_limits(velocity=0.5))
        assert not verdict.permitted
        assert verdict.at_ns == bad * NS


def test_a_verdict_without_joint_has_no_time() -> None:
    assert certify(STEP, Limits(("other",), *np.array([[-1.0], [1.0], [1.0], [1.0], [1.0]]))) == Verdict(
        False, "joints"
    )
    assert Verdict(False, "joints").at_ns == 0


@pytest.mark.parametrize("velocity", [9.0, 4.0])
def test_exactly_the_maximum_ratio_is_permitted(velocity: float) -> None:
    """Also where another segment needs subdivision: 4 is above the peak of 1.875 and below the hull of 5."""
    assert certify(
        one_joint_plan([MAX_RATIO, MAX_RATIO, MAX_RATIO - 1.0], [0.0] * 3, [0.0] * 3), one_joint_limits(1.0, velocity)
    ).permitted


@pytest.mark.parametrize(("share", "permitted"), [(1 + 8e-4, True), (1 + 1e-4, False)])
def test_the_number_of_subdivisions_limits_the_precision(share: float, permitted: bool) -> None:
    """Each subdivision leaves a quarter of the gap: here 2e-3 after five, 4e-4 after six, 3e-5 after seven."""
    verdict = certify(STEP, one_joint_limits(acceleration=share * PEAKS["acceleration"]))
    assert verdict.permitted is permitted


def test_the_worse_of_two_unproved_segments_is_named() -> None:
    two = one_joint_plan([0.0, 0.99995, -0.00005], [0.0] * 3, [0.0] * 3)
    verdict = certify(two, one_joint_limits(acceleration=(1 + 1e-4) * PEAKS["acceleration"]))
    assert (verdict.permitted, verdict.quantity, verdict.at_ns) == (False, "acceleration", NS)


def test_a_knot_beyond_a_limit_is_refused_without_subdivision() -> None:
    """The velocity between the knots is higher, but is not evaluated; the valid segment that follows has no effect."""
    verdict = certify(one_joint_plan([0.0, 0.5, 0.5], [2.0, 0.0, 0.0], [3.0, 0.0, 0.0]), one_joint_limits(velocity=1.9))
    assert (verdict.permitted, verdict.quantity, verdict.at_ns) == (False, "velocity", 0)
    assert verdict.ratio == pytest.approx(2.0 / 1.9)


def test_the_tightest_segment_may_be_proved_before_the_last_subdivision() -> None:
    """Of two equally tight segments the later one is named; the first one needs subdivision for its velocity."""
    verdict = certify(
        one_joint_plan([-0.01, 0.99, 0.99], [0.0] * 3, [0.0] * 3), one_joint_limits(upper=1.0, velocity=3.0)
    )
    assert (verdict.permitted, verdict.quantity, verdict.at_ns) == (True, "position", NS)
    assert verdict.ratio == pytest.approx(0.99)


def test_a_segment_below_the_minimum_duration_is_refused_even_at_rest() -> None:
    verdict = certify(one_joint_plan([0.0, 0.0], [0.0, 0.0], [0.0, 0.0], seconds=0.9e-3), one_joint_limits())
    assert (verdict.permitted, verdict.reason) == (False, "spacing")
