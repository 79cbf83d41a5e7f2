"""Clamped B-splines on a graded grid: basis values, derivative control points, and the jerk they cost.

Basis and derivatives after de Boor, "A Practical Guide to Splines" (2001), chapters IX and X: the
derivative of a B-spline of degree p with control points c_i on knots t is the B-spline of degree p - 1
with control points p (c_{i+1} - c_i) / (t_{i+p+1} - t_{i+1}).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import Array


def clamped_knots(breaks: Array, degree: int) -> Array:
    """Knots of the clamped spline on `breaks`, shape (M + 1,): both ends repeated `degree` more times."""
    return np.concatenate([np.repeat(breaks[0], degree), breaks, np.repeat(breaks[-1], degree)])


def basis(knots: Array, degree: int, x: npt.ArrayLike) -> Array:
    """Values of all N basis functions at the points `x`, by the recursion of Cox and de Boor.

    Args:
        knots: Clamped knots, shape (N + degree + 1,).
        degree: Degree of the spline.
        x: Points between the first and the last knot, shape (n,).

    Returns:
        Shape (n, N); rows sum to one. The last point belongs to the last interval.
    """
    points = np.asarray(x, dtype=np.float64)
    count = len(knots) - degree - 1
    span = np.clip(np.searchsorted(knots, points, side="right") - 1, degree, count - 1)
    table = np.zeros((len(points), len(knots) - 1))
    table[np.arange(len(points)), span] = 1.0
    for p in range(1, degree + 1):
        n = len(knots) - 1 - p
        left, right = knots[p : p + n] - knots[:n], knots[p + 1 : p + 1 + n] - knots[1 : 1 + n]
        up = np.divide(points[:, None] - knots[:n], left, where=left > 0, out=np.zeros((len(points), n)))
        down = np.divide(
            knots[p + 1 : p + 1 + n] - points[:, None], right, where=right > 0, out=np.zeros((len(points), n))
        )
        table = up * table[:, :n] + down * table[:, 1 : n + 1]
    return table


def derivative_matrix(knots: Array, degree: int, order: int) -> Array:
    """The matrix from control points to the control points of a derivative.

    Args:
        knots: Clamped knots, shape (N + degree + 1,).
        degree: Degree of the spline.
        order: Which derivative, 0 to `degree`.

    Returns:
        Shape (N - order, N).
    """
    matrix = np.eye(len(knots) - degree - 1)
    for k in range(order):
        p = degree - k
        inner = knots[k : len(knots) - k]
        rows = len(matrix) - 1
        scale = p / (inner[p + 1 : p + 1 + rows] - inner[1 : 1 + rows])
        matrix = scale[:, None] * np.diff(matrix, axis=0)
    return matrix


def evaluation_matrix(knots: Array, degree: int, order: int, x: npt.ArrayLike) -> Array:
    """The matrix from control points to a derivative at the points `x`, shape (n, N)."""
    inner = knots[order : len(knots) - order]
    return basis(inner, degree - order, x) @ derivative_matrix(knots, degree, order)


def gram_matrix(knots: Array, degree: int, order: int) -> Array:
    """The integral of the products of the basis' derivatives, shape (N, N), exact (Gauss-Legendre)."""
    breaks = np.unique(knots)
    nodes, weights = np.polynomial.legendre.leggauss(degree - order + 1)
    half = np.diff(breaks)[:, None] / 2
    points = (breaks[:-1, None] + half * (nodes + 1.0)).ravel()
    values = evaluation_matrix(knots, degree, order, points)
    return values.T @ (values * (half * weights).ravel()[:, None])


class LocalBasis:
    """The same basis as polynomials per interval, for evaluating it often at few points."""

    def __init__(self, breaks: Array, degree: int) -> None:
        """Interpolate every basis function on each interval at degree + 1 Chebyshev points."""
        self._left, self._inner = breaks[:-1], breaks[1:-1]
        self._scale = 1.0 / np.diff(breaks)
        self._exponents = np.arange(degree + 1.0)
        u = (1.0 - np.cos(np.pi * (self._exponents + 0.5) / (degree + 1))) / 2
        points = breaks[:-1, None] + np.diff(breaks)[:, None] * u
        values = basis(clamped_knots(breaks, degree), degree, points.ravel()).reshape(*points.shape, -1)
        self._coefficients = np.linalg.solve(np.vander(u, increasing=True), values)

    def __call__(self, x: Array) -> Array:
        """Values of all N basis functions at the points `x`, shape (n, N)."""
        i = self._inner.searchsorted(x, side="right")
        u = (x - self._left[i]) * self._scale[i]
        powers = u[:, None] ** self._exponents
        values: Array = np.matmul(powers[:, None], self._coefficients.take(i, axis=0))[:, 0]
        return values
