"""Ways to rest: along the path by slowing the plan's own clock, or straight down joint by joint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import NS, Array
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Motion, Plan, State

RAMPS_NS = np.array([100, 140, 200, 280, 400, 560, 800, 1100, 1600, 2200, 3200]) * (NS // 1000)
"""Ramp lengths tried for a path stop, shortest first [ns]."""
ROUGH = 33
"""Samples of each ramp that tell which are worth a closer look; all ramps are sampled at once."""
SAMPLE_NS = 2_000_000
PIECES = 24
"""Quintics that are as good as a path stop: at 24 its jerk differs by less than a hundredth of the limit."""
MARGIN = 0.99
"""Fraction of the acceleration and jerk limits a path stop may use at the samples it is checked at."""


@dataclass(frozen=True, eq=False)
class PathStop:
    """A plan followed on a clock that slows from full rate to zero: the arm never leaves its path.

    With u = (t - start) / T the rate of the clock is 1 - 3 u^2 + 2 u^3, so rate and its derivative are
    continuous and the motion stays C2.

    Attributes:
        plan: The plan that is slowed.
        start_ns: When the clock begins to slow [ns].
        ramp_ns: T, until it stands [ns].
    """

    plan: Plan
    start_ns: int
    ramp_ns: int

    @property
    def end_ns(self) -> int:
        """When the clock stands [ns]."""
        return self.start_ns + self.ramp_ns

    @property
    def knots_ns(self) -> npt.NDArray[np.int64]:
        """Evenly spaced ones, and where the plan's own knots are passed [ns]."""
        u = np.linspace(0.0, 1.0, 40 * PIECES + 1)
        along = self.ramp_ns * (u - u**3 + u**4 / 2)
        passed = self.plan.knots_ns - self.start_ns
        passed = passed[(passed > 0) & (passed < along[-1])]
        ramps = np.concatenate([np.linspace(0.0, 1.0, PIECES + 1), np.interp(passed, along, u)])
        knots: npt.NDArray[np.int64] = self.start_ns + np.sort(ramps * self.ramp_ns).astype(np.int64)
        return knots

    def at(self, t_ns: int) -> State:
        """The state at one instant, which may not lie before `start_ns`."""
        ramp = self.ramp_ns / NS
        u = min(max((t_ns - self.start_ns) / self.ramp_ns, 0.0), 1.0)
        along = self.plan.after(self.start_ns - self.plan.start_ns + self.ramp_ns * (u - u**3 + u**4 / 2))
        rate = 1.0 - 3.0 * u * u + 2.0 * u**3
        slowing = 6.0 * u * (u - 1.0) / ramp
        return State(
            along.position,
            along.velocity * rate,
            along.acceleration * rate * rate + along.velocity * slowing,
        )


