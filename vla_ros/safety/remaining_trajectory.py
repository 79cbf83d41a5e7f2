"""The way from now to rest as one plan: what a controller is told that goes on by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vla_ros.core.records import NS
from vla_ros.core.trajectory import Motion, Plan

CLOSEST_NS = NS // 10_000
"""Nearer together, knots say nothing but rounding: here it is 0.006 rad/s^3, and grows with the third power [ns]."""
SAME = 1e-6
"""Positions so near are the same: what goes on from one motion to the next differs by rounding [rad]."""


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


class Trail:
    """What was followed lately and what is followed now: the way to rest, told so much behind what is commanded.

    A message takes a while, and a controller looks for one once per period. Told at once, a stop would begin before
    the controller hears of it, and what the servos then do to catch up exceeds the jerk limit. Told `lag_ns` behind,
    every message arrives before anything in it begins that the one before did not say.
    """

    def __init__(self, joints: tuple[str, ...], lag_ns: int) -> None:
        """Nothing is followed yet; `joints` (J) in column order."""
        self._joints, self._lag_ns = joints, lag_ns
        self._motions: tuple[Motion, ...] = ()

    def follow(self, motions: Sequence[Motion], now_ns: int) -> None:
        """From now on these are followed; the first has begun, the last ends at rest."""
        first = motions[0]
        before = tuple(m for m in self._motions if m.start_ns < first.start_ns and m not in motions)
        if before:
            left, found = _follows(before, first.start_ns).at(first.start_ns), first.at(first.start_ns)
            if not (np.abs(left.position - found.position) <= SAME).all():
                before = ()  # commanded anew from another pose
        self._motions = (*before, *motions)
        while len(self._motions) > 1 and self._motions[1].start_ns <= now_ns - self._lag_ns:
            self._motions = self._motions[1:]

    def told(self, now_ns: int) -> Plan:
        """What is told at `now_ns`: a plan that begins then, and is what is followed `lag_ns` earlier."""
        since = max(now_ns - self._lag_ns, self._motions[0].start_ns)
        plan = ahead(self._motions, self._joints, since)
        return replace(plan, start_ns=plan.start_ns + self._lag_ns)
