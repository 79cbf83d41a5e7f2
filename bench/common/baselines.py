"""Other methods from a chunk to a trajectory, each in its normal use, as baselines of bench/planner.py.

A method is an object with `step(chunk, t_s)`: from a chunk and the handover time [s] to a curve, a function from n
times [s] to (position, velocity, acceleration, jerk), each (n, J). It starts from its own previous curve where it
can.
"""

from __future__ import annotations

from collections.abc import Callable

import action_lipo
import numpy as np
import ruckig
from scipy.interpolate import CubicSpline, make_lsq_spline

from bench.common.chunk_stream import RATE_HZ, WAYPOINTS
from vla_ros.api import Chunk, Limits
from vla_ros.core.records import NS, Array

Curve = Callable[[Array], tuple[Array, ...]]
DT = 1.0 / RATE_HZ


class Lipo:
    """action-lipo: blends the chunk with the previous one and minimises its jerk, 50 waypoints at 30 Hz.

    The first `delay` waypoints are those of the previous result (the maximum latency of the stream), the next `delay`
    are blended into the new one. `sampled` adds a cubic spline through the result, evaluated at 500 Hz.
    """

    delay = 10

    def __init__(self, limits: Limits, sampled: bool) -> None:
        """Set up the solver once, as its documentation recommends."""
        self._solver = action_lipo.ActionLiPo(
            chunk_size=WAYPOINTS,
            blending_horizon=2 * self.delay,
            action_dim=len(limits.joints),
            len_time_delay=self.delay,
            dt=DT,
        )
        self._sampled = sampled
        self._times, self._previous = np.zeros(0), np.zeros((0, len(limits.joints)))

    def step(self, chunk: Chunk, t_s: float) -> Curve:
        """Blend, solve, and sample where configured."""
        times = chunk.stamp_ns / NS + chunk.offsets_s
        if len(self._previous):
            past_times = np.concatenate([times[0] - DT * np.arange(3, 0, -1), times[: 2 * self.delay]])
            past = np.stack([np.interp(past_times, self._times, column) for column in self._previous.T], axis=1)
            solved, _ = self._solver.solve(chunk.positions, past, 2 * self.delay)
        else:
            solved, _ = self._solver.solve(chunk.positions, chunk.positions[:0], 0)
        self._times, self._previous = times, solved
        self._solver.reset_log()
        if self._sampled:
            CubicSpline(times, solved)(np.arange(times[0], times[-1], 0.002))
        return lambda t: tuple(CubicSpline(times, solved)(t, n) for n in range(4))


class Ruckig:
    """ruckig from waypoint to waypoint, with velocities from central differences and zero acceleration.

    The free edition supports intermediate waypoints only through a web service, so one-segment problems are chained;
    each takes at least 1/30 s, longer where the limits require it.
    """

    def __init__(self, limits: Limits) -> None:
        """Set up the solver once."""
        self._joints = len(limits.joints)
        self._otg = ruckig.Ruckig(self._joints)
        self._input = ruckig.InputParameter(self._joints)
        self._input.max_velocity = limits.velocity.tolist()
        self._input.max_acceleration = limits.acceleration.tolist()
        self._input.max_jerk = limits.jerk.tolist()
        self._max_speed = limits.velocity * 0.999
        self._pieces: list[ruckig.Trajectory] = []
        self._starts = np.zeros(0)

    def _state(self, t_s: float) -> tuple[list[float], ...]:
        k = max(int(np.searchsorted(self._starts, t_s, side="right")) - 1, 0)
        piece = self._pieces[k]
        p, v, a = piece.at_time(min(t_s - self._starts[k], piece.duration))[:3]
        return p, v, a

    def step(self, chunk: Chunk, t_s: float) -> Curve:
        """Chain one problem per future waypoint."""
        times = chunk.stamp_ns / NS + chunk.offsets_s
        future = times > t_s + DT / 2
        q = chunk.positions[future]
        v = np.gradient(q, DT, axis=0).clip(-self._max_speed, self._max_speed)
        v[-1] = 0.0
        zero = [0.0] * self._joints
        state = self._state(t_s) if self._pieces else (q[0].tolist(), zero, zero)
        problem, pieces, starts, now = self._input, [], [], t_s
        for target, speed in zip(q.tolist(), v.tolist(), strict=True):
            problem.current_position, problem.current_velocity, problem.current_acceleration = state
            problem.target_position, problem.target_velocity, problem.target_acceleration = target, speed, zero
            problem.minimum_duration = DT
            piece = ruckig.Trajectory(self._joints)
            if self._otg.calculate(problem, piece) != ruckig.Result.Working:
                continue
            pieces.append(piece)
            starts.append(now)
            now += piece.duration
            state = (target, speed, zero)
        self._pieces, self._starts = pieces, np.array(starts)

        def curve(t: Array) -> tuple[Array, ...]:
            rows = [self._state(float(x)) for x in t]
            p, v, a = (np.array([row[k] for row in rows]) for k in range(3))
            return p, v, a, np.gradient(a, t, axis=0)

        return curve


class LeastSquares:
    """scipy's `make_lsq_spline`, degree 5, with as many control points as our planner; no state, no limits."""

    def __init__(self, limits: Limits) -> None:
        """There is nothing to prepare."""

    def step(self, chunk: Chunk, t_s: float) -> Curve:
        """Fit the future waypoints."""
        times = chunk.stamp_ns / NS + chunk.offsets_s
        future = times > t_s
        x, q = times[future], chunk.positions[future]
        inner = np.linspace(x[0], x[-1], 20)[1:-1]
        spline = make_lsq_spline(x, q, np.concatenate([[x[0]] * 6, inner, [x[-1]] * 6]), k=5)
        return lambda t: tuple(spline(np.clip(t, x[0], x[-1]), n) for n in range(4))
