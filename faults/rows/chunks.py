"""Chunks lost, malformed, late, duplicated or out of order, a slow policy, and forged plans."""

from __future__ import annotations

import dataclasses
from typing import Any

from faults.fault import NO_EFFECT, PLAN_ENDS, Fault, Injection
from faults.injections import chunks as inject
from faults.scene import JOINTS

S = 1_000_000_000


def chunks(name: str, injection: Injection, **expected: Any) -> Fault:
    """A row whose chunks are restored at the end."""
    return Fault(name, injection, remove=inject.restore, **expected)


FAULTS = (
    chunks("policy silent", inject.LOST, **PLAN_ENDS),
    chunks("chunks: NaN", inject.modify_message(inject.set_nan), **PLAN_ENDS),
    chunks("chunks: empty", inject.modify_message(lambda m: m.points.clear()), **PLAN_ENDS),
    chunks(
        "chunks: 1e9 rad",
        inject.modify(lambda c: dataclasses.replace(c, positions=c.positions + 1e9)),
        **PLAN_ENDS,
    ),
    chunks(
        "chunks: for another robot",
        inject.modify(lambda c: dataclasses.replace(c, joints=(*JOINTS[:-1], "jaw"))),
        **PLAN_ENDS,
    ),
    chunks(
        "chunks: stamped 10 s ago",
        inject.modify(lambda c: dataclasses.replace(c, stamp_ns=c.stamp_ns - 10 * S)),
        **PLAN_ENDS,
    ),
    chunks(
        "chunks: stamped in 10 s",
        inject.modify(lambda c: dataclasses.replace(c, stamp_ns=c.stamp_ns + 10 * S)),
        **PLAN_ENDS,
    ),
    chunks("chunks: in pairs, swapped", inject.pairs_swapped, **NO_EFFECT),
    chunks("chunks: each twice", inject.duplicated, **NO_EFFECT),
    chunks("chunks: 1000 per second", inject.thousand_per_second, **NO_EFFECT),
    chunks("policy 0.5 s slow", inject.delayed(0.5), **NO_EFFECT),
    chunks("policy 1.5 s slow", inject.delayed(1.5), **NO_EFFECT),
    chunks("policy 3 s slow", inject.delayed(3.0), **PLAN_ENDS),
    chunks("policy 10 s slow", inject.delayed(10.0), **PLAN_ENDS, observe_s=12.0),
    chunks("plans forged by a second planner", inject.forged_plans(0.5), **NO_EFFECT),
    chunks("chunks: ten at a time, shuffled", inject.shuffled, **NO_EFFECT),
    chunks("chunks: joints in another order", inject.modify(inject.reversed_joints), **NO_EFFECT),
    chunks(
        "chunks: ten times too fast",
        inject.modify(lambda c: dataclasses.replace(c, offsets_s=c.offsets_s / 10)),
        **NO_EFFECT,
    ),
    chunks(
        "chunks: one joint missing in one waypoint",
        inject.modify_message(lambda m: m.points[3].positions.pop()),
        **PLAN_ENDS,
    ),
    chunks(
        "chunks: 1000 waypoints",
        inject.modify_message(lambda m: m.points.extend([m.points[-1]] * 1000)),
        **PLAN_ENDS,
    ),
)
