"""One stream of chunks for every method: a smooth motion seen by a late, biased and noisy policy.

The policy answers one observation at a time: captured at t, answered at t + latency, and the next one is
captured at once. Each chunk is the true motion at 30 Hz from its capture on, displaced by a constant of
its own per joint (the policy is not of one mind from chunk to chunk) and by noise per waypoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vla_ros.api import Chunk, Limits, Plan, Planner, PlannerConfig, Refusal
from vla_ros.core.records import NS, Array

RATE_HZ = 30.0
POINTS = 50
LATENCY_S = (0.08, 0.30)
BIAS_RAD = 0.020
NOISE_RAD = 0.002
RAMP_S = 2.0
"""The motion grows from rest over this time; figures are taken after it."""


def limits(joints: int) -> Limits:
    """2 rad/s, 10 rad/s^2 and 150 rad/s^3 for every joint."""
    one = np.ones(joints)
    names = tuple(f"joint_{k + 1}" for k in range(joints))
    return Limits(names, -2.9 * one, 2.9 * one, 2.0 * one, 10.0 * one, 150.0 * one)


@dataclass(frozen=True)
class Motion:
    """A sum of sines per joint, grown from rest over `RAMP_S`; each array of shape (sines, J)."""

    amplitude: Array
    frequency: Array
    phase: Array

    def at(self, t_s: Array) -> Array:
        """Positions at n instants, shape (n, J) [rad]."""
        t = np.asarray(t_s, dtype=np.float64)[:, None, None]
        waves = self.amplitude * np.sin(2 * np.pi * self.frequency * t + self.phase)
        u = np.clip(t[:, :, 0] / RAMP_S, 0.0, 1.0)
        return np.asarray(waves.sum(axis=1) * u**4 * (35 - 84 * u + 70 * u**2 - 20 * u**3))

    def velocity(self, t_s: Array) -> Array:
        """Velocities at n instants after the ramp, shape (n, J) [rad/s]."""
        t, omega = np.asarray(t_s)[:, None, None], 2 * np.pi * self.frequency
        return np.asarray((self.amplitude * omega * np.cos(omega * t + self.phase)).sum(axis=1))


@dataclass(frozen=True)
class Stream:
    """Chunks in the order of their arrival.

    Attributes:
        limits: Of the robot.
        motion: What the policy sees, without its errors.
        arrivals: When each chunk arrives [ns], and the chunk.
        duration_s: Length of the motion [s].
    """

    limits: Limits
    motion: Motion
    arrivals: tuple[tuple[int, Chunk], ...]
    duration_s: float

    def plans(self, config: PlannerConfig | None = None) -> Iterator[tuple[int, Chunk, Plan, Plan | Refusal]]:
        """Arrival, chunk, plan in force and what the planner made of it; what it permits comes in force."""
        planner = Planner(self.limits, config)
        force = Plan.hold(self.limits.joints, self.motion.at(np.zeros(1))[0], 0)
        for now_ns, chunk in self.arrivals:
            found = planner.plan(chunk, force, now_ns)
            yield now_ns, chunk, force, found
            if isinstance(found, Plan):
                force = found


def make(joints: int = 6, duration_s: float = 40.0, *, demanding: bool = False, seed: int = 1) -> Stream:
    """A stream within limits (peak speed 0.7 of the limit), or a demanding one (over it 9 % of the time)."""
    rng = np.random.default_rng(seed)
    bounds = limits(joints)
    shape = (4, joints)
    frequency = rng.uniform(0.15, 0.8, shape)
    motion = Motion(rng.uniform(0.5, 1.0, shape) / frequency, frequency, rng.uniform(0, 2 * np.pi, shape))
    speed = np.abs(motion.velocity(np.arange(0.0, duration_s, 0.01)))
    reached = np.quantile(speed, 0.91, axis=0) if demanding else speed.max(axis=0) / 0.7
    motion = Motion(motion.amplitude * bounds.velocity / reached, frequency, motion.phase)

    arrivals, capture_s = [], 0.0
    while capture_s < duration_s:
        times = capture_s + np.arange(1, POINTS + 1) / RATE_HZ
        seen = motion.at(times) + rng.normal(0.0, BIAS_RAD, joints) + rng.normal(0.0, NOISE_RAD, (POINTS, joints))
        seen = np.clip(seen, bounds.lower, bounds.upper)
        chunk = Chunk.from_rate(round(capture_s * NS), bounds.joints, seen, 1.0 / RATE_HZ)
        capture_s += rng.uniform(*LATENCY_S)
        arrivals.append((round(capture_s * NS), chunk))
    return Stream(bounds, motion, tuple(arrivals), duration_s)
