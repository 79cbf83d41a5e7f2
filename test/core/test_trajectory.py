"""A plan is the C2 curve through its knots, at rest at its end; invalid values are refused."""

from itertools import pairwise

import numpy as np
import pytest
from core.generators import SEED, T0, instants, names, random_plan, rng_of
from hypothesis import given

from vla_ros.core.errors import RecordError
from vla_ros.core.records import NS
from vla_ros.core.trajectory import Plan


@given(seed=SEED)
def test_the_knots_are_reproduced(seed: int) -> None:
    plan = random_plan(rng_of(seed))
    for i, t in enumerate(plan.knots_ns):
        p, v, a = plan.at(int(t))
        np.testing.assert_allclose(p, plan.positions[i], atol=1e-12)
        np.testing.assert_allclose(v, plan.velocities[i], atol=1e-12)
        np.testing.assert_allclose(a, plan.accelerations[i], atol=1e-9)


@given(seed=SEED)
def test_position_velocity_and_acceleration_are_continuous_at_the_knots(seed: int) -> None:
    plan = random_plan(rng_of(seed))
    for t in plan.knots_ns[1:]:
        near = np.array([t - 1, t])
        for order in range(3):
            before, after = plan.derivative(near, order) if t < plan.end_ns else plan.at(near)[order]
            slope = np.abs(plan.derivative(near[:1], order + 1)).max()
            np.testing.assert_allclose(before, after, rtol=1e-7, atol=1e-8 + 2e-9 * slope)


@given(seed=SEED)
def test_one_instant_many_instants_and_derivatives_agree(seed: int) -> None:
    rng = rng_of(seed)
    plan = random_plan(rng)
    times = np.concatenate([instants(plan.start_ns, plan.end_ns + NS, 40), plan.knots_ns])
    many = plan.at(times)
    for order in range(3):
        np.testing.assert_allclose(many[order], plan.derivative(times, order), atol=1e-12)
    for i, t in enumerate(times):
        for one, all_ in zip(plan.at(int(t)), many, strict=True):
            np.testing.assert_allclose(one, all_[i], rtol=1e-9, atol=1e-9)
    middle = float(rng.uniform(0, plan.end_ns - plan.start_ns))
    for one, rounded in zip(plan.at_offset(middle), plan.at(plan.start_ns + int(middle)), strict=True):
        np.testing.assert_allclose(one, rounded, atol=1e-4 * max(1.0, np.abs(rounded).max()))


@given(seed=SEED)
def test_each_derivative_is_the_slope_of_the_one_before(seed: int) -> None:
    rng = rng_of(seed)
    plan, h = random_plan(rng), 10_000
    inside = [int(rng.integers(a + 2 * h, b - 2 * h)) for a, b in pairwise(plan.knots_ns)]
    times = np.array(inside)
    for order in range(5):
        near, far = (plan.derivative(times + s, order) - plan.derivative(times - s, order) for s in (h, 2 * h))
        slope = (8 * near - far) / (12 * h / NS)  # exact for polynomials of degree 4
        exact = plan.derivative(times, order + 1)
        np.testing.assert_allclose(slope, exact, atol=1e-4 * max(1.0, np.abs(exact).max()))


@given(seed=SEED)
def test_after_its_end_a_plan_rests(seed: int) -> None:
    plan = random_plan(rng_of(seed))
    for late in (0, 1, NS, 10**6 * NS):
        p, v, a = plan.at(plan.end_ns + late)
        np.testing.assert_array_equal(p, plan.positions[-1])
        assert not v.any()
        assert not a.any()


@pytest.mark.parametrize("early", [1, NS, 10**18])
def test_a_plan_is_not_defined_before_its_start(early: int) -> None:
    plan = random_plan(rng_of(0))
    with pytest.raises(ValueError, match="starts"):
        plan.at(T0 - early)
    with pytest.raises(ValueError, match="starts"):
        plan.at(np.array([T0, T0 - early]))


