"""The certificate: whether a plan stays inside limits at every instant, by its own mathematics.

Each quintic piece is written in Bernstein form from (p, v, a) at its ends. A polynomial lies inside the
hull of its Bernstein coefficients, and so do its derivatives inside theirs, so coefficients inside the
limits prove the piece. Where the hull is loose the piece is halved (de Casteljau) and looked at again.
Nothing here is shared with the planner. Bernstein form: Farouki, "The Bernstein polynomial basis: a
centennial retrospective", CAGD 29 (2012), sections 3 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import NS, Array
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan

QUANTITIES = ("position", "velocity", "acceleration", "jerk")
SHORTEST_PIECE_NS = 1_000_000
CEILING = 1.0 + 1e-9
"""Largest fraction of a limit permitted; the excess is for rounding, the limits are stated to three digits."""
REST = 1e-9
"""Largest |v| [rad/s] and |a| [rad/s^2] at the last knot that count as rest."""
DEEPEST = 6
"""Halvings before a loose hull is taken for a violation; 6 leave a gap below 0.1 % of the hull."""

_GROUPS = (0, 6, 11, 15)
"""Where the coefficients of each quantity start among the 18 of a piece: 6, 5, 4 and 3 of them."""
_ENDS = (5, 10, 14, 17)
_POWERS = np.arange(4.0)[:, None, None]
_FACTORS = (1.0, 5.0, 20.0, 60.0)
_DIFFERENCES = np.concatenate([_factor * np.diff(np.eye(6), n=_k, axis=0) for _k, _factor in enumerate(_FACTORS)])
"""From the coefficients of a quintic to those of it and its three derivatives, on a piece of length 1."""

_HALVES = np.zeros((2, 6, 6))
"""De Casteljau's algorithm at 1/2 as a matrix for either half."""
for _i in range(6):
    _row = np.array([1.0])
    for _ in range(_i):
        _row = np.convolve(_row, [0.5, 0.5])
    _HALVES[0, _i, : _i + 1] = _row
    _HALVES[1, 5 - _i, 5 - _i :] = _row


@dataclass(frozen=True)
class Verdict:
    """What the certificate says.

    Attributes:
        permitted: Whether every instant is proved to be inside the limits, and the plan ends at rest.
        reason: "" if permitted, else "joints", "spacing", "limits" or "not_at_rest".
        joint: The joint that comes closest to, or farthest beyond, one of its limits.
        quantity: Which of position, velocity, acceleration, jerk that is.
        ratio: Bound of that quantity over its limit; for position, distance from mid-range over half range.
        at_ns: Start of the piece it was found in, after the plan's start [ns].
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


def bernstein(plan: Plan, h: Array) -> Array:
    """Bernstein coefficients of the position of every piece, shape (6, M, J)."""
    p, v, a = plan.positions, plan.velocities, plan.accelerations
    step, bend = 0.2 * h[:, None], 0.05 * (h * h)[:, None]
    b = np.empty((6, len(h), p.shape[1]))
    b[0], b[5] = p[:-1], p[1:]
    out, back = step * v[:-1], step * v[1:]
    b[1], b[4] = b[0] + out, b[5] - back
    b[2], b[3] = b[1] + out + bend * a[:-1], b[4] - back + bend * a[1:]
    return b


def halves(b: Array) -> tuple[Array, Array]:
    """The coefficients of both halves of each piece, (6, M, J) and (6, M, J)."""
    first, second = (_on_coefficients(half_of, b) for half_of in _HALVES)
    return first, second


def _on_coefficients(matrix: Array, b: Array) -> Array:
    return (matrix @ b.reshape(6, -1)).reshape(-1, *b.shape[1:])


@np.errstate(over="ignore", invalid="ignore")
def certify(plan: Plan, limits: Limits) -> Verdict:
    """Judge a plan: permitted only if proved inside the limits at every instant and at rest at its end.

    Args:
        plan: The plan; its joints in the order of the limits.
        limits: What it must stay inside.

    Returns:
        The verdict; it names the joint and quantity that come closest to a limit, or exceed it most.
    """
    if plan.joints != limits.joints:
        return Verdict(False, "joints")
    spans = plan.offsets_ns[1:] - plan.offsets_ns[:-1]
    if not (spans >= SHORTEST_PIECE_NS).all():
        return Verdict(False, "spacing")
    last = np.abs([plan.velocities[-1], plan.accelerations[-1]])
    if not (last <= REST).all():
        return Verdict(False, "not_at_rest")
    middle, half = (limits.upper + limits.lower) / 2, (limits.upper - limits.lower) / 2
    bounds = np.array([half, limits.velocity, limits.acceleration, limits.jerk])[:, None]
    h = spans / NS
    b = bernstein(plan, h) - middle
    piece = np.arange(len(h))
    tightest: list[tuple[float, int, int, int]] = []
    for _ in range(DEEPEST + 1):
        # Fractions of the limits: of the hull and, where that is not enough, of values really reached.
        unit = 1.0 / (bounds * h[:, None] ** _POWERS)
        size = np.abs(_on_coefficients(_DIFFERENCES, b))
        hull = np.maximum.reduceat(size, _GROUPS, axis=0) * unit
        proved = (hull <= CEILING).all(axis=(0, 2))
        if proved.all():
            return _verdict(True, "", max([*tightest, _largest(hull, piece)]), plan)
        attained = np.maximum(size[_GROUPS,], size[_ENDS,]) * unit
        lost = ~(attained <= CEILING).all(axis=(0, 2))
        if lost.any():
            return _verdict(False, "limits", _largest(attained[:, lost], piece[lost]), plan)
        if proved.any():
            tightest.append(_largest(hull[:, proved], piece[proved]))
        open_ = ~proved
        b, h, piece, hull = b[:, open_], np.tile(h[open_] / 2, 2), piece[open_], hull[:, open_]
        b, piece = np.concatenate(halves(b), axis=1), np.tile(piece, 2)
    return _verdict(False, "limits", _largest(hull, piece[: hull.shape[1]]), plan)


def _largest(ratios: Array, piece: npt.NDArray[np.intp]) -> tuple[float, int, int, int]:
    quantity, m, joint = np.unravel_index(int(ratios.argmax()), ratios.shape)
    return float(ratios[quantity, m, joint]), int(piece[m]), int(quantity), int(joint)


def _verdict(permitted: bool, reason: str, found: tuple[float, int, int, int], plan: Plan) -> Verdict:
    ratio, piece, quantity, joint = found
    at_ns = int(plan.offsets_ns[piece])
    return Verdict(permitted, reason, plan.joints[joint], QUANTITIES[quantity], ratio, at_ns)
