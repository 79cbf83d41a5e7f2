"""Quintic Hermite pieces: polynomials of degree 5 given by position, velocity and acceleration at both ends."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_HERMITE = np.array(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.5, 0.0, 0.0, 0.0],
        [0.0, -6.0, -1.5, 10.0, -4.0, 0.5],
        [0.0, 8.0, 1.5, -15.0, 7.0, -1.0],
        [0.0, -3.0, -0.5, 6.0, -3.0, 0.5],
    ]
)
"""Coefficients from (p, h v, h^2 a) at the start of a piece and (p - p_start, h v, h^2 a) at its end."""
_FALLING_FACTORIALS = np.array([[math.perm(k, n) for k in range(6)] for n in range(6)], dtype=np.float64)
"""Derivative n of u^k is `_FALLING_FACTORIALS[n, k]` u^(k - n)."""


def quintic_coefficients(h: Array, p: Array, v: Array, a: Array) -> Array:
    """Monomial coefficients of the quintic Hermite pieces, in u = (t - t_i) / h_i.

    Args:
        h: Duration of each piece, shape (M,) [s].
        p: Positions at the knots, shape (M + 1, J).
        v: Velocities at the knots, shape (M + 1, J).
        a: Accelerations at the knots, shape (M + 1, J).

    Returns:
        Shape (M, 6, J); row k multiplies u^k.
    """
    ends = np.empty((len(h), 6, p.shape[1]))
    h1, h2 = h[:, None], (h * h)[:, None]
    ends[:, 0], ends[:, 1], ends[:, 2] = p[:-1], h1 * v[:-1], h2 * a[:-1]
    ends[:, 3], ends[:, 4], ends[:, 5] = p[1:] - p[:-1], h1 * v[1:], h2 * a[1:]
    coefficients: Array = np.matmul(_HERMITE, ends)
    return coefficients


def quintic_values(pieces: Array, i: npt.NDArray[np.intp], u: Array, h: Array, order: int = 0) -> Array:
    """Values of the pieces, or of a derivative, at many points.

    Args:
        pieces: Of `quintic_coefficients`, shape (M, 6, J).
        i: Index of the piece of each point, shape (n,).
        u: Normalised time within the piece, 0 to 1, shape (n,).
        h: Duration of each point's piece, shape (n,) [s].
        order: Order of the derivative, 0 to 5.

    Returns:
        Shape (n, J).
    """
    weights = _FALLING_FACTORIALS[order, order:] * u[:, None] ** np.arange(6.0 - order)
    if order:
        weights /= h[:, None] ** order
    values: Array = np.matmul(weights[:, None], pieces[:, order:].take(i, axis=0))[:, 0]
    return values
