"""Limit certificate: proves whether a plan stays inside the limits at every instant.

Each quintic segment is written in Bernstein form from (p, v, a) at its ends. A polynomial lies inside the convex hull
of its Bernstein coefficients, and its derivatives inside the hulls of theirs, so coefficients inside the limits prove
the segment. Where the hull is too loose, the segment is subdivided at its midpoint (de Casteljau) and checked again.
This module shares no code with the planner. Bernstein form: Farouki, "The Bernstein polynomial basis: a centennial
retrospective", CAGD 29 (2012), sections 3 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import NS, Array
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan

QUANTITIES = ("position", "velocity", "acceleration", "jerk")
MIN_SEGMENT_NS = 1_000_000
"""Minimum duration of a segment [ns]; a plan with a shorter one is not permitted."""
MAX_RATIO = 1.0 + 1e-9
"""Maximum permitted ratio of a bound to its limit; the excess over 1 covers rounding."""
REST_TOLERANCE = 1e-9
"""Maximum |v| [rad/s] and |a| [rad/s^2] at the last knot that count as rest."""
MAX_SUBDIVISIONS = 6
"""Subdivisions before a loose hull counts as a violation; 6 leave a gap below 0.1 % of the hull."""

_FIRST_ROWS = (0, 6, 11, 15)
"""Row of the first coefficient of each quantity among the 18 rows of a segment, which hold 6, 5, 4 and 3 of them."""
_LAST_ROWS = (5, 10, 14, 17)
"""Row of the last coefficient of each quantity."""
_POWERS = np.arange(4.0)[:, None, None]
_FACTORS = (1.0, 5.0, 20.0, 60.0)
_DIFFERENCES = np.concatenate([_factor * np.diff(np.eye(6), n=_k, axis=0) for _k, _factor in enumerate(_FACTORS)])
"""Maps the coefficients of a quintic to those of the quintic and its three derivatives, on a segment of length 1."""

_SUBDIVISION = np.zeros((2, 6, 6))
"""De Casteljau's algorithm at 1/2 as one matrix for each half."""
for _i in range(6):
    _row = np.array([1.0])
    for _ in range(_i):
        _row = np.convolve(_row, [0.5, 0.5])
    _SUBDIVISION[0, _i, : _i + 1] = _row
    _SUBDIVISION[1, 5 - _i, 5 - _i :] = _row


@dataclass(frozen=True)
class Verdict:
    """Result of the certificate.

    Attributes:
        permitted: Whether every instant is proved to be inside the limits and the plan ends at rest.
        reason: "" if permitted, else "joints", "spacing", "limits" or "not_at_rest".
        joint: The joint that comes closest to one of its limits, or exceeds it most.
        quantity: The quantity of that joint: position, velocity, acceleration or jerk.
        ratio: Bound of that quantity over its limit; for position, distance from mid-range over half range.
        at_ns: Start of the segment in which it was found, relative to the start of the plan [ns].
    """

    permitted: bool
    reason: str
    joint: str = ""
    quantity: str = ""
    ratio: float = float("nan")
    at_ns: int = 0

    def __str__(self) -> str:
        """One sentence."""
        if self.reason and not self.joint:
            return f"not permitted: {self.reason}."
        where = f"{self.quantity} of {self.joint} reaches {self.ratio:.4f} of its limit"
        return f"permitted; {where}." if self.permitted else f"not permitted ({self.reason}): {where}."


def bernstein_coefficients(plan: Plan, h: Array) -> Array:
    """Bernstein coefficients of the position of every segment.

    Args:
        plan: The plan.
        h: Durations of its segments, shape (M,) [s].

    Returns:
        Shape (6, M, J) [rad].
    """
    p, v, a = plan.positions, plan.velocities, plan.accelerations
    first_order, second_order = 0.2 * h[:, None], 0.05 * (h * h)[:, None]
    b = np.empty((6, len(h), p.shape[1]))
    b[0], b[5] = p[:-1], p[1:]
    start_slope, end_slope = first_order * v[:-1], first_order * v[1:]
    b[1], b[4] = b[0] + start_slope, b[5] - end_slope
    b[2], b[3] = b[1] + start_slope + second_order * a[:-1], b[4] - end_slope + second_order * a[1:]
    return b


