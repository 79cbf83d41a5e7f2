"""Random disturbance of the joints during demonstrations, so that they contain recoveries."""

from __future__ import annotations

import numpy as np

from vla_ros.core.records import Array


class Disturbance:
    """A smooth random offset of the joint targets that comes in bursts.

    White noise passes through two equal first-order low-pass filters; each burst has a random strength. The pauses
    between bursts give the expert or policy time to complete a grasp.
    """

    def __init__(self, rng: np.random.Generator, joints: int, deviation: float, time_s: float, dt_s: float) -> None:
        """Start in a pause.

        Args:
            rng: Source of randomness.
            joints: Number of joints (J).
            deviation: Standard deviation of a burst of full strength [rad].
            time_s: Correlation time; bursts last 1.5 and pauses 4 times as long on average [s].
            dt_s: Control period [s].
        """
        self._rng, self._decay = rng, float(np.exp(-dt_s / time_s))
        # The gain that gives the second filter's output unit variance.
        a = self._decay
        self._gain = deviation / np.sqrt((1 - a) ** 4 * (1 + a * a) / (1 - a * a) ** 3)
        self._first, self._second = np.zeros(joints), np.zeros(joints)
        self._switch_probability = {True: dt_s / (1.5 * time_s), False: dt_s / (4.0 * time_s)}
        self._strength = 0.0

    def step(self) -> Array:
        """The offset after one more control period, shape (J,) [rad]."""
        if self._rng.random() < self._switch_probability[self._strength > 0.0]:
            self._strength = 0.0 if self._strength > 0.0 else float(self._rng.uniform(0.2, 1.0))
        noise = self._rng.normal(0.0, self._gain, self._first.shape) * self._strength
        self._first = self._decay * self._first + (1 - self._decay) * noise
        self._second = self._decay * self._second + (1 - self._decay) * self._first
        return self._second
