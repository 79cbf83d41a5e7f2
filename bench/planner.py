"""Time from chunk to certified plan, and limit violations, of our planner and of other methods.

Every method gets the same chunks (bench/common/chunk_stream.py) in the same run, on one thread. Times are processor
time of that thread, so that other load on the machine is not counted; wall time is printed for ours. Limits are
checked on samples every 2 ms of each curve, from the handover to its last waypoint: share of samples outside, and the
maximum over the limit. Only our plans can be certified: the others have no bound between samples, or do not end at
rest.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.common import baselines, one_thread, table
from bench.common.chunk_stream import WAYPOINTS, Stream, make_stream
from vla_ros.api import Plan, Planner, Refusal
from vla_ros.core.records import NS, Array
from vla_ros.safety.limit_certificate import certify

MAX_US = {6: 1000.0, 14: 2000.0}
"""Required p99 of planning and certifying, by number of joints [us]."""
MIN_RATIO = 2.0
"""Required ratio of the medians of action-lipo's solve and ours."""
MAX_REFUSED = 0.001
"""Permitted share of refused chunks, of those within limits."""
HEAD = ("", "median us", "p99 us", "p %", "v %", "a %", "jerk %", "p", "v", "a", "jerk", "certified")


@dataclass
class Record:
    """Times and limit violations of one method on one stream."""

    times: list[float] = field(default_factory=list)
    over: list[Array] = field(default_factory=list)
    peaks: list[Array] = field(default_factory=list)
    certified: str = "-"

    def check_limits(self, curve: baselines.Curve, t: Array, stream: Stream) -> None:
        """Sample a curve against the limits."""
        bounds = stream.limits
        p, *rest = curve(t)
        middle, half = (bounds.lower + bounds.upper) / 2, (bounds.upper - bounds.lower) / 2
        ratio = [np.abs(p - middle) / half]
        ratio += [np.abs(x) / b for x, b in zip(rest, (bounds.velocity, bounds.acceleration, bounds.jerk), strict=True)]
        self.over.append(np.array([(r > 1.0 + 1e-6).any(axis=1).mean() for r in ratio]))
        self.peaks.append(np.array([r.max() for r in ratio]))

    def row(self, name: str) -> list[str]:
        """The cells of the table."""
        middle, p99 = np.percentile(self.times, [50, 99]) * 1e6
        cells = [name, f"{middle:.1f}", f"{p99:.1f}"]
        if not self.over:
            return [*cells, *[""] * 8, self.certified]
        cells += [f"{100 * x:.1f}" for x in np.mean(self.over, axis=0)]
        return [*cells, *[f"{x:.3g}" for x in np.max(self.peaks, axis=0)], self.certified]


def timed(record: Record, work: Callable[[], object]) -> object:
    """Call `work` and record its processor time."""
    start = time.thread_time_ns()
    result = work()
    record.times.append((time.thread_time_ns() - start) / NS)
    return result


def run_ours(stream: Stream, passes: int) -> tuple[dict[str, Record], list[float], list[Refusal], int]:
    """Plan and certify every chunk; returns records, wall times [s], refusals and number of uncertified plans."""
    plan_r, certify_r, both, wall = Record(), Record(), Record(), []
    refusals: list[Refusal] = []
    uncertified = 0
    planner = Planner(stream.limits)
    for number in range(passes):
        active_plan = Plan.hold(stream.limits.joints, stream.motion.at(np.zeros(1))[0], 0)
        for now_ns, chunk in stream.arrivals:
            start = time.perf_counter()
            plan = timed(plan_r, lambda c=chunk, a=active_plan, n=now_ns: planner.plan(c, a, n))
            if not isinstance(plan, Plan):
                refusals.append(plan)  # type: ignore[arg-type]
                continue
            verdict = timed(certify_r, lambda p=plan: certify(p, stream.limits))
            wall.append(time.perf_counter() - start)
            both.times.append(plan_r.times[-1] + certify_r.times[-1])
            uncertified += not verdict.permitted  # type: ignore[attr-defined]
            active_plan = plan
            if number == 0:
                ns = np.arange(plan.start_ns, plan.end_ns, 2_000_000)
                states = [plan.derivative(ns, n) for n in range(4)]
                both.check_limits(lambda _, s=states: tuple(s), ns / NS, stream)
    both.certified = f"{100 * (1 - uncertified / len(both.times)):.1f} %"
    return {"ours: plan": plan_r, "ours: certify": certify_r, "ours: plan + certify": both}, wall, refusals, uncertified


