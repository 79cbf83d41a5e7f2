"""Errors of a plan after transport in a trajectory message, and discontinuities between consecutive plans.

Transport: every plan of the stream is converted to a `trajectory_msgs/JointTrajectory`, serialised by the middleware,
read back and evaluated; the figure is the maximum difference over all times. Handover: the maximum discontinuity in
position, velocity and acceleration where a plan takes over from the previous one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from bench.common import table
from bench.common.chunk_stream import make_stream
from vla_ros.api import Plan
from vla_ros.core.records import NS

TIMES = 10_000
PLANS = 10_000
MAX_ERROR = 1e-9


def plans(count: int) -> Iterator[tuple[Plan, Plan]]:
    """At least `count` pairs of consecutive plans: the active plan and the one that takes over from it."""
    made = seed = 0
    while made < count:
        stream = make_stream(6, 60.0, demanding=bool(seed % 2), seed=seed)
        for _, _, active_plan, plan in stream.plans():
            if isinstance(plan, Plan):
                made += 1
                yield active_plan, plan
        seed += 1


def transport(times: int) -> tuple[int, int, float, int]:
    """Number of times compared, bytes of a message, maximum position error [rad], number of plans not bit-identical."""
    from rclpy.serialization import deserialize_message, serialize_message
    from trajectory_msgs.msg import JointTrajectory

    from vla_ros.nodes.common.conversions import plan_from_message, plan_to_message

    rng = np.random.default_rng(0)
    compared = size = altered = 0
    worst = 0.0
    for _, plan in plans(times // 50):
        data = serialize_message(plan_to_message(plan))
        back = plan_from_message(deserialize_message(data, JointTrajectory))
        t_ns = rng.integers(plan.start_ns, plan.end_ns + NS // 10, 50)
        worst = max(worst, float(np.abs(back.at(t_ns).position - plan.at(t_ns).position).max()))
        same = back.start_ns == plan.start_ns and back.joints == plan.joints
        same &= np.array_equal(back.offsets_ns, plan.offsets_ns)
        same &= all(
            np.array_equal(getattr(back, n), getattr(plan, n)) for n in ("positions", "velocities", "accelerations")
        )
        altered += not same
        compared += len(t_ns)
        size = max(size, len(data))
    return compared, size, worst, altered


def handover(count: int) -> tuple[int, list[float]]:
    """Number of handovers, and the maximum discontinuity in position, velocity and acceleration."""
    maxima = np.zeros(3)
    handovers = 0
    for active_plan, plan in plans(count):
        before, after = active_plan.at(plan.start_ns), plan.at(plan.start_ns)
        maxima = np.maximum(maxima, [float(np.abs(x - y).max()) for x, y in zip(after, before, strict=True)])
        handovers += 1
    return handovers, maxima.tolist()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both; returns 0 if neither exceeds 1e-9."""
    options = table.options(__doc__ or "", argv)
    part = 10 if options.quick else 1
    rows: list[list[str]] = []
    claims: list[tuple[str, bool]] = []
    try:
        compared, size, worst, altered = transport(TIMES // part)
    except ImportError as error:
        claims.append((f"transport: needs a ROS 2 environment ({error})", False))
    else:
        rows.append([f"plan -> message ({size:,} bytes) -> plan, {compared:,} times", f"{worst:.1e} rad"])
        claims.append((f"transport error at most {MAX_ERROR} rad", worst <= MAX_ERROR))
        claims.append((f"{altered} plans not bit-identical (none)", altered == 0))
    handovers, maxima = handover(PLANS // part)
    for name, value, unit in zip(
        ("position", "velocity", "acceleration"), maxima, ("rad", "rad/s", "rad/s^2"), strict=True
    ):
        rows.append([f"handover, discontinuity in {name}, {handovers:,} plans", f"{value:.1e} {unit}"])
        claims.append((f"discontinuity in {name} at most {MAX_ERROR}", value <= MAX_ERROR))
    table.show("errors of plans", ("", "maximum"), rows)
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
