"""Stops: along the path by slowing the plan's clock, or by braking every joint independently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import NS, Array
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Motion, Plan, State

RAMPS_NS = np.array([100, 140, 200, 280, 400, 560, 800, 1100, 1600, 2200, 3200]) * (NS // 1000)
"""Ramp durations considered for a path stop, shortest first [ns]."""
COARSE_SAMPLES = 33
"""Samples per ramp of the first check, which evaluates all ramps in one call."""
FINE_SAMPLE_NS = 2_000_000
"""Maximum sample period of the second check [ns]."""
SEGMENTS = 24
"""Even quintic segments that represent a path stop; with 24 the jerk differs by less than 1 % of its limit."""
LIMIT_FRACTION = 0.99
"""Fraction of the acceleration and jerk limits that a path stop may use at the samples."""


@dataclass(frozen=True, eq=False)
class PathStop:
    """A plan executed on a clock that slows from full rate to zero, so that the arm stays on its path.

    With u = (t - start) / T the rate of the clock is 1 - 3 u^2 + 2 u^3; the rate and its derivative are continuous,
    so the motion remains C2.

    Attributes:
        plan: The plan that is slowed.
        start_ns: Start of the ramp [ns].
        ramp_ns: Duration T of the ramp [ns].
    """

    plan: Plan
    start_ns: int
    ramp_ns: int

    @property
    def end_ns(self) -> int:
        """End of the ramp, where the arm is at rest [ns]."""
        return self.start_ns + self.ramp_ns

    @property
    def knots_ns(self) -> npt.NDArray[np.int64]:
        """Evenly spaced knots, and the instants at which the plan's own knots are passed [ns]."""
        u = np.linspace(0.0, 1.0, 40 * SEGMENTS + 1)
        plan_time = self.ramp_ns * (u - u**3 + u**4 / 2)
        passed = self.plan.knots_ns - self.start_ns
        passed = passed[(passed > 0) & (passed < plan_time[-1])]
        ramps = np.concatenate([np.linspace(0.0, 1.0, SEGMENTS + 1), np.interp(passed, plan_time, u)])
        knots: npt.NDArray[np.int64] = self.start_ns + np.sort(ramps * self.ramp_ns).astype(np.int64)
        return knots

    def at(self, t_ns: int) -> State:
        """The state at one instant, not before `start_ns`."""
        ramp = self.ramp_ns / NS
        u = min(max((t_ns - self.start_ns) / self.ramp_ns, 0.0), 1.0)
        on_path = self.plan.at_offset(self.start_ns - self.plan.start_ns + self.ramp_ns * (u - u**3 + u**4 / 2))
        rate = 1.0 - 3.0 * u * u + 2.0 * u**3
        rate_derivative = 6.0 * u * (u - 1.0) / ramp
        return State(
            on_path.position,
            on_path.velocity * rate,
            on_path.acceleration * rate * rate + on_path.velocity * rate_derivative,
        )