def path_stop(plan: Plan, now_ns: int, limits: Limits) -> Motion:
    """The shortest path stop that keeps the limits; the plan itself if it rests before that or none does."""
    ramps = RAMPS_NS[plan.end_ns - now_ns > RAMPS_NS]
    if len(ramps):
        for ramp_ns in ramps[_permitted(plan, now_ns, ramps, ROUGH, limits)]:
            fine = int(ramp_ns // SAMPLE_NS) + 1
            if _permitted(plan, now_ns, np.array([ramp_ns]), fine, limits).all():
                return PathStop(plan, now_ns, int(ramp_ns))
    return plan


def _permitted(
    plan: Plan, now_ns: int, ramps_ns: npt.NDArray[np.int64], count: int, limits: Limits
) -> npt.NDArray[np.bool_]:
    """Which ramps keep the limits at `count` samples each, shape (R,).

    Velocity never rises on a slowing clock s(t), and position stays on the path, so acceleration and jerk are
    what is looked at, as functions of the rate s' and its two derivatives.
    """
    u = np.linspace(0.0, 1.0, count)
    ramp_s = ramps_ns[:, None] / NS
    along = now_ns + (ramps_ns[:, None] * (u - u**3 + u**4 / 2)).astype(np.int64)
    v, a, j = (plan.derivative(along.ravel(), k).reshape(*along.shape, -1) for k in (1, 2, 3))
    rate = (1 - 3 * u**2 + 2 * u**3)[:, None]
    slow, slower = (6 * u * (u - 1) / ramp_s)[..., None], ((12 * u - 6) / ramp_s**2)[..., None]
    acceleration = a * rate**2 + v * slow
    jerk = j * rate**3 + 3 * a * rate * slow + v * slower
    most = np.maximum(np.abs(acceleration) / limits.acceleration, np.abs(jerk) / limits.jerk)
    kept: npt.NDArray[np.bool_] = np.max(most, axis=(1, 2)) <= MARGIN
    return kept


@dataclass(frozen=True, eq=False)
class Brake:
    """Every joint brought to rest in the least time its acceleration and jerk limits allow.

    Three phases per joint: jerk towards the braking acceleration, hold it, jerk back to zero (the velocity
    interface of Berscheid and Kroeger, "Jerk-limited real-time trajectory generation", RSS 2021, with
    target velocity and acceleration zero).

    Attributes:
        start_ns: When braking begins [ns].
        start: The state then.
        durations: Of the three phases, shape (3, J) [s].
        jerk: Signed jerk of the first phase; the third has its opposite, shape (J,) [rad/s^3].
    """

    start_ns: int
    start: State
    durations: Array
    jerk: Array

    @property
    def end_ns(self) -> int:
        """When the slowest joint rests [ns]."""
        return self.start_ns + int(np.ceil(self.durations.sum(axis=0).max() * NS))

    @property
    def knots_ns(self) -> npt.NDArray[np.int64]:
        """Where the jerk of any joint changes, and both ends [ns]."""
        changes = np.concatenate([[0.0], np.cumsum(self.durations, axis=0).ravel() * NS])
        knots: npt.NDArray[np.int64] = self.start_ns + np.sort(np.append(changes, self.end_ns - self.start_ns)).astype(
            np.int64
        )
        return knots

    def at(self, t_ns: int) -> State:
        """The state at one instant, which may not lie before `start_ns`."""
        left = np.full(len(self.jerk), max(t_ns - self.start_ns, 0) / NS)
        p, v, a = self.start
        for duration, jerk in self._phases():
            t = np.minimum(left, duration)
            p = p + t * (v + t * (a / 2 + t * jerk / 6))
            v = v + t * (a + t * jerk / 2)
            a = a + t * jerk
            left = left - t
        rest = left >= 0.0 if t_ns >= self.end_ns else left > 0.0
        return State(p, np.where(rest, 0.0, v), np.where(rest, 0.0, a))

    def reach(self) -> tuple[Array, Array]:
        """Least and greatest position of each joint on the way, (J,) and (J,) [rad]; exact."""
        p, v, a = self.start
        least, greatest = p, p
        for duration, jerk in self._phases():
            # Positions turn where v + a t + jerk t^2 / 2 = 0.
            root = np.sqrt(np.maximum(a * a - 2.0 * jerk * v, 0.0))
            q = -(a + np.copysign(root, a))
            turns = (
                np.divide(2.0 * v, q, out=np.zeros_like(v), where=q != 0.0),
                np.divide(q, jerk, out=np.zeros_like(v), where=jerk != 0.0),
            )
            for t in (duration, *(np.clip(turn, 0.0, duration) for turn in turns)):
                there = p + t * (v + t * (a / 2 + t * jerk / 6))
                least, greatest = np.minimum(least, there), np.maximum(greatest, there)
            p = p + duration * (v + duration * (a / 2 + duration * jerk / 6))
            v = v + duration * (a + duration * jerk / 2)
            a = a + duration * jerk
        return least, greatest

    def _phases(self) -> Iterator[tuple[Array, Array]]:
        return zip(self.durations, (self.jerk, np.zeros_like(self.jerk), -self.jerk), strict=True)


def brake(start: State, now_ns: int, limits: Limits) -> Brake:
    """Bring every joint to rest from `start` as fast as acceleration and jerk limits allow."""
    _, v, a = start
    j, a_max = limits.jerk, limits.acceleration
    coasting = v + a * np.abs(a) / (2 * j)
    sign = np.where(coasting > 0.0, -1.0, 1.0)
    a0, dv = sign * a, -sign * v
    peak = np.sqrt(np.maximum(j * dv + a0 * a0 / 2, 0.0))
    peak = np.maximum(np.minimum(peak, a_max), a0)
    hold = np.maximum(dv - (2 * peak * peak - a0 * a0) / (2 * j), 0.0) / np.maximum(peak, 1e-12)
    durations = np.stack([(peak - a0) / j, np.where(peak > 0.0, hold, 0.0), peak / j])
    return Brake(now_ns, start, durations, sign * j)


def emergency(motion: Motion, now_ns: int, limits: Limits, clear: Callable[[Brake], bool] | None = None) -> Motion:
    """The quickest stop that is proved: the brake, else the stop along the path.

    A brake leaves the path. It is taken if it stays inside the position limits and keeps clear; the path was proved
    with the plan, so a stop along it needs no look.

    Args:
        motion: What is followed.
        now_ns: When the stop begins [ns].
        limits: What it must stay inside.
        clear: Whether a brake is proved to keep its distance; asked only of one inside the position limits. None where
            there is nothing to keep clear of.
    """
    braking = brake(motion.at(now_ns), now_ns, limits)
    least, greatest = braking.reach()
    inside = ((limits.lower <= least) & (greatest <= limits.upper)).all()
    if inside and (clear is None or clear(braking)):
        return braking
    return path_stop(motion, now_ns, limits) if isinstance(motion, Plan) else motion
