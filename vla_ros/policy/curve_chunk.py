"""A B-spline policy's chunk as a curve: position, velocity and acceleration at the knots of its spline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.core.quintic import quintic_coefficients, quintic_values
from vla_ros.core.records import NS, Array, Chunk
from vla_ros.core.splines import uniform_basis
from vla_ros.policy.action_spline import SplineConfig

MIN_DEGREE, MAX_DEGREE = 3, 5
"""Degrees that position, velocity and acceleration at the knots represent exactly. Above, they do not determine the
curve; below, its acceleration is not continuous."""


def is_curve(spline: SplineConfig) -> bool:
    """Whether a spline of this degree can be published as a curve."""
    return MIN_DEGREE <= spline.degree <= MAX_DEGREE


def curve_chunk(
    stamp_ns: int,
    joints: Sequence[str],
    control_points: Array,
    waypoints: Array,
    spline: SplineConfig,
    grippers: Sequence[bool],
) -> Chunk:
    """The curve of the control points, from the observation to the last of the given waypoints.

    Args:
        stamp_ns: Capture time of the observation [ns].
        joints: Names (J).
        control_points: Shape (N, J) [rad].
        waypoints: The waypoints to execute, shape (K, J) [rad]; K may be less than the spline has.
        spline: Shape of the spline; see `is_curve`.
        grippers: Which joints are grippers, whose control points are held values and not a spline. Such a joint moves
            between two waypoints that differ, and is at rest at each waypoint.
    """
    duration, end = spline.waypoints * spline.dt_s, len(waypoints) * spline.dt_s
    breaks = np.linspace(0.0, duration, spline.control_points - spline.degree + 1)
    held = np.array(grippers)
    edges = np.zeros(len(waypoints) - 1, dtype=bool)
    if held.any():
        edges = (np.diff(waypoints[:, held], axis=0) != 0.0).any(axis=1)
    own = spline.dt_s * (1 + np.flatnonzero(np.append(edges, False) | np.append(False, edges)))
    times = np.unique(np.round(np.concatenate([breaks[breaks < end], own, [end]]) * NS)) / NS
    u = np.minimum(times / duration, 1.0)
    n, p = spline.control_points, spline.degree
    fields = [uniform_basis(u, n, p, k) @ control_points / duration**k for k in range(3)]
    if held.any():
        stops = np.concatenate([[0.0], spline.dt_s * np.arange(1, len(waypoints) + 1)])
        rows = np.concatenate([waypoints[:1], waypoints])[:, held]
        h, zero = np.diff(stops), np.zeros_like(rows)
        pieces = quintic_coefficients(h, rows, zero, zero)
        i = stops[1:-1].searchsorted(times, side="right")
        for order, values in enumerate(fields):
            values[:, held] = quintic_values(pieces, i, (times - stops[i]) / h[i], h[i], order)
    return Chunk(stamp_ns, tuple(joints), times, *fields)
