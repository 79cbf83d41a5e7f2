"""B-spline matrices against the Cox-de Boor recursion, finite differences and numeric integration."""

from itertools import pairwise

import numpy as np
import pytest
from core.generators import SEED, rng_of
from hypothesis import given

from vla_ros.core.splines import basis_matrix, clamped_knots, derivative_matrix, gram_matrix

EQUAL = np.linspace(0.0, 2.0, 8)
GRADED = 3.0 * np.linspace(0.0, 1.0, 20) ** 1.5
GRIDS = [(EQUAL, 1), (EQUAL, 3), (EQUAL, 4), (GRADED, 5), (np.array([0.0, 0.1]), 5)]


def points(breaks: np.ndarray) -> np.ndarray:
    """Points between the breaks, at them, and at both ends."""
    return np.sort(np.concatenate([np.linspace(breaks[0], breaks[-1], 101), breaks]))


def recursion(knots: np.ndarray, degree: int, x: np.ndarray) -> np.ndarray:
    """The basis by the recursion of Cox and de Boor, shape (n, N); the last point belongs to the last interval."""
    count = len(knots) - degree - 1
    span = np.clip(np.searchsorted(knots, x, side="right") - 1, degree, count - 1)
    table = np.zeros((len(x), len(knots) - 1))
    table[np.arange(len(x)), span] = 1.0
    for p in range(1, degree + 1):
        n = len(knots) - 1 - p
        left, right = knots[p : p + n] - knots[:n], knots[p + 1 : p + 1 + n] - knots[1 : 1 + n]
        up = np.divide(x[:, None] - knots[:n], left, where=left > 0, out=np.zeros((len(x), n)))
        down = np.divide(knots[p + 1 : p + 1 + n] - x[:, None], right, where=right > 0, out=np.zeros((len(x), n)))
        table = up * table[:, :n] + down * table[:, 1 : n + 1]
    return table


def control_point_differences(knots: np.ndarray, degree: int, order: int) -> np.ndarray:
    """The matrix to the control points of a derivative: p (c_{i+1} - c_i) / (t_{i+p+1} - t_{i+1}), repeated."""
    matrix = np.eye(len(knots) - degree - 1)
    for k in range(order):
        p, inner, rows = degree - k, knots[k : len(knots) - k], len(matrix) - 1
        matrix = (p / (inner[p + 1 : p + 1 + rows] - inner[1 : 1 + rows]))[:, None] * np.diff(matrix, axis=0)
    return matrix


@pytest.mark.parametrize(("breaks", "degree"), GRIDS)
def test_basis_is_a_partition_of_unity_and_not_negative(breaks: np.ndarray, degree: int) -> None:
    values = basis_matrix(clamped_knots(breaks, degree), degree, points(breaks))
    np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-13)
    assert (values >= 0.0).all()
    assert (np.count_nonzero(values, axis=1) <= degree + 1).all()
    assert values[0, 0] == pytest.approx(1.0)
    assert values[-1, -1] == pytest.approx(1.0)


@pytest.mark.parametrize(("breaks", "degree", "order"), [(b, d, k) for b, d in GRIDS for k in range(d + 1)])
def test_every_derivative_agrees_with_the_recursion(breaks: np.ndarray, degree: int, order: int) -> None:
    knots, x = clamped_knots(breaks, degree), points(breaks)
    differences = control_point_differences(knots, degree, order)
    expected = recursion(knots[order : len(knots) - order], degree - order, x) @ differences
    np.testing.assert_allclose(
        derivative_matrix(knots, degree, order), differences, rtol=0, atol=1e-12 * np.abs(differences).max()
    )
    np.testing.assert_allclose(
        basis_matrix(knots, degree, x, order), expected, rtol=0, atol=1e-12 * np.abs(differences).max()
    )


@given(seed=SEED)
def test_derivative_control_points_agree_with_finite_differences(seed: int) -> None:
    rng = rng_of(seed)
    breaks, degree, h = np.cumsum(rng.uniform(0.05, 1.0, rng.integers(2, 15))), 5, 1e-6
    knots = clamped_knots(breaks, degree)
    control = rng.normal(size=len(breaks) - 1 + degree)
    x = rng.uniform(breaks[0] + h, breaks[-1] - h, 20)
    for order in range(3):
        before, after = (basis_matrix(knots, degree, x + step, order) @ control for step in (-h, h))
        exact = recursion(knots[order + 1 : -order - 1], degree - order - 1, x) @ (
            derivative_matrix(knots, degree, order + 1) @ control
        )
        np.testing.assert_allclose((after - before) / (2 * h), exact, atol=1e-4 * max(1.0, np.abs(exact).max()))


@given(seed=SEED)
def test_derivatives_lie_in_the_hull_of_their_control_points(seed: int) -> None:
    rng = rng_of(seed)
    breaks, degree = np.cumsum(rng.uniform(0.01, 1.0, rng.integers(2, 15))), int(rng.integers(3, 6))
    knots = clamped_knots(breaks, degree)
    control = rng.normal(size=len(breaks) - 1 + degree)
    for order in range(4):
        hull = derivative_matrix(knots, degree, order) @ control
        values = basis_matrix(knots, degree, points(breaks), order) @ control
        slack = 1e-12 * np.abs(hull).max()
        assert hull.min() - slack <= values.min()
        assert values.max() <= hull.max() + slack


@pytest.mark.parametrize(("breaks", "degree"), GRIDS[1:])
@pytest.mark.parametrize("order", range(4))
def test_gram_matrix_agrees_with_numeric_integration(breaks: np.ndarray, degree: int, order: int) -> None:
    knots = clamped_knots(breaks, degree)
    fine = np.concatenate([np.linspace(a, b, 401)[:-1] + (b - a) / 800 for a, b in pairwise(breaks)])
    width = np.repeat(np.diff(breaks) / 400, 400)
    values = basis_matrix(knots, degree, fine, order)
    summed = values.T @ (values * width[:, None])
    exact = gram_matrix(knots, degree, order)
    np.testing.assert_allclose(exact, summed, atol=1e-4 * np.abs(exact).max())
    np.testing.assert_allclose(exact, exact.T, atol=1e-12 * np.abs(exact).max())