def test_hold_stays() -> None:
    plan = Plan.hold(names(2), [0.1, -0.2], T0)
    for t in (0, 1, NS // 20, NS):
        p, v, a = plan.at(T0 + t)
        np.testing.assert_allclose(p, [0.1, -0.2], rtol=0, atol=1e-15)
        np.testing.assert_allclose([v, a], 0.0, atol=1e-9)


@given(seed=SEED)
def test_reordered_permutes_the_columns(seed: int) -> None:
    rng = rng_of(seed)
    plan = random_plan(rng, joints=4)
    permutation = rng.permutation(4)
    permuted = plan.reordered([plan.joints[i] for i in permutation])
    t = T0 + 30_000_000
    for reordered, original in zip(permuted.at(t), plan.at(t), strict=True):
        np.testing.assert_array_equal(reordered, original[permutation])
    assert permuted.reordered(plan.joints).joints == plan.joints


@pytest.mark.parametrize(
    ("joints", "expected"),
    [
        (("joint_0", "joint_1"), "lacks joint_2"),
        (("joint_0", "joint_1", "joint_2", "more"), "lacks more"),
        (("joint_0", "joint_1", "other"), "has unknown joint_2"),
    ],
)
def test_other_joints_are_refused_by_name(joints: tuple[str, ...], expected: str) -> None:
    with pytest.raises(RecordError) as caught:
        random_plan(rng_of(0)).reordered(joints)
    assert "joint_2" in str(caught.value) or expected in str(caught.value)


def good() -> dict:
    zero = np.zeros((3, 2))
    return {
        "joints": names(2),
        "start_ns": T0,
        "offsets_ns": np.array([0, NS, 2 * NS]),
        "positions": zero,
        "velocities": zero,
        "accelerations": zero,
    }


def with_value(value: float) -> np.ndarray:
    array = np.zeros((3, 2))
    array[1, 1] = value
    return array


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(f, with_value(v)) for f in ("positions", "velocities", "accelerations") for v in (np.nan, np.inf, -np.inf)],
        *[(f, np.zeros((2, 2))) for f in ("positions", "velocities", "accelerations")],
        ("positions", np.zeros((3, 3))),
        ("positions", np.zeros(3)),
        ("positions", [[0.0], [0.0, 1.0], [0.0]]),
        ("positions", [["a", "b"]] * 3),
        ("positions", None),
        ("positions", [[10**400, 0]] * 3),
        ("offsets_ns", [0, NS]),
        ("offsets_ns", [0]),
        ("offsets_ns", []),
        ("offsets_ns", [0, NS, NS]),
        ("offsets_ns", [0, 2 * NS, NS]),
        ("offsets_ns", [1, NS, 2 * NS]),
        ("offsets_ns", [-NS, 0, NS]),
        ("offsets_ns", [0.0, 1.0, 2.0]),
        ("offsets_ns", [0, 1, float("nan")]),
        ("offsets_ns", [0, NS, 10**30]),
        ("offsets_ns", np.array([0, 2**62, -(2**63) + 5])),
        ("offsets_ns", np.array([0, NS, 2**64 - 1], dtype=np.uint64)),
        ("offsets_ns", [[0, NS], [0], [1]]),
        ("offsets_ns", "abc"),
        ("joints", ("joint_0",)),
        ("joints", ("joint_0", "joint_0")),
        ("joints", ("joint_0", "")),
        ("joints", ()),
        ("joints", "ab"),
        ("start_ns", float("nan")),
        ("start_ns", float("inf")),
        ("start_ns", None),
        ("start_ns", 10**30),
        ("start_ns", -(10**30)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_values_are_refused_with_a_message(field: str, value: object) -> None:
    with pytest.raises(RecordError) as caught:
        Plan(**{**good(), field: value})
    assert str(caught.value).endswith(".")


def test_a_plan_cannot_be_changed() -> None:
    offsets, positions = np.array([0, NS, 2 * NS]), np.zeros((3, 2))
    plan = Plan(**{**good(), "offsets_ns": offsets, "positions": positions})
    offsets[1], positions[1] = 5, 5.0
    assert plan.offsets_ns[1] == NS
    assert plan.positions[1, 0] == 0.0
    for array in (plan.offsets_ns, plan.positions, plan.velocities, plan.accelerations):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
