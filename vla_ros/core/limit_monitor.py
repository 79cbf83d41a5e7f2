"""Checks a stream of stamped positions against the limits, without knowing how it was made, by divided differences.

The n-th divided difference of a curve over n + 1 instants is an average of its n-th derivative between them (de Boor,
"A Practical Guide to Splines", I.(7)), for any spacing. A stream sampled from a motion inside its limits can therefore
never exceed them here, and a stream that does exceed them has left them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import NS, Array
from vla_ros.core.robot import Limits

QUANTITIES = ("position", "velocity", "acceleration", "jerk")
GAP_NS = NS // 10
"""After a longer gap a new stream begins: the arm was disarmed, or the command loop stalled [ns]."""
RELATIVE_TOLERANCE = 1e-6
"""Excess over a limit, as a fraction of it, that counts as rounding."""
ROUNDING_RAD = 4e-16
"""Rounding error of a position of about one radian [rad]."""


@dataclass(frozen=True, eq=False)
class LimitReport:
    """Largest magnitudes, and how often a limit was exceeded.

    Attributes:
        samples: Number of instants checked.
        gaps: How often the stream paused for longer than `GAP_NS`.
        violations: Number of instants at which any joint exceeded a limit, per quantity.
        peak_ratio: Largest fraction of the limit reached, per quantity.
    """

    samples: int
    gaps: int
    violations: dict[str, int]
    peak_ratio: dict[str, float]


def divided_differences(stamps_ns: npt.NDArray[np.int64], positions: Array) -> list[tuple[Array, Array]]:
    """Average derivatives of order 1 to 3 of a stream.

    Args:
        stamps_ns: Strictly increasing, shape (n,) [ns].
        positions: Shape (n, J) [rad].

    Returns:
        Per order k the averages, shape (n - k, J) [rad/s^k], and a bound of their rounding errors.
    """
    t = (stamps_ns - stamps_ns[0]) / NS
    values, noise = positions, np.full(positions.shape, ROUNDING_RAD)
    averages = []
    for order in range(1, 4):
        width = (t[order:] - t[:-order])[:, None] / order
        values = np.diff(values, axis=0) / width
        noise = (noise[1:] + noise[:-1]) / width
        averages.append((values, noise))
    return averages


class LimitMonitor:
    """Checks a stream part by part; the result is that of `check_limits` for the complete stream.

    Only the last three samples are kept from one part to the next.
    """

    def __init__(self, limits: Limits) -> None:
        """Start with no samples; `limits` must not be exceeded."""
        middle, half = (limits.lower + limits.upper) / 2, (limits.upper - limits.lower) / 2
        self._middle, self._bounds = middle, (half, limits.velocity, limits.acceleration, limits.jerk)
        self._stamps = np.zeros(0, dtype=np.int64)
        self._positions = np.zeros((0, len(limits.joints)))
        self._samples = self._gaps = 0
        self._violations = dict.fromkeys(QUANTITIES, 0)
        self._peaks = dict.fromkeys(QUANTITIES, 0.0)

    def add(self, stamps_ns: npt.NDArray[np.int64], positions: Array) -> None:
        """Check the next part of the stream.

        Args:
            stamps_ns: Strictly increasing, also from one part to the next, shape (n,) [ns].
            positions: In the order of `limits.joints`, shape (n, J) [rad].
        """
        known = len(self._stamps)
        stamps = np.concatenate([self._stamps, stamps_ns])
        rows = np.concatenate([self._positions, positions])
        cuts = np.flatnonzero(np.diff(stamps) > GAP_NS) + 1
        begins = [0, *cuts.tolist()]
        for begin, end in zip(begins, [*begins[1:], len(stamps)], strict=True):
            if end > max(begin, known):
                self._check(stamps[begin:end], rows[begin:end], max(0, known - begin))
        self._samples += len(stamps_ns)
        self._gaps += int((cuts >= known).sum())
        self._stamps, self._positions = stamps[-3:], rows[-3:]

    def _check(self, stamps: npt.NDArray[np.int64], positions: Array, known: int) -> None:
        """Check a stream without gaps whose first `known` samples were checked before."""
        rounding = np.full(positions.shape, ROUNDING_RAD)
        derivatives = [(positions - self._middle, rounding), *divided_differences(stamps, positions)]
        for order, (name, bound) in enumerate(zip(QUANTITIES, self._bounds, strict=True)):
            values, noise = (part[max(0, known - order) :] for part in derivatives[order])
            if not len(values):
                continue
            inside = np.abs(values) <= bound * (1.0 + RELATIVE_TOLERANCE) + noise
            self._violations[name] += int(np.count_nonzero(~inside.all(axis=1)))
            self._peaks[name] = max(self._peaks[name], float(np.max((np.abs(values) - noise) / bound)))

    def report(self) -> LimitReport:
        """The result for all parts so far."""
        return LimitReport(self._samples, self._gaps, dict(self._violations), dict(self._peaks))


def check_limits(stamps_ns: npt.NDArray[np.int64], positions: Array, limits: Limits) -> LimitReport:
    """Check a complete stream of commands, split at its gaps; arguments as in `LimitMonitor.add`."""
    monitor = LimitMonitor(limits)
    monitor.add(stamps_ns, positions)
    return monitor.report()
