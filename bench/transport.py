"""What a plan loses on the way: through a real trajectory message, and from one plan to the next.

Transport: every plan of the stream becomes a `trajectory_msgs/JointTrajectory`, is serialised by the
middleware as on the wire, read back and evaluated; figures are the largest difference over all instants.
Hand-over: the largest jump in position, velocity and acceleration where each plan takes over from the former.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from bench.common import table
from bench.common.stream import make as make_stream
from vla_ros.api import Plan
from vla_ros.core.records import NS

INSTANTS = 10_000
PLANS = 10_000
LARGEST = 1e-9


def plans(count: int) -> Iterator[tuple[Plan, Plan]]:
    """Consecutive plans, at least `count` pairs: the one in force and the one that takes over from it."""
    made = seed = 0
    while made < count:
        stream = make_stream(6, 60.0, demanding=bool(seed % 2), seed=seed)
        for _, _, force, plan in stream.plans():
            if isinstance(plan, Plan):
                made += 1
                yield force, plan
        seed += 1


def transport(instants: int) -> tuple[int, int, float, int]:
    """Instants compared, bytes of one message, largest position error [rad], plans that were not identical."""
    from rclpy.serialization import deserialize_message, serialize_message
    from trajectory_msgs.msg import JointTrajectory

    from vla_ros.nodes.common.conversions import plan_from_message, plan_to_message

    rng = np.random.default_rng(0)
    compared = size = altered = 0
    worst = 0.0
    for _, plan in plans(instants // 50):
        wire = serialize_message(plan_to_message(plan))
        back = plan_from_message(deserialize_message(wire, JointTrajectory))
        t_ns = rng.integers(plan.start_ns, plan.end_ns + NS // 10, 50)
        worst = max(worst, float(np.abs(back.at(t_ns).position - plan.at(t_ns).position).max()))
        same = back.start_ns == plan.start_ns and back.joints == plan.joints
        same &= np.array_equal(back.offsets_ns, plan.offsets_ns)
        same &= all(
            np.array_equal(getattr(back, n), getattr(plan, n)) for n in ("positions", "velocities", "accelerations")
        )
        altered += not same
        compared += len(t_ns)
        size = max(size, len(wire))
    return compared, size, worst, altered


def handover(count: int) -> tuple[int, list[float]]:
    """Hand-overs seen and the largest jump in position, velocity and acceleration."""
    jumps = np.zeros(3)
    seen = 0
    for force, plan in plans(count):
        before, after = force.at(plan.start_ns), plan.at(plan.start_ns)
        jumps = np.maximum(jumps, [float(np.abs(x - y).max()) for x, y in zip(after, before, strict=True)])
        seen += 1
    return seen, jumps.tolist()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both; 0 if neither exceeds 1e-9."""
    given = table.options(__doc__ or "", argv)
    part = 10 if given.quick else 1
    rows: list[list[str]] = []
    claims: list[tuple[str, bool]] = []
    try:
        compared, size, worst, altered = transport(INSTANTS // part)
    except ImportError as error:
        claims.append((f"transport: needs a ROS 2 environment ({error})", False))
    else:
        rows.append([f"plan -> message ({size:,} bytes) -> plan, {compared:,} instants", f"{worst:.1e} rad"])
        claims.append((f"transport error at most {LARGEST} rad", worst <= LARGEST))
        claims.append((f"{altered} plans altered by a bit (none)", altered == 0))
    seen, jumps = handover(PLANS // part)
    for name, jump, unit in zip(
        ("position", "velocity", "acceleration"), jumps, ("rad", "rad/s", "rad/s^2"), strict=True
    ):
        rows.append([f"hand-over, jump in {name}, {seen:,} plans", f"{jump:.1e} {unit}"])
        claims.append((f"jump in {name} at most {LARGEST}", jump <= LARGEST))
    table.show("what a plan loses", ("", "largest"), rows)
    return table.verdict(claims)


if __name__ == "__main__":
    sys.exit(main())
