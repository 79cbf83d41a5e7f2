"""What nudges the arm while demonstrations are recorded, so that they show how to get back."""

from __future__ import annotations

import numpy as np

from vla_ros.core.records import Array


class Disturbance:
    """A smooth random offset of the joints that comes in bursts, as if somebody nudged the arm now and then.

    White noise through two equal first-order filters; each burst has a strength of its own. Between bursts
    whoever drives has time to finish something, or no disturbed try would ever get past the grasp.
    """

    def __init__(self, rng: np.random.Generator, joints: int, deviation: float, time_s: float, dt_s: float) -> None:
        """Start quiet; a full burst has standard deviation `deviation` [rad] and lasts about 1.5 `time_s`."""
        self._rng, self._keep = rng, float(np.exp(-dt_s / time_s))
        # The gain that gives the second filter's output unit variance.
        a = self._keep
        self._gain = deviation / np.sqrt((1 - a) ** 4 * (1 + a * a) / (1 - a * a) ** 3)
        self._first, self._second = np.zeros(joints), np.zeros(joints)
        self._flip = {True: dt_s / (1.5 * time_s), False: dt_s / (4.0 * time_s)}
        self._strength = 0.0

    def step(self) -> Array:
        """The offset one control step later, shape (J,) [rad]."""
        if self._rng.random() < self._flip[self._strength > 0.0]:
            self._strength = 0.0 if self._strength > 0.0 else float(self._rng.uniform(0.2, 1.0))
        drive = self._rng.normal(0.0, self._gain, self._first.shape) * self._strength
        self._first = self._keep * self._first + (1 - self._keep) * drive
        self._second = self._keep * self._second + (1 - self._keep) * self._first
        return self._second
