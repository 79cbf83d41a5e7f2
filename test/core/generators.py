"""Random limits, chunks and plans for tests, each from a numpy generator."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from vla_ros.core.records import NS, Chunk
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner, PlannerConfig

SEED = st.integers(0, 2**31)
T0 = 1_700_000_000 * NS
"""A realistic stamp, so that rounding of large stamps is tested [ns]."""


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def instants(start_ns: int, end_ns: int, count: int) -> np.ndarray:
    """Evenly spaced whole nanoseconds; a float64 near a time of day is 256 ns coarse."""
    return start_ns + np.linspace(0, end_ns - start_ns, count).astype(np.int64)


def names(count: int) -> tuple[str, ...]:
    return tuple(f"joint_{i}" for i in range(count))


def arm_limits(joints: int = 6) -> Limits:
    """The same limits for every joint, about those of a table-top arm."""
    one = np.ones(joints)
    return Limits(names(joints), -1.8 * one, 1.8 * one, 2.0 * one, 10.0 * one, 150.0 * one)


def random_limits(rng: np.random.Generator, joints: int | None = None) -> Limits:
    """Joints that differ by factors of ten, with ranges anywhere."""
    n = joints or int(rng.integers(1, 15))
    middle, half = rng.uniform(-3.0, 3.0, n), 10.0 ** rng.uniform(-0.5, 0.8, n)
    velocity = 10.0 ** rng.uniform(-0.6, 0.7, n)
    acceleration = velocity * 10.0 ** rng.uniform(0.3, 1.2, n)
    jerk = acceleration * 10.0 ** rng.uniform(0.7, 1.6, n)
    return Limits(names(n), middle - half, middle + half, velocity, acceleration, jerk)


def random_chunk(rng: np.random.Generator, limits: Limits, now_ns: int) -> Chunk:
    """Sines of any amplitude with bias and noise, often far outside the limits, up to 0.3 s old."""
    n = len(limits.joints)
    count, dt = int(rng.choice([1, 2, 10, 50, 500])), float(rng.choice([0.001, 0.01, 1 / 30, 0.1, 3.0]))
    t = dt * np.arange(1, count + 1)[:, None]
    middle, half = (limits.lower + limits.upper) / 2, (limits.upper - limits.lower) / 2
    wave = np.sin(2 * np.pi * rng.uniform(0.0, 3.0, n) * t + rng.uniform(0.0, 6.0, n))
    bias, noise = rng.normal(0.0, 0.3, n), rng.normal(0.0, 0.02, (count, n))
    positions = middle + half * (rng.choice([0.3, 1.0, 3.0]) * wave + bias + noise)
    chunk = Chunk.from_rate(now_ns - int(rng.uniform(0.0, 0.3) * NS), limits.joints, positions, dt)
    return random_curve(rng, chunk, limits) if count > 1 and rng.random() < 0.3 else chunk


def random_curve(rng: np.random.Generator, chunk: Chunk, limits: Limits) -> Chunk:
    """A curve through the same points that is as fast as the limits allow at them, or far too fast."""
    reach = rng.choice([0.3, 10.0]) * np.array([limits.velocity, limits.acceleration])
    velocities, accelerations = rng.normal(0.0, 1.0, (2, *chunk.positions.shape)) * reach[:, None]
    times = np.append(rng.choice([0.0, chunk.offsets_s[0]]), chunk.offsets_s[1:])
    return Chunk(chunk.stamp_ns, chunk.joints, times, chunk.positions, velocities, accelerations)


def random_plan(rng: np.random.Generator, joints: int = 3, start_ns: int = T0) -> Plan:
    """A plan of random knots, inside no particular limits, at rest at its end."""
    pieces = int(rng.integers(2, 12))
    offsets = np.concatenate([[0], np.cumsum(rng.integers(5_000_000, 300_000_000, pieces))])
    p, v, a = (rng.normal(0.0, s, (pieces + 1, joints)) for s in (0.5, 1.0, 5.0))
    v[-1] = a[-1] = 0.0
    return Plan(names(joints), start_ns, offsets, p, v, a)


def chained_plan(rng: np.random.Generator, limits: Limits, plans: int = 4) -> Plan:
    """The last of a sequence of plans made from random chunks, each continuing the one before."""
    planner, now = Planner(limits, PlannerConfig(max_handover_error_rad=1e6)), T0
    active_plan = Plan.hold(limits.joints, rng.uniform(limits.lower, limits.upper), now)
    for _ in range(plans):
        now += int(rng.uniform(0.05, 0.5) * NS)
        plan = planner.plan(random_chunk(rng, limits, now), active_plan, now)
        active_plan = plan if isinstance(plan, Plan) else active_plan
    return active_plan


def divided_differences(times_ns: np.ndarray, positions: np.ndarray) -> list[np.ndarray]:
    """Mean velocity, acceleration and jerk over 2, 3 and 4 samples at any times, as a robot would measure them."""
    t, out, table = (times_ns - times_ns[0]) / 1e9, [], positions
    for order in (1, 2, 3):
        table = np.diff(table, axis=0) / (t[order:] - t[:-order])[:, None]
        out.append(table * (1.0, 2.0, 6.0)[order - 1])
    return out


def assert_within_limits(times_ns: np.ndarray, positions: np.ndarray, limits: Limits) -> None:
    """Assert that commands at the given times keep every limit."""
    assert (limits.lower - 1e-7 <= positions).all()
    assert (positions <= limits.upper + 1e-7).all()
    bounds = (limits.velocity, limits.acceleration, limits.jerk)
    for name, values, limit in zip("vaj", divided_differences(times_ns, positions), bounds, strict=True):
        if len(values):
            worst = np.abs(values / limit).max(axis=1)
            i = int(worst.argmax())
            assert worst[i] <= 1 + 1e-3, f"{name} reaches {worst[i]:.4f} of its limit at {times_ns[i] - times_ns[0]} ns"
