"""The matrices of the planner's quadratic program on the window [0, 1]; they depend on the number of control points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import Array
from vla_ros.core.splines import basis_matrix, basis_spline, clamped_knots, derivative_matrix, gram_matrix

if TYPE_CHECKING:
    from scipy.interpolate import BSpline

DEGREE = 5
FIXED = 3
"""Control points that (p, v, a) at the start determine; as many coincide at the end, where the plan is at rest."""
GRADING = 1.5
"""Breakpoint i of n lies at (i/n)^1.5 of the window: the pieces are shortest where the initial state is prescribed."""
TICKS = 10_000
"""Breakpoints lie at multiples of 1 / TICKS of the window, and windows are multiples of TICKS nanoseconds. Every knot
therefore lies at a whole nanosecond, and one grid serves every window."""


@dataclass(frozen=True, eq=False)
class KnotGrid:
    """The program on the window [0, 1]; other windows scale it. N control points, n unknowns, m constraint rows.

    The columns of each matrix are the 3 quantities (p, v, a) of the start, followed by the n unknowns.

    Attributes:
        ticks: The breakpoints in 1 / `TICKS` of the window, shape (M + 1,).
        basis: The basis functions: called with times in [0, 1], shape (k,), it returns their values, shape (k, N).
        points: The control points, shape (N, 3 + n).
        jerk: The integral of squared jerk as a quadratic form, shape (3 + n, 3 + n).
        rows: Control points of position, velocity, acceleration and jerk that depend on the unknowns, shape (m, 3 + n).
        order: Which derivative a row bounds, shape (m,); the first n rows are the unknowns themselves, positions.
        knots: Position, velocity and acceleration at the breakpoints, shape (3 (M + 1), 3 + n).
    """

    ticks: npt.NDArray[np.int64]
    basis: BSpline
    points: Array
    jerk: Array
    rows: Array
    order: npt.NDArray[np.int64]
    knots: Array


@lru_cache(maxsize=16)
def make_grid(count: int) -> KnotGrid:
    """The program for `count` control points per joint."""
    pieces = count - DEGREE
    ticks = np.round(TICKS * (np.arange(pieces + 1) / pieces) ** GRADING).astype(np.int64)
    breaks = ticks / TICKS
    knots = clamped_knots(breaks, DEGREE)
    derivatives = [derivative_matrix(knots, DEGREE, k) for k in range(4)]
    points = np.zeros((count, count - FIXED + 1))
    points[:FIXED, :FIXED] = np.linalg.inv(np.stack([derivatives[k][0, :FIXED] for k in range(FIXED)]))
    points[FIXED : count - FIXED, FIXED:-1] = np.eye(count - 2 * FIXED)
    points[count - FIXED :, -1] = 1.0
    rows = np.concatenate([d @ points for d in derivatives])
    order = np.repeat(np.arange(4), [len(d) for d in derivatives])
    variable = np.abs(rows[:, FIXED:]).max(axis=1)
    kept = variable > 1e-9 * np.abs(rows).max(axis=1)
    kept[np.flatnonzero(order == 0)[-2:]] = False
    states = np.concatenate([basis_matrix(knots, DEGREE, breaks, k) for k in range(FIXED)])
    return KnotGrid(
        ticks=ticks,
        basis=basis_spline(knots, DEGREE),
        points=points,
        jerk=points.T @ gram_matrix(knots, DEGREE, 3) @ points,
        rows=rows[kept],
        order=order[kept],
        knots=states @ points,
    )
