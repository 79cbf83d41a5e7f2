"""The targets of a plan: weighted points on the waypoints of a chunk or along its curve.

The integral of the squared distance between two piecewise polynomials is a weighted sum over the Gauss-Legendre points
of every piece of either, so both kinds of chunk give the same kind of objective.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vla_ros.core.records import Array

NODES = 3
"""Gauss-Legendre points per piece. Six would integrate the square of a difference of quintics exactly; with three the
plans were the same to 5e-5 rad (test) and took 10 % less time (bench/curve_tracking.py)."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(NODES)
_NODES, _WEIGHTS = (_NODES + 1.0) / 2.0, _WEIGHTS / 2.0


class Targets(NamedTuple):
    """Weighted target positions.

    Attributes:
        times: After the handover, increasing, shape (n,) [s].
        positions: Shape (n, J) [rad].
        weights: Weight of the squared distance at each time, shape (n,) [s].
        end_s: Time of the last target of the chunk that is followed, after the handover [s].
    """

    times: Array
    positions: Array
    weights: Array
    end_s: float


def waypoint_targets(times: Array, positions: Array) -> Targets:
    """Waypoints as targets, each weighted by the time since the one before it."""
    return Targets(times, positions, np.diff(times, prepend=0.0), float(times[-1]))


def quadrature(begin: float, end: float, *breaks: Array) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on [begin, end] for functions that are polynomials between `breaks`.

    Args:
        begin: Lower end of the interval [s].
        end: Upper end [s].
        breaks: Break points, in any order; those outside the interval are ignored [s].

    Returns:
        Times and weights, shape (n,) each [s].
    """
    inner = np.concatenate(breaks)
    inner = inner[(begin < inner) & (inner < end)]
    inner.sort()
    edges = np.concatenate([[begin], inner, [end]])
    h = np.diff(edges)[:, None]
    return (edges[:-1, None] + h * _NODES).ravel(), (h * _WEIGHTS).ravel()
