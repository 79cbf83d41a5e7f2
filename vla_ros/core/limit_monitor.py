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


class Judge:
    """Judges a stream as it comes; keeps no more of it than the next part needs, and says what `judge` says of all."""

    def __init__(self, limits: Limits) -> None:
        """Nothing heard, nothing violated; `limits` is what no command may exceed."""
        middle, half = (limits.lower + limits.upper) / 2, (limits.upper - limits.lower) / 2
        self._middle, self._bounds = middle, (half, limits.velocity, limits.acceleration, limits.jerk)
        self._stamps = np.zeros(0, dtype=np.int64)
        self._positions = np.zeros((0, len(limits.joints)))
        self._samples = self._silences = 0
        self._violations = dict.fromkeys(QUANTITIES, 0)
        self._peaks = dict.fromkeys(QUANTITIES, 0.0)

    def add(self, stamps_ns: npt.NDArray[np.int64], positions: Array) -> None:
        """Judge what follows what came before.

        Args:
            stamps_ns: Strictly increasing, shape (n,) [ns].
            positions: In the order of `limits.joints`, shape (n, J) [rad].
        """
        known = len(self._stamps)
        stamps = np.concatenate([self._stamps, stamps_ns])
        rows = np.concatenate([self._positions, positions])
        cuts = np.flatnonzero(np.diff(stamps) > GAP_NS) + 1
        begins = [0, *cuts.tolist()]
        for begin, end in zip(begins, [*begins[1:], len(stamps)], strict=True):
            if end > max(begin, known):
                self._judge(stamps[begin:end], rows[begin:end], max(0, known - begin))
        self._samples += len(stamps_ns)
        self._silences += int((cuts >= known).sum())
        self._stamps, self._positions = stamps[-3:], rows[-3:]

    def _judge(self, stamps: npt.NDArray[np.int64], positions: Array, known: int) -> None:
        """Judge a stream without a pause, of which the first `known` samples were judged before."""
        found = [(positions - self._middle, np.full(positions.shape, ULP)), *divided_differences(stamps, positions)]
        for order, (name, bound) in enumerate(zip(QUANTITIES, self._bounds, strict=True)):
            values, noise = (part[max(0, known - order) :] for part in found[order])
            if not len(values):
                continue
            inside = np.abs(values) <= bound * (1.0 + RELATIVE) + noise
            self._violations[name] += int(np.count_nonzero(~inside.all(axis=1)))
            self._peaks[name] = max(self._peaks[name], float(np.max((np.abs(values) - noise) / bound)))

    def judgement(self) -> Judgement:
        """What was found so far."""
        return Judgement(self._samples, self._silences, dict(self._violations), dict(self._peaks))


def judge(stamps_ns: npt.NDArray[np.int64], positions: Array, limits: Limits) -> Judgement:
    """Judge a whole stream of commands, split where it pauses; arguments as of `Judge`."""
    whole = Judge(limits)
    whole.add(stamps_ns, positions)
    return whole.judgement()