def run_baseline(stream: Stream, method: baselines.Lipo | baselines.Ruckig | baselines.LeastSquares) -> Record:
    """Run one of the other methods."""
    record = Record()
    for now_ns, chunk in stream.arrivals:
        t_s = now_ns / NS + 0.03
        curve = timed(record, lambda c=chunk, t=t_s: method.step(c, t))
        end = chunk.stamp_ns / NS + chunk.offsets_s[-1]
        record.check_limits(curve, np.arange(t_s, end, 0.002), stream)  # type: ignore[arg-type]
    return record


def matmul(joints: int) -> Record:
    """One matrix product of the size of the fit: the cost of numpy itself."""
    record, a, b = Record(), np.ones((WAYPOINTS, 24)), np.ones((24, joints))
    for _ in range(2000):
        timed(record, lambda: a @ b)
    return record


def main(argv: Sequence[str] | None = None) -> int:
    """Run the four streams and print their tables; returns 0 if every plan was certified."""
    options = table.options(__doc__ or "", argv)
    status = one_thread.rerun("bench.planner")
    if status is not None:
        return status
    duration, passes = (8.0, 2) if options.quick else (40.0, 5)
    claims: list[tuple[str, bool]] = []
    refused = chunks = total_uncertified = 0
    for joints in (6, 14):
        for demanding in (False, True):
            stream = make_stream(joints, duration, demanding=demanding)
            records, wall, refusals, uncertified = run_ours(stream, passes)
            lipo = run_baseline(stream, baselines.Lipo(stream.limits, sampled=False))
            records["action-lipo: solve"] = lipo
            records["action-lipo: solve, sample"] = run_baseline(stream, baselines.Lipo(stream.limits, sampled=True))
            records["ruckig, chained"] = run_baseline(stream, baselines.Ruckig(stream.limits))
            records["scipy least squares"] = run_baseline(stream, baselines.LeastSquares(stream.limits))
            records["one numpy matmul"] = matmul(joints)
            kind = "over the velocity limit 9 % of the time" if demanding else "within limits"
            title = f"{joints} joints, motion {kind}: {len(stream.arrivals)} chunks of {WAYPOINTS} waypoints"
            table.show(title, HEAD, [r.row(name) for name, r in records.items()])
            total = len(stream.arrivals) * passes
            middle, p99 = np.percentile(wall, [50, 99]) * 1e6
            print(f"ours, wall clock: median {middle:.0f} us, p99 {p99:.0f} us; refused {len(refusals)} of {total}")
            ours = np.array(records["ours: plan + certify"].times) * 1e6
            ratio = float(np.median(lipo.times) * 1e6 / np.median(ours))
            limit = MAX_US[joints]
            claims.append(
                (
                    f"{title.split(':')[0]}: p99 of plan + certify at most {limit:.0f} us",
                    np.percentile(ours, 99) <= limit,
                )
            )
            claims.append(
                (
                    f"  median {ratio:.1f} times faster than action-lipo's solve alone (at least {MIN_RATIO:.0f})",
                    ratio >= MIN_RATIO,
                )
            )
            total_uncertified += uncertified
            if not demanding:
                refused, chunks = refused + len(refusals), chunks + total
    claims.append(
        (
            f"{refused} of {chunks} chunks within limits refused (at most {100 * MAX_REFUSED} %)",
            refused <= MAX_REFUSED * chunks,
        )
    )
    claims.append((f"{total_uncertified} plans not certified (none)", total_uncertified == 0))
    table.verdict(claims)
    return 0 if total_uncertified == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
