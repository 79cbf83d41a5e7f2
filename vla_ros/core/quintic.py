"""Quintic Hermite pieces: the polynomials of degree 5 that position, velocity and acceleration at knots determine."""

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
"""From (p, h v, h^2 a) at the start of a piece and (p - start, h v, h^2 a) at its end to the coefficients."""
_FALLING = np.array([[math.perm(k, n) for k in range(6)] for n in range(6)], dtype=np.float64)
"""Derivative n of u^k is `_FALLING[n, k]` u^(k - n)."""


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
    """A derivative on many points of the pieces.

    Args:
        pieces: Of `quintic_coefficients`, shape (M, 6, J).
        i: The piece of each point, shape (n,).
        u: How far into it, 0 to 1, shape (n,).
        h: Duration of each point's piece, shape (n,) [s].
        order: Which derivative, 0 to 5.

    Returns:
        Shape (n, J).
    """
    weights = _FALLING[order, order:] * u[:, None] ** np.arange(6.0 - order)
    if order:
        weights /= h[:, None] ** order
    values: Array = np.matmul(weights[:, None], pieces[:, order:].take(i, axis=0))[:, 0]
    return values
