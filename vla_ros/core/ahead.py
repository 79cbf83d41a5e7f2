"""The way from now to rest as one plan: what a controller is told that goes on by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.core.plan import Motion, Plan
from vla_ros.core.records import NS

CLOSEST_NS = NS // 10_000
"""Nearer together, knots say nothing but rounding: here it is 0.006 rad/s^3, and grows with the third power [ns]."""


def ahead(motions: Sequence[Motion], joints: tuple[str, ...], now_ns: int) -> Plan:
    """What is left of the motions, the last of which ends at rest.

    Args:
        motions: In the order of their starts; each is followed until the next begins. The first has begun.
        joints: Names, in column order (J).
        now_ns: First instant of the answer [ns].

    Returns:
        A plan through the motions' own knots, so that it is they; still where nothing is left.
    """
    ends = [*(motion.start_ns for motion in motions[1:]), motions[-1].end_ns]
    if ends[-1] <= now_ns + CLOSEST_NS:
        return Plan.hold(joints, motions[-1].at(max(now_ns, ends[-1])).position, now_ns)
    times, states = [now_ns], [_follows(motions, now_ns).at(now_ns)]
    for motion, end in zip(motions, ends, strict=True):
        for t in (*(int(knot) for knot in motion.knots_ns if knot < end - CLOSEST_NS), end):
            if t >= times[-1] + CLOSEST_NS:
                times.append(t)
                states.append(_follows(motions, t).at(t))
    fields = (np.stack(rows) for rows in zip(*states, strict=True))
    return Plan(joints, now_ns, np.array(times) - now_ns, *fields)


def _follows(motions: Sequence[Motion], t_ns: int) -> Motion:
    """The newest that has begun."""
    return next((motion for motion in reversed(motions) if motion.start_ns <= t_ns), motions[0])
