"""A stream of chunks for every method: a smooth motion, observed by a late, biased and noisy policy.

The policy processes one observation at a time: captured at t, its chunk arrives at t + latency, and the next
observation is captured then. Each chunk is the true motion at 30 Hz from its capture on, with a constant offset per
chunk and joint (a policy that is inconsistent from chunk to chunk) and noise per waypoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vla_ros.api import Chunk, Limits, Plan, Planner, PlannerConfig, Refusal
from vla_ros.core.records import NS, Array

RATE_HZ = 30.0
WAYPOINTS = 50
"""Waypoints per chunk."""
LATENCY_S = (0.08, 0.30)
BIAS_RAD = 0.020
NOISE_RAD = 0.002
RAMP_S = 2.0
"""Time over which the motion grows from rest; it is left out of the figures [s]."""


def limits(joints: int) -> Limits:
    """Limits of 2 rad/s, 10 rad/s^2 and 150 rad/s^3 for every joint."""
    one = np.ones(joints)
    names = tuple(f"joint_{k + 1}" for k in range(joints))
    return Limits(names, -2.9 * one, 2.9 * one, 2.0 * one, 10.0 * one, 150.0 * one)


@dataclass(frozen=True)
class Motion:
    """A sum of sines per joint that grows from rest over `RAMP_S`; each array has the shape (sines, J)."""

    amplitude: Array
    frequency: Array
    phase: Array

    def at(self, t_s: Array) -> Array:
        """Positions at n times [s], shape (n, J) [rad]."""
        t = np.asarray(t_s, dtype=np.float64)[:, None, None]
        waves = self.amplitude * np.sin(2 * np.pi * self.frequency * t + self.phase)
        u = np.clip(t[:, :, 0] / RAMP_S, 0.0, 1.0)
        return np.asarray(waves.sum(axis=1) * u**4 * (35 - 84 * u + 70 * u**2 - 20 * u**3))

    def velocity(self, t_s: Array) -> Array:
        """Velocities at n times [s] after the ramp, shape (n, J) [rad/s]."""
        t, omega = np.asarray(t_s)[:, None, None], 2 * np.pi * self.frequency
        return np.asarray((self.amplitude * omega * np.cos(omega * t + self.phase)).sum(axis=1))


@dataclass(frozen=True)
class Stream:
    """Chunks in the order of their arrival.

    Attributes:
        limits: Limits of the robot.
        motion: The true motion.
        arrivals: Time of arrival [ns] and chunk.
        duration_s: Length of the motion [s].
    """

    limits: Limits
    motion: Motion
    arrivals: tuple[tuple[int, Chunk], ...]
    duration_s: float

    def plans(self, config: PlannerConfig | None = None) -> Iterator[tuple[int, Chunk, Plan, Plan | Refusal]]:
        """Plan every chunk: time of arrival, chunk, active plan, and the new plan (then active) or a refusal."""
        planner = Planner(self.limits, config)
        active_plan = Plan.hold(self.limits.joints, self.motion.at(np.zeros(1))[0], 0)
        for now_ns, chunk in self.arrivals:
            result = planner.plan(chunk, active_plan, now_ns)
            yield now_ns, chunk, active_plan, result
            if isinstance(result, Plan):
                active_plan = result


def make_stream(joints: int = 6, duration_s: float = 40.0, *, demanding: bool = False, seed: int = 1) -> Stream:
    """A stream within limits (maximum speed 0.7 of the limit), or a demanding one (over the limit 9 % of the time)."""
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
        times = capture_s + np.arange(1, WAYPOINTS + 1) / RATE_HZ
        path = motion.at(times) + rng.normal(0.0, BIAS_RAD, joints) + rng.normal(0.0, NOISE_RAD, (WAYPOINTS, joints))
        path = np.clip(path, bounds.lower, bounds.upper)
        chunk = Chunk.from_rate(round(capture_s * NS), bounds.joints, path, 1.0 / RATE_HZ)
        capture_s += rng.uniform(*LATENCY_S)
        arrivals.append((round(capture_s * NS), chunk))
    return Stream(bounds, motion, tuple(arrivals), duration_s)
