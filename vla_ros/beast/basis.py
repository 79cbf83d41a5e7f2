"""The clamped uniform B-spline on normalised time: its values, its fit to samples, and the hull of its derivatives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array
from vla_ros.core.splines import clamped_knots, derivative_matrix, evaluation_matrix


def uniform_knots(count: int, degree: int) -> Array:
    """Knots on [0, 1], shape (N + P + 1,): P + 1 at each end, equal spans between.

    Raises:
        ConfigError: The degree is negative or not less than the number of control points.
    """
    if not 0 <= degree < count:
        raise ConfigError(f"a B-spline of degree {degree} needs more than {degree} control points; got {count}.")
    return clamped_knots(np.linspace(0.0, 1.0, count - degree + 1), degree)


def _times(u: npt.ArrayLike) -> Array:
    x = np.atleast_1d(np.asarray(u, dtype=np.float64))
    if not ((x >= 0.0) & (x <= 1.0)).all():
        raise ConfigError("normalised times must lie in [0, 1].")
    return x


def sample_basis(u: npt.ArrayLike, count: int, degree: int, derivative: int = 0) -> Array:
    """The uniform clamped basis, or its derivative with respect to u, at some times.

    Args:
        u: Normalised times in [0, 1], shape (K,).
        count: Control points N.
        degree: Polynomial degree P < N.
        derivative: Order of the derivative, 0 to P.

    Returns:
        Shape (K, N): row k times the control points is the curve (or its derivative) at u[k].

    Raises:
        ConfigError: N, P, the derivative or a time is out of range.
    """
    x, knots = _times(u), uniform_knots(count, degree)
    if not 0 <= derivative <= degree:
        raise ConfigError(f"a B-spline of degree {degree} has no derivative of order {derivative}.")
    return evaluation_matrix(knots, degree, derivative, x)


def step_basis(u: npt.ArrayLike, count: int) -> Array:
    """Degree 0, closed to the right: slot i holds on (i/N, (i+1)/N], and slot 0 at u = 0 too; shape (K, N).

    `sample_basis` of degree 0 is closed to the left, so a sample that ends its slot, as every one does
    when there are as many slots as samples, would count to the next.
    """
    slot = np.ceil(_times(u) * count - 1e-9).astype(np.int64) - 1
    return np.eye(count)[np.clip(slot, 0, count - 1)]


def fit_matrix(basis: Array, ridge: float, start: Array | None = None) -> Array:
    """From samples to the control points nearest to them, as one matrix.

    Minimises |samples - basis @ control|² + ridge |free control|². The first R control points may be given
    by R numbers of the start; the others are then fitted to what is left.

    Args:
        basis: The basis at the samples, shape (T, N).
        ridge: Weight of the squared control points [1].
        start: From the numbers of the start to the pinned control points, shape (R, R); None to pin none.

    Returns:
        Shape (N, R + T), to be applied to the numbers of the start followed by the samples.
    """
    pins = 0 if start is None else len(start)
    fixed, free = basis[:, :pins], basis[:, pins:]
    solver = np.linalg.solve(free.T @ free + ridge * np.eye(free.shape[1]), free.T)
    if start is None:
        return np.asarray(solver)
    return np.block([[start, np.zeros((pins, len(basis)))], [-solver @ fixed @ start, solver]])


def start_matrix(pinned: int, count: int, degree: int, duration_s: float) -> Array | None:
    """From (position,) or (position, velocity) at the start to the first control points, shape (R, R).

    Args:
        pinned: R: 0 (gives None), 1 or 2.
        count: Control points N.
        degree: Polynomial degree P, at least R - 1.
        duration_s: Duration of the curve [s].
    """
    if pinned == 0:
        return None
    rows = np.tril(np.ones((pinned, pinned)))
    if pinned == 2:
        rows[1, 1] = duration_s / (degree * (count - degree))  # the first span over the degree
    return rows


def derivative_points(control: npt.ArrayLike, degree: int, duration_s: float, order: int = 1) -> Array:
    """Control points of a derivative with respect to time; the derivative lies in their hull at every instant.

    Args:
        control: Shape (..., N, D).
        degree: Polynomial degree P.
        duration_s: Duration of the curve [s].
        order: Which derivative, 0 to P.

    Returns:
        Shape (..., N - order, D) [unit of the control points / s^order]. The largest magnitude bounds the
        derivative of the whole curve, between samples too.

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
