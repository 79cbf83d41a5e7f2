"""A B-spline policy's chunk as the curve it is: position, velocity and acceleration at the knots of its spline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.beast.basis import sample_basis
from vla_ros.core.quintic import quintic_coefficients, quintic_values
from vla_ros.core.records import NS, Array, Chunk
from vla_ros.policy.action_spline import SplineConfig

SMOOTHEST, PLAINEST = 5, 3
"""Degrees of which the three numbers at a knot say all: none above, and below its acceleration jumps."""


def is_curve(spline: SplineConfig) -> bool:
    """Whether a spline of this degree can be handed over as a curve."""
    return PLAINEST <= spline.degree <= SMOOTHEST


def curve_chunk(
    stamp_ns: int, joints: Sequence[str], control: Array, waypoints: Array, spline: SplineConfig, steps: Sequence[bool]
) -> Chunk:
    """The curve of control points, from the observation to the last of the waypoints that are sent.

    Args:
        stamp_ns: Capture time of the observation [ns].
        joints: Names (J).
        control: Control points, shape (N, J) [rad].
        waypoints: The waypoints to be sent, shape (K, J) [rad]; K may be less than the spline has.
        spline: Shape of the spline; see `is_curve`.
        steps: Of each joint, whether its control points are held values and no spline (grippers). Such a joint moves
            where two waypoints differ, between them, and comes to rest at each.
    """
    duration, end = spline.waypoints * spline.dt_s, len(waypoints) * spline.dt_s
    breaks = np.linspace(0.0, duration, spline.control_points - spline.degree + 1)
    held = np.array(steps)
    edges = np.zeros(len(waypoints) - 1, dtype=bool)
    if held.any():
        edges = (np.diff(waypoints[:, held], axis=0) != 0.0).any(axis=1)
    own = spline.dt_s * (1 + np.flatnonzero(np.append(edges, False) | np.append(False, edges)))
    times = np.unique(np.round(np.concatenate([breaks[breaks < end], own, [end]]) * NS)) / NS
    u = np.minimum(times / duration, 1.0)
    fields = [sample_basis(u, spline.control_points, spline.degree, k) @ control / duration**k for k in range(3)]
    if held.any():
        stops = np.concatenate([[0.0], spline.dt_s * np.arange(1, len(waypoints) + 1)])
        rows = np.concatenate([waypoints[:1], waypoints])[:, held]
        h, still = np.diff(stops), np.zeros_like(rows)
        pieces = quintic_coefficients(h, rows, still, still)
        i = stops[1:-1].searchsorted(times, side="right")
        for order, values in enumerate(fields):
            values[:, held] = quintic_values(pieces, i, (times - stops[i]) / h[i], h[i], order)
    return Chunk(stamp_ns, tuple(joints), times, *fields)
