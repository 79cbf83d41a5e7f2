"""What a plan is to stay near to: the waypoints of a chunk, or the whole of its curve.

Either way it becomes points with weights: the integral of the squared distance between two piecewise polynomials is
such a sum, with the points those of Gauss on every piece of either.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vla_ros.core.quintic import Array

NODES = 3
"""Points per piece. Six would integrate the square of a difference of quintics exactly; with three the plans were the
same to 5e-5 rad (test) and took a tenth less time (bench/curve.py)."""
_LEFT, _WEIGHT = np.polynomial.legendre.leggauss(NODES)
_LEFT, _WEIGHT = (_LEFT + 1.0) / 2.0, _WEIGHT / 2.0


class Targets(NamedTuple):
    """Where to be, when, and how much it counts.

    Attributes:
        times: After the hand-over, increasing, shape (n,) [s].
        positions: Shape (n, J) [rad].
        weights: Shape (n,) [s].
        end_s: When the last of the chunk is due [s].
    """

    times: Array
    positions: Array
    weights: Array
    end_s: float


def waypoint_targets(times: Array, positions: Array) -> Targets:
    """Waypoints: each counts for the time since the one before it."""
    return Targets(times, positions, np.diff(times, prepend=0.0), float(times[-1]))


def quadrature(begin: float, end: float, *breaks: Array) -> tuple[Array, Array]:
    """Times and weights, shape (n,) each [s], that integrate over [begin, end] what is a polynomial between breaks."""
    inner = np.concatenate(breaks)
    inner = inner[(begin < inner) & (inner < end)]
    inner.sort()
    edges = np.concatenate([[begin], inner, [end]])
    h = np.diff(edges)[:, None]
    return (edges[:-1, None] + h * _LEFT).ravel(), (h * _WEIGHT).ravel()