def subdivide(b: Array) -> tuple[Array, Array]:
    """The coefficients of both halves of each segment, each of shape (6, M, J)."""
    first, second = (_on_coefficients(matrix, b) for matrix in _SUBDIVISION)
    return first, second


def _on_coefficients(matrix: Array, b: Array) -> Array:
    return (matrix @ b.reshape(6, -1)).reshape(-1, *b.shape[1:])


@np.errstate(over="ignore", invalid="ignore")
def certify(plan: Plan, limits: Limits) -> Verdict:
    """Check a plan: permitted only if proved inside the limits at every instant and at rest at its end.

    Args:
        plan: The plan, with its joints in the order of the limits.
        limits: The limits.

    Returns:
        The verdict; it names the joint and quantity that come closest to a limit, or exceed it most.
    """
    if plan.joints != limits.joints:
        return Verdict(False, "joints")
    spans = plan.offsets_ns[1:] - plan.offsets_ns[:-1]
    if not (spans >= MIN_SEGMENT_NS).all():
        return Verdict(False, "spacing")
    last = np.abs([plan.velocities[-1], plan.accelerations[-1]])
    if not (last <= REST_TOLERANCE).all():
        return Verdict(False, "not_at_rest")
    middle, half = (limits.upper + limits.lower) / 2, (limits.upper - limits.lower) / 2
    bounds = np.array([half, limits.velocity, limits.acceleration, limits.jerk])[:, None]
    h = spans / NS
    b = bernstein_coefficients(plan, h) - middle
    segment = np.arange(len(h))
    tightest: list[tuple[float, int, int, int]] = []
    for _ in range(MAX_SUBDIVISIONS + 1):
        # Ratios to the limits: first of the hull, and where that is inconclusive, of values attained at the ends.
        unit = 1.0 / (bounds * h[:, None] ** _POWERS)
        size = np.abs(_on_coefficients(_DIFFERENCES, b))
        hull = np.maximum.reduceat(size, _FIRST_ROWS, axis=0) * unit
        proved = (hull <= MAX_RATIO).all(axis=(0, 2))
        if proved.all():
            return _verdict(True, "", max([*tightest, _largest(hull, segment)]), plan)
        attained = np.maximum(size[_FIRST_ROWS,], size[_LAST_ROWS,]) * unit
        violated = ~(attained <= MAX_RATIO).all(axis=(0, 2))
        if violated.any():
            return _verdict(False, "limits", _largest(attained[:, violated], segment[violated]), plan)
        if proved.any():
            tightest.append(_largest(hull[:, proved], segment[proved]))
        undecided = ~proved
        b, h, segment, hull = b[:, undecided], np.tile(h[undecided] / 2, 2), segment[undecided], hull[:, undecided]
        b, segment = np.concatenate(subdivide(b), axis=1), np.tile(segment, 2)
    return _verdict(False, "limits", _largest(hull, segment[: hull.shape[1]]), plan)


def _largest(ratios: Array, segment: npt.NDArray[np.intp]) -> tuple[float, int, int, int]:
    """The largest ratio with the segment, quantity and joint in which it occurs."""
    quantity, m, joint = np.unravel_index(int(ratios.argmax()), ratios.shape)
    return float(ratios[quantity, m, joint]), int(segment[m]), int(quantity), int(joint)


def _verdict(permitted: bool, reason: str, found: tuple[float, int, int, int], plan: Plan) -> Verdict:
    ratio, segment, quantity, joint = found
    at_ns = int(plan.offsets_ns[segment])
    return Verdict(permitted, reason, plan.joints[joint], QUANTITIES[quantity], ratio, at_ns)
