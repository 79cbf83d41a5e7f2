"""What a policy that says a curve gains by handing it over, against waypoints sampled from it.

The curves are those of a B-spline policy: ten control points per joint, degree 4, on 1.6 s, fitted to the motion of
bench/common/stream.py and shaken. Every way plans each of them from the same plan in force, in turn. Errors are distances
between the plan and the policy's own curve; "later" leaves out the first 0.3 s after the hand-over, where any plan
still comes from the one before, and "inside" the last 0.3 s too. Limits are twice the motion's needs, so that they hide
nothing. Times are processor time of the planner on one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from bench.common import stream, table
from bench.common.stream import make as make_stream
from vla_ros.api import Chunk, Plan, Planner
from vla_ros.beast.basis import fit_matrix, sample_basis
from vla_ros.core.records import NS, Array
from vla_ros.safety import limit_certificate as certify

POINTS, DEGREE, HORIZON_S = 10, 4, 1.6
SHAKEN_RAD = 0.01
SETTLED_S = 0.3
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PERIODS_S = (0.025, 0.05, 0.1, 0.2, 0.4)
HEAD = ("", "points", "rms mrad", "most", "later", "inside", "median us", "p99 us", "over the first way")


def curves(stream: stream.Stream, seed: int) -> list[tuple[int, Chunk]]:
    """What a B-spline policy would have said instead of each chunk of the stream."""
    rng, u = np.random.default_rng(seed), np.arange(1, 65) / 64
    breaks = np.linspace(0.0, 1.0, POINTS - DEGREE + 1)
    fit = fit_matrix(sample_basis(u, POINTS, DEGREE), 1e-9)
    rows = [sample_basis(breaks, POINTS, DEGREE, order) / HORIZON_S**order for order in range(3)]
    out = []
    for now_ns, chunk in stream.arrivals:
        control = fit @ stream.motion.at(chunk.stamp_ns / NS + HORIZON_S * u)
        control += rng.normal(0.0, SHAKEN_RAD, control.shape)
        out.append((now_ns, Chunk(chunk.stamp_ns, chunk.joints, HORIZON_S * breaks, *[r @ control for r in rows])))
    return out


def errors(plan: Plan, curve: Chunk) -> Array:
    """rms, most, rms later and rms inside, of the distance between plan and curve [mrad]."""
    t = np.linspace(plan.start_ns, curve.stamp_ns + HORIZON_S * NS, 400).astype(np.int64)
    apart = 1e3 * (plan.derivative(t, 0) - curve.sample((t - curve.stamp_ns) / NS))
    later = t > plan.start_ns + SETTLED_S * NS
    inside = later & (t < t[-1] - SETTLED_S * NS)
    squares = [np.mean(apart[part] ** 2) for part in (slice(None), later, inside)]
    return np.array([squares[0] ** 0.5, np.abs(apart).max(), squares[1] ** 0.5, squares[2] ** 0.5])


def main(argv: Sequence[str] | None = None) -> int:
    """Plan all ways, print the table; 0 if every plan is proved and no way is nearer to the curve inside."""
    given = table.options(__doc__ or "", argv)
    if any(os.environ.get(k) != v for k, v in ONE_THREAD.items()):
        return subprocess.call([sys.executable, __file__, *sys.argv[1:]], env={**os.environ, **ONE_THREAD})
    stream = make_stream(6, 6.0 if given.quick else 60.0)
    planner = Planner(stream.limits)
    ways = {"the curve": 0.0} | {f"waypoints every {round(1e3 * p)} ms": p for p in PERIODS_S}
    found: dict[str, list[Array]] = {name: [] for name in ways}
    times: dict[str, list[float]] = {name: [] for name in ways}
    points: dict[str, int] = {}
    unproved = refused = 0
    force = Plan.hold(stream.limits.joints, stream.motion.at(np.zeros(1))[0], 0)
    for now_ns, curve in curves(stream, 0):
        first: Plan | None = None
        for name, period in ways.items():
            chunk = curve.as_waypoints(period) if period else curve
            points[name] = len(chunk.positions)
            start = time.thread_time_ns()
            plan = planner.plan(chunk, force, now_ns)
            times[name].append((time.thread_time_ns() - start) / 1e3)
            if not isinstance(plan, Plan):
                refused += 1
                continue
            unproved += not certify(plan, stream.limits).permitted
            found[name].append(errors(plan, curve))
            first = first or plan
        force = first or force
    middle = {name: np.median(rows, axis=0) for name, rows in found.items()}
    rows = []
    for name in ways:
        median, p99 = np.percentile(times[name], [50, 99])
        share = np.median(np.array(times[name]) / np.array(times["the curve"]))
        cells = [str(points[name]), *(f"{x:.3f}" for x in middle[name]), f"{median:.0f}", f"{p99:.0f}", f"{share:.2f}"]
        rows.append([name, *cells])
    count = len(found["the curve"])
    table.show(f"{count} curves, 6 joints: median distance of plan and curve", HEAD, rows)
    inside = {name: m[3] for name, m in middle.items()}
    claims = [
        ("every plan is proved, none refused", unproved == 0 and refused == 0),
        ("no way is nearer to the curve inside", inside["the curve"] <= min(inside.values()) * 1.01),
    ]
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