def path_stop(plan: Plan, now_ns: int, limits: Limits) -> Motion:
    """The shortest path stop inside the limits; the plan itself if it ends sooner or if no ramp is inside."""
    ramps = RAMPS_NS[plan.end_ns - now_ns > RAMPS_NS]
    if len(ramps):
        for ramp_ns in ramps[_permitted(plan, now_ns, ramps, COARSE_SAMPLES, limits)]:
            fine = int(ramp_ns // FINE_SAMPLE_NS) + 1
            if _permitted(plan, now_ns, np.array([ramp_ns]), fine, limits).all():
                return PathStop(plan, now_ns, int(ramp_ns))
    return plan


def _permitted(
    plan: Plan, now_ns: int, ramps_ns: npt.NDArray[np.int64], count: int, limits: Limits
) -> npt.NDArray[np.bool_]:
    """Which ramps are inside the limits at `count` samples each, shape (R,).

    Only acceleration and jerk are checked, as functions of the rate s' of the clock and its two derivatives: velocity
    never rises on a slowing clock s(t), and positions stay on the path.
    """
    u = np.linspace(0.0, 1.0, count)
    ramp_s = ramps_ns[:, None] / NS
    plan_time = now_ns + (ramps_ns[:, None] * (u - u**3 + u**4 / 2)).astype(np.int64)
    v, a, j = (plan.derivative(plan_time.ravel(), k).reshape(*plan_time.shape, -1) for k in (1, 2, 3))
    rate = (1 - 3 * u**2 + 2 * u**3)[:, None]
    rate_1, rate_2 = (6 * u * (u - 1) / ramp_s)[..., None], ((12 * u - 6) / ramp_s**2)[..., None]
    acceleration = a * rate**2 + v * rate_1
    jerk = j * rate**3 + 3 * a * rate * rate_1 + v * rate_2
    ratio = np.maximum(np.abs(acceleration) / limits.acceleration, np.abs(jerk) / limits.jerk)
    permitted: npt.NDArray[np.bool_] = np.max(ratio, axis=(1, 2)) <= LIMIT_FRACTION
    return permitted


@dataclass(frozen=True, eq=False)
class Brake:
    """Every joint brought to rest in the minimum time that its acceleration and jerk limits allow.

    Three phases per joint: jerk towards the braking acceleration, constant acceleration, jerk back to zero. This is
    the velocity interface of Berscheid and Kroeger, "Jerk-limited real-time trajectory generation", RSS 2021, with
    target velocity and acceleration zero.

    Attributes:
        start_ns: Start of braking [ns].
        start: The state at the start.
        durations: Durations of the three phases, shape (3, J) [s].
        jerk: Signed jerk of the first phase, shape (J,) [rad/s^3]; the third phase has the opposite jerk.
    """

    start_ns: int
    start: State
    durations: Array
    jerk: Array

    @property
    def end_ns(self) -> int:
        """When the slowest joint is at rest [ns]."""
        return self.start_ns + int(np.ceil(self.durations.sum(axis=0).max() * NS))

    @property
    def knots_ns(self) -> npt.NDArray[np.int64]:
        """The instants at which the jerk of any joint changes, and both ends [ns]."""
        changes = np.concatenate([[0.0], np.cumsum(self.durations, axis=0).ravel() * NS])
        knots: npt.NDArray[np.int64] = self.start_ns + np.sort(np.append(changes, self.end_ns - self.start_ns)).astype(
            np.int64
        )
        return knots

    def at(self, t_ns: int) -> State:
        """The state at one instant, not before `start_ns`."""
        remaining = np.full(len(self.jerk), max(t_ns - self.start_ns, 0) / NS)
        p, v, a = self.start
        for duration, jerk in self._phases():
            t = np.minimum(remaining, duration)
            p = p + t * (v + t * (a / 2 + t * jerk / 6))
            v = v + t * (a + t * jerk / 2)
            a = a + t * jerk
            remaining = remaining - t
        rest = remaining >= 0.0 if t_ns >= self.end_ns else remaining > 0.0
        return State(p, np.where(rest, 0.0, v), np.where(rest, 0.0, a))

    def position_range(self) -> tuple[Array, Array]:
        """Minimum and maximum position of each joint during the brake, each of shape (J,) [rad]; exact."""
        p, v, a = self.start
        lower, upper = p, p
        for duration, jerk in self._phases():
            # Positions have their extrema where v + a t + jerk t^2 / 2 = 0.
            root = np.sqrt(np.maximum(a * a - 2.0 * jerk * v, 0.0))
            q = -(a + np.copysign(root, a))
            extrema = (
                np.divide(2.0 * v, q, out=np.zeros_like(v), where=q != 0.0),
                np.divide(q, jerk, out=np.zeros_like(v), where=jerk != 0.0),
            )
            for t in (duration, *(np.clip(extremum, 0.0, duration) for extremum in extrema)):
                position = p + t * (v + t * (a / 2 + t * jerk / 6))
                lower, upper = np.minimum(lower, position), np.maximum(upper, position)
            p = p + duration * (v + duration * (a / 2 + duration * jerk / 6))
            v = v + duration * (a + duration * jerk / 2)
            a = a + duration * jerk
        return lower, upper

    def _phases(self) -> Iterator[tuple[Array, Array]]:
        return zip(self.durations, (self.jerk, np.zeros_like(self.jerk), -self.jerk), strict=True)


def brake(start: State, now_ns: int, limits: Limits) -> Brake:
    """Bring every joint to rest from `start` in the minimum time that acceleration and jerk limits allow."""
    _, v, a = start
    j, a_max = limits.jerk, limits.acceleration
    # The velocity that remains if the acceleration is only returned to zero.
    final_velocity = v + a * np.abs(a) / (2 * j)
    sign = np.where(final_velocity > 0.0, -1.0, 1.0)
    a0, dv = sign * a, -sign * v
    peak = np.sqrt(np.maximum(j * dv + a0 * a0 / 2, 0.0))
    peak = np.maximum(np.minimum(peak, a_max), a0)
    hold = np.maximum(dv - (2 * peak * peak - a0 * a0) / (2 * j), 0.0) / np.maximum(peak, 1e-12)
    durations = np.stack([(peak - a0) / j, np.where(peak > 0.0, hold, 0.0), peak / j])
    return Brake(now_ns, start, durations, sign * j)


def emergency(motion: Motion, now_ns: int, limits: Limits, is_clear: Callable[[Brake], bool] | None = None) -> Motion:
    """The quickest stop that is proved: the brake if it is, else the stop along the path.

    A brake leaves the path. It is chosen if it stays inside the position limits and keeps the required clearance. A
    stop along the path needs no clearance check, because the path was checked with the plan.

    Args:
        motion: The motion that is executed.
        now_ns: Start of the stop [ns].
        limits: The limits.
        is_clear: Whether a brake is proved to keep the required clearance; called only for a brake inside the
            position limits. None if clearance is not monitored.
    """
    braking = brake(motion.at(now_ns), now_ns, limits)
    lower, upper = braking.position_range()
    inside = ((limits.lower <= lower) & (upper <= limits.upper)).all()
    if inside and (is_clear is None or is_clear(braking)):
        return braking
    return path_stop(motion, now_ns, limits) if isinstance(motion, Plan) else motion
