"""The planner's program on the window [0, 1]: everything in it that depends on the number of control points only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import Array
from vla_ros.core.splines import LocalBasis, clamped_knots, derivative_matrix, evaluation_matrix, gram_matrix

DEGREE = 5
FIXED = 3
"""Control points fixed by (p, v, a) at the start; as many coincide at the end."""
GRADING = 1.5
"""Breakpoint i of n lies at (i/n)^1.5 of the window: short pieces where the state is prescribed."""
TICKS = 10_000
"""Breakpoints lie at whole multiples of 1 / TICKS of the window, and windows are whole multiples of TICKS
nanoseconds: so every knot lies at a whole nanosecond, and one grid serves every window."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The program on the window [0, 1], which scales to every other; N control points, n unknowns, m rows.

    The columns of each matrix are the 3 quantities (p, v, a) of the start, then the n unknowns.
    """

    ticks: npt.NDArray[np.int64]
    """(M + 1,): the breakpoints, in 1 / `TICKS` of the window."""
    waypoints: LocalBasis
    points: Array
    """(N, 3 + n): the control points."""
    jerk: Array
    """(3 + n, 3 + n): the integral of squared jerk, as a quadratic form."""
    rows: Array
    """(m, 3 + n): position, velocity, acceleration and jerk control points, those that can be moved."""
    order: npt.NDArray[np.int64]
    """(m,): which derivative a row bounds; the first n rows are the unknowns themselves, positions."""
    knots: Array
    """(3 (M + 1), 3 + n): position, velocity, acceleration at the breakpoints."""


@lru_cache(maxsize=16)
def make_grid(count: int) -> Grid:
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
    moved = np.abs(rows[:, FIXED:]).max(axis=1)
    kept = moved > 1e-9 * np.abs(rows).max(axis=1)
    kept[np.flatnonzero(order == 0)[-2:]] = False
    states = np.concatenate([evaluation_matrix(knots, DEGREE, k, breaks) for k in range(FIXED)])
    return Grid(
        ticks,
        LocalBasis(breaks, DEGREE),
        points,
        points.T @ gram_matrix(knots, DEGREE, 3) @ points,
        rows[kept],
        order[kept],
        states @ points,
    )
