"""Limits judged from outside: what a stream of stamped positions did, by divided differences.

The n-th divided difference of a curve over n + 1 instants is an average of its n-th derivative between
them (de Boor, "A Practical Guide to Splines", I.(7)), whatever the spacing. A stream sampled from a
motion inside its limits can therefore never exceed them here, and one that does has left them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import NS, Array
from vla_ros.core.robot import Limits

QUANTITIES = ("position", "velocity", "acceleration", "jerk")
GAP_NS = NS // 10
"""A longer silence begins a new stream: the arm was disarmed, or the command loop stood still [ns]."""
RELATIVE = 1e-6
"""Excess over a limit that counts as rounding."""
ULP = 4e-16
"""Rounding of a position of about one radian [rad]."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """Largest magnitudes and how often a limit was exceeded.

    Attributes:
        samples: Instants judged.
        silences: How often the stream paused for longer than `GAP_NS`.
        violations: Instants at which any joint exceeded a limit, per quantity.
        peak_ratio: Largest fraction of the limit reached, per quantity.
    """

    samples: int
    silences: int
    violations: dict[str, int]
    peak_ratio: dict[str, float]


def divided_differences(stamps_ns: npt.NDArray[np.int64], positions: Array) -> list[tuple[Array, Array]]:
    """Average derivatives of order 1 to 3 of a stream.

    Args:
        stamps_ns: Strictly increasing, shape (n,) [ns].
        positions: Shape (n, J) [rad].

    Returns:
        Per order k the averages, shape (n - k, J) [rad/s^k], and how far rounding may have moved each.
    """
    t = (stamps_ns - stamps_ns[0]) / NS
    values, noise = positions, np.full(positions.shape, ULP)
    found = []
    for order in range(1, 4):
        width = (t[order:] - t[:-order])[:, None] / order
        values = np.diff(values, axis=0) / width
        noise = (noise[1:] + noise[:-1]) / width
        found.append((values, noise))
    return found


def judge(stamps_ns: npt.NDArray[np.int64], positions: Array, limits: Limits) -> Judgement:
    """Judge a stream of commands, split where it pauses.

    Args:
        stamps_ns: Strictly increasing, shape (n,) [ns].
        positions: In the order of `limits.joints`, shape (n, J) [rad].
        limits: What no command may exceed.
    """
    violations = dict.fromkeys(QUANTITIES, 0)
    peaks = dict.fromkeys(QUANTITIES, 0.0)
    middle, half = (limits.lower + limits.upper) / 2, (limits.upper - limits.lower) / 2
    bounds = (limits.velocity, limits.acceleration, limits.jerk)
    cuts = np.flatnonzero(np.diff(stamps_ns) > GAP_NS) + 1
    for stamps, part in zip(np.split(stamps_ns, cuts), np.split(positions, cuts), strict=True):
        if not len(stamps):
            continue
        rows = [(part - middle, np.full(part.shape, ULP), half)]
        rows += [(v, n, b) for (v, n), b in zip(divided_differences(stamps, part), bounds, strict=True)]
        for name, (values, noise, bound) in zip(QUANTITIES, rows, strict=True):
            if not len(values):
                continue
            inside = np.abs(values) <= bound * (1.0 + RELATIVE) + noise
            violations[name] += int(np.count_nonzero(~inside.all(axis=1)))
            peaks[name] = max(peaks[name], float(np.max((np.abs(values) - noise) / bound)))
    return Judgement(len(stamps_ns), len(cuts), violations, peaks)
