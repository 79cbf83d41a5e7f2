"""Minimum-jerk motion with free duration: replanning midway reproduces the rest of the same motion.

A segment starts at (q, v, a) and comes to rest at a target. Among all motions of duration T the one that minimises the
integral of squared jerk is a quintic (Flash and Hogan 1985); T itself minimises that integral plus `time_weight` * T.
By the principle of optimality the rest of an optimal motion is optimal, so an expert that replans at every call and
keeps only (q, v, a) stays on one curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.records import Array

_MIN_DURATION_S, _MAX_DURATION_S = 0.12, 5.0


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
        """From the start until the last joint is at rest [s]."""
        return float(self.durations_s.max())

    def at(self, time_s: float, derivative: int = 0) -> Array:
        """Position (derivative 0), velocity (1) or acceleration (2) at a time, shape (J,); at rest after the end."""
        t = np.clip(time_s, 0.0, self.durations_s)
        c = self.coefficients
        for _ in range(derivative):
            c = c[1:] * np.arange(1, len(c))[:, None]
        value = np.zeros(c.shape[1])
        for row in c[::-1]:
            value = value * t + row
        return value

    def joined(self, other: Segment) -> Segment:
        """The simultaneous motion of both: this segment's joints, then those of `other`."""
        return Segment(
            np.concatenate([self.durations_s, other.durations_s]),
            np.concatenate([self.coefficients, other.coefficients], axis=1),
        )


def minimum_jerk_segment(
    position: Array, velocity: Array, acceleration: Array, target: Array, time_weight: float
) -> Segment:
    """The optimal segment from a moving start to rest.

    Args:
        position: At the start, shape (J,) [rad].
        velocity: At the start, shape (J,) [rad/s].
        acceleration: At the start, shape (J,) [rad/s^2].
        target: Position at the end, shape (J,) [rad].
        time_weight: Cost of one second, in units of squared jerk [rad^2/s^6]; a greater weight moves faster. From rest
            over a distance D the duration is (3600 D^2 / time_weight) ** (1/6).
    """
    duration = _optimal_duration(position, velocity, acceleration, target, time_weight)
    coefficients = _quintic(position, velocity, acceleration, target, duration)
    return Segment(np.full(len(target), duration), coefficients)


def rest_to_rest(start: Array, target: Array, duration_s: float) -> Segment:
    """The minimum-jerk segment of a given duration [s] between two positions at rest, each of shape (J,) [rad]."""
    zero = np.zeros(len(target))
    return Segment(np.full(len(target), duration_s), _quintic(start, zero, zero, target, duration_s))


def _optimal_duration(p: Array, v: Array, a: Array, target: Array, time_weight: float) -> float:
    d = target - p
    # Integral of squared jerk times T^5, as a polynomial in T.
    terms = (720.0 * d @ d, -720.0 * d @ v, 192.0 * v @ v - 120.0 * d @ a, 72.0 * v @ a, 9.0 * a @ a)

    def cost(t: Array) -> Array:
        return np.asarray(sum(c * t ** (k - 5) for k, c in enumerate(terms)) + time_weight * t)

    low, high = _MIN_DURATION_S, _MAX_DURATION_S
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
