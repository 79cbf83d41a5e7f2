"""B-splines as matrices: basis values, derivatives, least-squares fits and the integrals of squared derivatives.

Bases and derivatives are those of `scipy.interpolate.BSpline`. The theory is in de Boor, "A Practical Guide to
Splines" (2001), chapters IX and X: the derivative of a B-spline of degree p with control points c_i on knots t is the
B-spline of degree p - 1 with control points p (c_{i+1} - c_i) / (t_{i+p+1} - t_{i+1}).

scipy is imported when the first matrix is made: importing `scipy.interpolate` takes 0.3 s, and most programs that
import this package make none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array

if TYPE_CHECKING:
    from scipy.interpolate import BSpline


def clamped_knots(breaks: Array, degree: int) -> Array:
    """Knots of the clamped spline on increasing `breaks`, shape (M + 1,): both ends repeated `degree` more times."""
    return np.concatenate([np.repeat(breaks[0], degree), breaks, np.repeat(breaks[-1], degree)])


def uniform_knots(count: int, degree: int) -> Array:
    """Clamped knots on [0, 1] with equal spans for `count` control points (N), shape (N + degree + 1,).

    Raises:
        ConfigError: The degree is negative or not less than the number of control points.
    """
    if not 0 <= degree < count:
        raise ConfigError(f"a B-spline of degree {degree} needs more than {degree} control points; got {count}.")
    return clamped_knots(np.linspace(0.0, 1.0, count - degree + 1), degree)


def basis_spline(knots: Array, degree: int) -> BSpline:
    """All N basis functions as one spline: called with points of shape (n,) it returns their values, shape (n, N)."""
    from scipy.interpolate import BSpline

    return BSpline(knots, np.eye(len(knots) - degree - 1), degree)


def basis_matrix(knots: Array, degree: int, x: npt.ArrayLike, derivative: int = 0) -> Array:
    """The matrix from control points to the values of the spline, or of a derivative.

    Args:
        knots: Clamped knots, shape (N + degree + 1,).
        degree: Degree of the spline.
        x: Points between the first and the last knot, shape (n,).
        derivative: Order of the derivative, 0 to `degree`.

    Returns:
        Shape (n, N). At a knot it is the value of the piece to the right, at the last knot of the last piece.
    """
    values: Array = basis_spline(knots, degree)(x, nu=derivative)
    return values


def derivative_matrix(knots: Array, degree: int, order: int) -> Array:
    """The matrix from control points to the control points of a derivative.

    Args:
        knots: Clamped knots, shape (N + degree + 1,).
        degree: Degree of the spline.
        order: Order of the derivative, 0 to `degree`.

    Returns:
        Shape (N - order, N).
    """
    spline = basis_spline(knots, degree)
    control: Array = (spline.derivative(order) if order else spline).c
    return control[: len(knots) - degree - 1 - order]


def gram_matrix(knots: Array, degree: int, order: int) -> Array:
    """The integrals of the products of basis functions' derivatives, shape (N, N).

    The curve with control points c has the integral c' G c of its squared derivative. Gauss-Legendre quadrature with
    degree - order + 1 points per piece is exact.
    """
    breaks = np.unique(knots)
    nodes, weights = np.polynomial.legendre.leggauss(degree - order + 1)
    half = np.diff(breaks)[:, None] / 2
    points = (breaks[:-1, None] + half * (nodes + 1.0)).ravel()
    values = basis_matrix(knots, degree, points, order)
    return values.T @ (values * (half * weights).ravel()[:, None])


def _unit_times(u: npt.ArrayLike) -> Array:
    x = np.atleast_1d(np.asarray(u, dtype=np.float64))
    if not ((x >= 0.0) & (x <= 1.0)).all():
        raise ConfigError("normalised times must lie in [0, 1].")
    return x


def uniform_basis(u: npt.ArrayLike, count: int, degree: int, derivative: int = 0) -> Array:
    """The matrix from control points to the clamped uniform spline, or a derivative of it with respect to u.

    Args:
        u: Normalised times in [0, 1], shape (K,).
        count: Number of control points N.
        degree: Polynomial degree P < N.
        derivative: Order of the derivative, 0 to P.

    Returns:
        Shape (K, N): row k times the control points is the curve (or its derivative) at u[k].

    Raises:
        ConfigError: N, P, the derivative or a time is out of range.
    """
    x, knots = _unit_times(u), uniform_knots(count, degree)
    if not 0 <= derivative <= degree:
        raise ConfigError(f"a B-spline of degree {degree} has no derivative of order {derivative}.")
    return basis_matrix(knots, degree, x, derivative)


def step_basis(u: npt.ArrayLike, count: int) -> Array:
    """The basis of a step function with `count` equal intervals (N) on [0, 1] that are closed to the right.

    Interval i is (i/N, (i+1)/N], and interval 0 also holds u = 0. `uniform_basis` of degree 0 is closed to the left:
    with as many intervals as samples, each sample lies at the end of its interval and would count to the next one.

    Args:
        u: Normalised times in [0, 1], shape (K,).
        count: Number of intervals N.

    Returns:
        Zeros and ones, shape (K, N).
    """
    interval = np.ceil(_unit_times(u) * count - 1e-9).astype(np.int64) - 1
    return np.eye(count)[np.clip(interval, 0, count - 1)]


def fit_matrix(basis: Array, ridge: float, start: Array | None = None) -> Array:
    """The matrix from samples to the control points that fit them in the sense of least squares.

    Minimises |samples - basis @ control|² + ridge |free control|². The first R control points may be fixed by R
    numbers of the start; the others are then fitted to the remainder.

    Args:
        basis: The basis at the samples, shape (T, N).
        ridge: Weight of the squared control points [1].
        start: From the numbers of the start to the fixed control points, shape (R, R); None to fix none.

    Returns:
        Shape (N, R + T), to be applied to the numbers of the start followed by the samples.
    """
    count = 0 if start is None else len(start)
    fixed, free = basis[:, :count], basis[:, count:]
    solver = np.linalg.solve(free.T @ free + ridge * np.eye(free.shape[1]), free.T)
    if start is None:
        return np.asarray(solver)
    return np.block([[start, np.zeros((count, len(basis)))], [-solver @ fixed @ start, solver]])


def derivative_points(control: npt.ArrayLike, degree: int, duration_s: float, order: int = 1) -> Array:
    """Control points of the derivative of a clamped uniform spline with respect to time.

    The derivative lies in the convex hull of them at every instant, so the largest magnitude bounds it between samples
    too.

    Args:
        control: Shape (..., N, D).
        degree: Polynomial degree P.
        duration_s: Duration of the curve [s].
        order: Order of the derivative, 0 to P.

    Returns:
        Shape (..., N - order, D) [unit of the control points / s^order].

    Raises:
        ConfigError: The order, the degree or the duration is out of range, or the control points are not finite.
    """
    points = np.asarray(control, dtype=np.float64)
    if points.ndim < 2 or not np.isfinite(points).all() or not 0.0 < duration_s < np.inf:
        raise ConfigError(
            "a derivative needs finite control points of shape (..., N, D) and a duration greater than zero; "
            f"got shape {points.shape} and {duration_s} s."
        )
    knots = uniform_knots(points.shape[-2], degree)
    if not 0 <= order <= degree:
        raise ConfigError(f"a B-spline of degree {degree} has no derivative of order {order}.")
    return derivative_matrix(knots, degree, order) @ points / duration_s**order
