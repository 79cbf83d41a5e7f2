"""Distance between a policy's curve and its plan, for chunks sent as curves and as waypoints sampled from them.

The curves are those of a B-spline policy: ten control points per joint, degree 4, over 1.6 s, fitted to the motion of
bench/common/chunk_stream.py, with noise. Every variant plans each curve from the same active plan, one after the other.
Errors are distances between the plan and the policy's curve. "later" leaves out the first 0.3 s after the handover,
where every plan still continues the previous one; "inside" leaves out the last 0.3 s as well. Limits are twice what the
motion needs, so that they do not affect the result. Times are processor time of the planner on one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np

from bench.common import one_thread, table
from bench.common.chunk_stream import Stream, make_stream
from vla_ros.api import Chunk, Plan, Planner
from vla_ros.core.records import NS, Array
from vla_ros.core.splines import fit_matrix, uniform_basis
from vla_ros.safety.limit_certificate import certify

POINTS, DEGREE, HORIZON_S = 10, 4, 1.6
NOISE_RAD = 0.01
TRANSITION_S = 0.3
PERIODS_S = (0.025, 0.05, 0.1, 0.2, 0.4)
HEAD = ("", "points", "rms mrad", "max", "later", "inside", "median us", "p99 us", "over the curve")


def curves(stream: Stream, seed: int) -> list[tuple[int, Chunk]]:
    """The curve chunk of a B-spline policy for each chunk of the stream, with its time of arrival [ns]."""
    rng, u = np.random.default_rng(seed), np.arange(1, 65) / 64
    breaks = np.linspace(0.0, 1.0, POINTS - DEGREE + 1)
    fit = fit_matrix(uniform_basis(u, POINTS, DEGREE), 1e-9)
    rows = [uniform_basis(breaks, POINTS, DEGREE, order) / HORIZON_S**order for order in range(3)]
    out = []
    for now_ns, chunk in stream.arrivals:
        control = fit @ stream.motion.at(chunk.stamp_ns / NS + HORIZON_S * u)
        control += rng.normal(0.0, NOISE_RAD, control.shape)
        out.append((now_ns, Chunk(chunk.stamp_ns, chunk.joints, HORIZON_S * breaks, *[r @ control for r in rows])))
    return out


def errors(plan: Plan, curve: Chunk) -> Array:
    """rms, maximum, rms later and rms inside of the distance between plan and curve, shape (4,) [mrad]."""
    t = np.linspace(plan.start_ns, curve.stamp_ns + HORIZON_S * NS, 400).astype(np.int64)
    distance = 1e3 * (plan.derivative(t, 0) - curve.sample((t - curve.stamp_ns) / NS))
    later = t > plan.start_ns + TRANSITION_S * NS
    inside = later & (t < t[-1] - TRANSITION_S * NS)
    squares = [np.mean(distance[part] ** 2) for part in (slice(None), later, inside)]
    return np.array([squares[0] ** 0.5, np.abs(distance).max(), squares[1] ** 0.5, squares[2] ** 0.5])


def main(argv: Sequence[str] | None = None) -> int:
    """Plan every variant; returns 0 if every plan is certified and the curve's plan is the closest inside."""
    options = table.options(__doc__ or "", argv)
    status = one_thread.rerun("bench.curve_tracking")
    if status is not None:
        return status
    stream = make_stream(6, 6.0 if options.quick else 60.0)
    planner = Planner(stream.limits)
    variants = {"the curve": 0.0} | {f"waypoints every {round(1e3 * p)} ms": p for p in PERIODS_S}
    found: dict[str, list[Array]] = {name: [] for name in variants}
    times: dict[str, list[float]] = {name: [] for name in variants}
    points: dict[str, int] = {}
    uncertified = refused = 0
    active_plan = Plan.hold(stream.limits.joints, stream.motion.at(np.zeros(1))[0], 0)
    for now_ns, curve in curves(stream, 0):
        first: Plan | None = None
        for name, period in variants.items():
            chunk = curve.as_waypoints(period) if period else curve
            points[name] = len(chunk.positions)
            start = time.thread_time_ns()
            plan = planner.plan(chunk, active_plan, now_ns)
            times[name].append((time.thread_time_ns() - start) / 1e3)
            if not isinstance(plan, Plan):
                refused += 1
                continue
            uncertified += not certify(plan, stream.limits).permitted
            found[name].append(errors(plan, curve))
            first = first or plan
        active_plan = first or active_plan
    middle = {name: np.median(rows, axis=0) for name, rows in found.items()}
    rows = []
    for name in variants:
        median, p99 = np.percentile(times[name], [50, 99])
        share = np.median(np.array(times[name]) / np.array(times["the curve"]))
        cells = [str(points[name]), *(f"{x:.3f}" for x in middle[name]), f"{median:.0f}", f"{p99:.0f}", f"{share:.2f}"]
        rows.append([name, *cells])
    count = len(found["the curve"])
    table.show(f"{count} curves, 6 joints: median distance between plan and curve", HEAD, rows)
    inside = {name: m[3] for name, m in middle.items()}
    claims = [
        ("every plan is certified, none refused", uncertified == 0 and refused == 0),
        ("no variant is closer to the curve inside", inside["the curve"] <= min(inside.values()) * 1.01),
    ]
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
