"""Continuity of the commands at chunk transitions: our planner against five common methods, on the same stream.

Each method gets the same late, biased and noisy chunks at the same times (bench/common/chunk_stream.py) and is
evaluated every 2 ms. Chunks are aligned by time for every method, so that none is charged for latency that its users
could compensate. Velocity, acceleration and jerk are differences of the commands, as a servo drive computes them. Lag
is the shift that maximises the correlation of commanded and true velocity, to a fraction of a tick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from bench.common import table
from bench.common.chunk_stream import RAMP_S, RATE_HZ, WAYPOINTS, Stream, make_stream
from vla_ros.api import Chunk, Plan, PlannerConfig
from vla_ros.core.records import NS, Array

TICK_NS = 2_000_000
TICK_S = TICK_NS / NS
BLEND_WEIGHT = 0.7
"""Weight of the new chunk when blending."""
ENSEMBLE_DECAY = 0.01
"""Decay of the weights of temporal ensembling, per chunk."""
ENSEMBLE_WEIGHT = 0.85
"""Weight of the active plan in the second variant of our planner."""
WAYPOINT_MS = 1000 / RATE_HZ

Method = Callable[[Stream, Array], Array]
"""From a stream and n times [s] to commands, shape (n, J) [rad]."""


def _interpolated(chunk: Chunk, t_s: Array) -> Array:
    """Linear between the waypoints of one chunk, constant outside them, shape (n, J)."""
    own = chunk.stamp_ns / NS + chunk.offsets_s
    return np.stack([np.interp(t_s, own, column) for column in chunk.positions.T], axis=1)


def _segments(stream: Stream, t_s: Array) -> list[tuple[slice, Chunk]]:
    """The ticks at which each chunk is the newest one."""
    arrived = np.array([now for now, _ in stream.arrivals]) / NS
    edges = [*np.searchsorted(t_s, arrived), len(t_s)]
    return [(slice(a, b), chunk) for a, b, (_, chunk) in zip(edges, edges[1:], stream.arrivals, strict=False)]


def hold(stream: Stream, t_s: Array) -> Array:
    """Hold the last due waypoint of the newest chunk."""
    out = np.tile(stream.motion.at(np.zeros(1)), (len(t_s), 1))
    for part, chunk in _segments(stream, t_s):
        k = np.searchsorted(chunk.offsets_s, t_s[part] - chunk.stamp_ns / NS, side="right") - 1
        out[part] = chunk.positions[np.maximum(k, 0)]
    return out


def linear(stream: Stream, t_s: Array) -> Array:
    """Interpolate the newest chunk linearly."""
    out = np.tile(stream.motion.at(np.zeros(1)), (len(t_s), 1))
    for part, chunk in _segments(stream, t_s):
        out[part] = _interpolated(chunk, t_s[part])
    return out


def blended(stream: Stream, t_s: Array) -> Array:
    """Where queued and new waypoints overlap, 0.3 old + 0.7 new (LeRobot's `weighted_average`), then linear."""
    out = np.tile(stream.motion.at(np.zeros(1)), (len(t_s), 1))
    queue_t, queue_q = np.zeros(1), out[:1]
    for part, chunk in _segments(stream, t_s):
        new_t, new_q = chunk.stamp_ns / NS + chunk.offsets_s, chunk.positions
        old_q = np.stack([np.interp(new_t, queue_t, column) for column in queue_q.T], axis=1)
        mixed = np.where((new_t <= queue_t[-1])[:, None], (1 - BLEND_WEIGHT) * old_q + BLEND_WEIGHT * new_q, new_q)
        queue_t, queue_q = new_t, mixed
        out[part] = np.stack([np.interp(t_s[part], queue_t, column) for column in queue_q.T], axis=1)
    return out


def cubic(stream: Stream, t_s: Array) -> Array:
    """One C2 cubic per chunk, from the current position and velocity to rest (upsampling of ros2_controllers)."""
    out = np.tile(stream.motion.at(np.zeros(1)), (len(t_s), 1))
    curve: CubicSpline | None = None
    for part, chunk in _segments(stream, t_s):
        if part.start >= len(t_s):
            break
        now = float(t_s[part.start])
        own = chunk.stamp_ns / NS + chunk.offsets_s
        future = own > now + 0.5 / RATE_HZ  # a closer waypoint would be a step
        p = out[max(part.start - 1, 0)] if curve is None else curve(min(now, curve.x[-1]))
        v = np.zeros(p.shape) if curve is None or now >= curve.x[-1] else curve(now, 1)
        curve = CubicSpline(
            np.concatenate([[now], own[future]]),
            np.concatenate([p[None], chunk.positions[future]]),
            bc_type=((1, v), (1, np.zeros(p.shape))),
        )
        out[part] = curve(np.minimum(t_s[part], curve.x[-1]))
    return out


def ensembled(stream: Stream, t_s: Array) -> Array:
    """Average of all chunks that cover a 30 Hz time, with weights exp(-0.01 i), oldest first (ACT), then linear."""
    grid = np.arange(0.0, t_s[-1] + 2 / RATE_HZ, 1 / RATE_HZ)
    points = np.tile(stream.motion.at(np.zeros(1)), (len(grid), 1))
    arrived = np.array([now for now, _ in stream.arrivals]) / NS
    first = np.array([c.stamp_ns for _, c in stream.arrivals]) / NS + 1 / RATE_HZ
    last = first + (WAYPOINTS - 1) / RATE_HZ
    for k, t in enumerate(grid):
        known = np.flatnonzero((arrived <= t - 1 / RATE_HZ) & (first <= t) & (t <= last))
        if len(known):
            targets = np.concatenate([_interpolated(stream.arrivals[i][1], grid[k : k + 1]) for i in known])
            points[k] = np.average(targets, axis=0, weights=np.exp(-ENSEMBLE_DECAY * np.arange(len(known))))
    return np.stack([np.interp(t_s, grid, column) for column in points.T], axis=1)


def planned(config: PlannerConfig | None = None) -> Method:
    """Plan every chunk with our planner and evaluate the active plan."""

    def method(stream: Stream, t_s: Array) -> Array:
        t_ns = np.round(t_s * NS).astype(np.int64)
        out = np.tile(stream.motion.at(np.zeros(1)), (len(t_s), 1))
        for _, _, _, plan in stream.plans(config):
            if isinstance(plan, Plan):
                part = slice(int(np.searchsorted(t_ns, plan.start_ns)), None)
                out[part] = plan.derivative(t_ns[part], 0)
        return out

    return method


@dataclass(frozen=True)
class Figures:
    """Figures of one method.

    Attributes:
        speed_step: Maximum change of velocity per tick [rad/s].
        acceleration_step: Maximum change of acceleration per tick [rad/s^2].
        peak_acceleration: Maximum acceleration [rad/s^2].
        peak_jerk: Maximum jerk [rad/s^3].
        over: Percentage of ticks over the limit of velocity, acceleration and jerk.
        lag_ms: Lag behind the true motion [ms].
        error_mrad: rms error [mrad].
    """

    speed_step: float
    acceleration_step: float
    peak_acceleration: float
    peak_jerk: float
    over: tuple[float, float, float]
    lag_ms: float
    error_mrad: float


def lag_s(commanded: Array, true: Array, max_ticks: int = 100) -> float:
    """Lag of `commanded` behind `true` [s]: the maximum of their correlation, refined by a parabola."""
    v, w = np.diff(commanded, axis=0), np.diff(true, axis=0)
    inner = slice(max_ticks, len(v) - max_ticks)
    shifts = range(-max_ticks, max_ticks + 1)
    score = [float((v[inner.start + k : inner.stop + k] * w[inner]).sum()) for k in shifts]
    k = int(np.clip(np.argmax(score), 1, 2 * max_ticks - 1))
    before, top, after = score[k - 1 : k + 2]
    return (k - max_ticks + 0.5 * (before - after) / (before - 2 * top + after)) * TICK_S


def evaluate(stream: Stream, t_s: Array, commanded: Array) -> Figures:
    """Figures of one method, after the ramp of the motion."""
    steady = t_s > RAMP_S + 1.0
    q, true = commanded[steady], stream.motion.at(t_s[steady])
    v, a, j = (np.diff(q, n, axis=0) / TICK_S**n for n in (1, 2, 3))
    bounds = (stream.limits.velocity, stream.limits.acceleration, stream.limits.jerk)
    over = tuple(
        100.0 * float((np.abs(x) > b * (1 + 1e-6)).any(axis=1).mean()) for x, b in zip((v, a, j), bounds, strict=True)
    )
    return Figures(
        float(np.abs(np.diff(v, axis=0)).max()),
        float(np.abs(np.diff(a, axis=0)).max()),
        float(np.abs(a).max()),
        float(np.abs(j).max()),
        over,  # type: ignore[arg-type]
        1000 * lag_s(q, true),
        1000 * float(np.sqrt(np.mean((q - true) ** 2))),
    )


ENSEMBLE = f"ours, ensemble weight {ENSEMBLE_WEIGHT}"
METHODS: dict[str, Method] = {
    "hold newest waypoint": hold,
    "linear": linear,
    "0.3/0.7 blending, linear": blended,
    "C2 cubic, C1 between chunks": cubic,
    "temporal ensembling": ensembled,
    "ours": planned(),
    ENSEMBLE: planned(PlannerConfig(ensemble_weight=ENSEMBLE_WEIGHT)),
}
HEAD = ("", "dv/tick", "da/tick", "peak acc", "peak jerk", "over v %", "over a %", "over j %", "lag ms", "rms mrad")


def plot(path: Path, stream: Stream, t_s: Array, curves: dict[str, Array]) -> None:
    """Plot one joint over a few transitions: position against the true motion, and acceleration."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = {
        "0.3/0.7 blending, linear": ("0.3/0.7 blending, linear", "#d08770", 1.0),
        "C2 cubic, C1 between chunks": ("C2 cubic per chunk", "#b48ead", 1.0),
        "temporal ensembling": ("temporal ensembling", "#5e81ac", 1.0),
        ENSEMBLE: (f"this planner, ensemble weight {ENSEMBLE_WEIGHT}", "#111111", 2.0),
    }
    part = (t_s > 8.0) & (t_s < 10.0)
    t, bound = t_s[part], float(stream.limits.acceleration[0])
    fig, (top, low) = plt.subplots(2, 1, figsize=(9, 5.4), sharex=True, gridspec_kw={"hspace": 0.12})
    top.plot(t, stream.motion.at(t)[:, 0], color="#a3be8c", lw=5, alpha=0.6, label="true motion")
    for name, (label, colour, width) in shown.items():
        q = curves[name][part, 0]
        top.plot(t, q, color=colour, lw=width, label=label)
        low.plot(t[1:-1], np.diff(q, 2) / TICK_S**2, color=colour, lw=width)
    arrivals = [now / NS for now, _ in stream.arrivals if 8.0 < now / NS < 10.0]
    for axis in (top, low):
        axis.spines[["top", "right"]].set_visible(False)
        for x in arrivals:
            axis.axvline(x, color="#cccccc", lw=0.8, zorder=0)
    low.axhspan(-bound, bound, color="#a3be8c", alpha=0.25, lw=0)
    low.set_ylim(-6 * bound, 6 * bound)
    low.set_ylabel("acceleration [rad/s²]\ngreen: inside the limit")
    low.set_xlabel("time [s]; grey lines: a chunk arrives")
    top.set_ylabel("joint 1 [rad]")
    top.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.22))
    fig.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(fig)


def main(argv: Sequence[str] | None = None) -> int:
    """Run both streams and print their tables; returns 0 if all claims hold."""
    options = table.options(__doc__ or "", argv)
    claims: list[tuple[str, bool]] = []
    for demanding in (False, True):
        stream = make_stream(6, 12.0 if options.quick else 60.0, demanding=demanding)
        t_s = np.arange(0, round(stream.duration_s / TICK_S)) * TICK_S
        curves = {name: method(stream, t_s) for name, method in METHODS.items()}
        figures = {name: evaluate(stream, t_s, curve) for name, curve in curves.items()}
        title = "true motion over the velocity limit 9 % of the time" if demanding else "true motion within limits"
        title = f"{title}: {len(stream.arrivals)} chunks, 6 joints, 500 Hz"
        table.show(title, HEAD, [row(n, f) for n, f in figures.items()])
        claims += check_claims(figures, demanding)
        if options.out and not demanding:
            plot(options.out / "chunk_transitions.png", stream, t_s, curves)
    return table.verdict(claims)


def row(name: str, f: Figures) -> list[str]:
    """The cells of one method."""
    peaks = (f.speed_step, f.acceleration_step, f.peak_acceleration, f.peak_jerk)
    return [name, *map(table.number, peaks), *(f"{x:.1f}" for x in f.over), f"{f.lag_ms:.1f}", f"{f.error_mrad:.1f}"]


def check_claims(figures: dict[str, Figures], demanding: bool) -> list[tuple[str, bool]]:
    """The claims on one table."""
    others = [f for name, f in figures.items() if not name.startswith("ours")]
    claims = []
    for name, ours in figures.items():
        if not name.startswith("ours"):
            continue
        steps = ("speed_step", "acceleration_step", "peak_acceleration", "peak_jerk")
        smallest = all(getattr(ours, s) < min(getattr(f, s) for f in others) for s in steps)
        claims.append((f"{name}: smallest steps, acceleration and jerk of all", smallest))
        claims.append((f"{name}: no tick over any limit", ours.over == (0.0, 0.0, 0.0)))
        lag = ours.lag_ms - min(f.lag_ms for f in others)
        claims.append((f"{name}: at most one waypoint ({WAYPOINT_MS:.0f} ms) behind the fastest", lag <= WAYPOINT_MS))
    if not demanding:
        ours, smallest_error = figures[ENSEMBLE], min(f.error_mrad for f in others)
        text = f"{ENSEMBLE}: rms error within 10 % of the smallest, whose steps are not bounded"
        claims.append((text, ours.error_mrad <= 1.1 * smallest_error))
    return claims


if __name__ == "__main__":
    sys.exit(main())
