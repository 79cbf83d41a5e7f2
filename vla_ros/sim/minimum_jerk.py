"""Minimum-jerk motion whose duration is part of the optimum, so that planning again midway changes nothing.

A segment leaves (q, v, a) and comes to rest at a target. Among all motions of duration T the one with the least
integral of squared jerk is a quintic; T itself minimises that integral plus `price` * T. By the principle of
optimality the rest of an optimal motion is optimal, so an expert that plans anew at every call and remembers
nothing but (q, v, a) draws one and the same curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_SHORTEST_S, _LONGEST_S = 0.12, 5.0


@dataclass(frozen=True, eq=False)
class Segment:
    """A quintic per joint that ends at rest.

    Attributes:
        durations_s: From start to rest, per joint, shape (J,) [s].
        coefficients: Of powers 0 to 5 of the time since the start, shape (6, J).
    """

    durations_s: Array
    coefficients: Array

    @property
    def duration_s(self) -> float:
        """From the start until the last joint rests [s]."""
        return float(self.durations_s.max())

    def at(self, time_s: float, order: int = 0) -> Array:
        """Position (order 0), velocity (1) or acceleration (2) at a time; at rest on the target afterwards; (J,)."""
        t = np.clip(time_s, 0.0, self.durations_s)
        c = self.coefficients
        for _ in range(order):
            c = c[1:] * np.arange(1, len(c))[:, None]
        value = np.zeros(c.shape[1])
        for row in c[::-1]:
            value = value * t + row
        return value

    def beside(self, other: Segment) -> Segment:
        """Both at once: this one's joints, then the other's."""
        return Segment(
            np.concatenate([self.durations_s, other.durations_s]),
            np.concatenate([self.coefficients, other.coefficients], axis=1),
        )


def segment(position: Array, velocity: Array, acceleration: Array, target: Array, price: float) -> Segment:
    """The best segment from a moving start to rest.

    Args:
        position: Start, shape (J,) [rad].
        velocity: There, shape (J,) [rad/s].
        acceleration: There, shape (J,) [rad/s^2].
        target: Where to rest, shape (J,) [rad].
        price: What a second costs, in units of squared jerk [rad^2/s^6]; from rest over a distance D the
            duration is (3600 D^2 / price) ** (1/6).

    Returns:
        The segment.
    """
    duration = _best_duration(position, velocity, acceleration, target, price)
    coefficients = _quintic(position, velocity, acceleration, target, duration)
    return Segment(np.full(len(target), duration), coefficients)


def _best_duration(p: Array, v: Array, a: Array, target: Array, price: float) -> float:
    d = target - p
    # Integral of squared jerk times T^5, as a polynomial in T.
    terms = (720.0 * d @ d, -720.0 * d @ v, 192.0 * v @ v - 120.0 * d @ a, 72.0 * v @ a, 9.0 * a @ a)

    def cost(t: Array) -> Array:
        return np.asarray(sum(c * t ** (k - 5) for k, c in enumerate(terms)) + price * t)

    low, high = _SHORTEST_S, _LONGEST_S
    for _ in range(4):
        grid = np.linspace(low, high, 40)
        best = int(np.argmin(cost(grid)))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 39)]
    return float((low + high) / 2.0)


def _quintic(p: Array, v: Array, a: Array, target: Array, duration: float) -> Array:
    t = duration
    d = target - p
    c3 = (10.0 * d - 6.0 * v * t - 1.5 * a * t * t) / t**3
    c4 = (-15.0 * d + 8.0 * v * t + 1.5 * a * t * t) / t**4
    c5 = (6.0 * d - 3.0 * v * t - 0.5 * a * t * t) / t**5
    return np.stack([p, v, a / 2.0, c3, c4, c5])
