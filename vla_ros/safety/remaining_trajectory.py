"""The remaining trajectory from now to rest as one plan, for a controller that follows trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vla_ros.core.records import NS
from vla_ros.core.trajectory import Motion, Plan

MIN_KNOT_SPACING_NS = NS // 10_000
"""Minimum distance of two knots [ns]: rounding of the states causes a jerk that grows with the inverse third power of
the spacing; it is 0.006 rad/s^3 here."""
POSITION_TOLERANCE_RAD = 1e-6
"""Maximum deviation of positions at the switch between two motions that counts as rounding [rad]."""


def remaining_trajectory(motions: Sequence[Motion], joints: tuple[str, ...], now_ns: int) -> Plan:
    """The remainder of a sequence of motions as one plan.

    Args:
        motions: In the order of their starts; each is followed until the next one starts. The first has started, the
            last ends at rest.
        joints: Names, in column order (J).
        now_ns: Start of the returned plan [ns].

    Returns:
        A plan whose knots are the knots of the motions, so that it reproduces them; a plan that holds the final
        position if nothing remains.
    """
    ends = [*(motion.start_ns for motion in motions[1:]), motions[-1].end_ns]
    if ends[-1] <= now_ns + MIN_KNOT_SPACING_NS:
        return Plan.hold(joints, motions[-1].at(max(now_ns, ends[-1])).position, now_ns)
    times, states = [now_ns], [_active_motion(motions, now_ns).at(now_ns)]
    for motion, end in zip(motions, ends, strict=True):
        for t in (*(int(knot) for knot in motion.knots_ns if knot < end - MIN_KNOT_SPACING_NS), end):
            if t >= times[-1] + MIN_KNOT_SPACING_NS:
                times.append(t)
                states.append(_active_motion(motions, t).at(t))
    fields = (np.stack(rows) for rows in zip(*states, strict=True))
    return Plan(joints, now_ns, np.array(times) - now_ns, *fields)


def _active_motion(motions: Sequence[Motion], t_ns: int) -> Motion:
    """The newest motion that has started at `t_ns`."""
    return next((motion for motion in reversed(motions) if motion.start_ns <= t_ns), motions[0])


class DelayedTrajectory:
    """The remaining trajectory, delayed by a constant time relative to the motions of the supervisor.

    A message takes some time, and a controller polls for it once per period. Without the delay a stop would begin
    before the controller receives it, and the servos would exceed the jerk limit to catch up. With the delay every
    message arrives before the first instant at which it differs from the previous message.
    """

    def __init__(self, joints: tuple[str, ...], delay_ns: int) -> None:
        """Start without motions.

        Args:
            joints: Names, in column order (J).
            delay_ns: The delay [ns].
        """
        self._joints, self._delay_ns = joints, delay_ns
        self._motions: tuple[Motion, ...] = ()

    def set_motions(self, motions: Sequence[Motion], now_ns: int) -> None:
        """Replace the motions from `now_ns` on; the first of them has started, the last ends at rest.

        Earlier motions are kept for as long as the delay requires. They are dropped immediately if the new motions do
        not continue from them, as after arming in another pose.
        """
        first = motions[0]
        before = tuple(m for m in self._motions if m.start_ns < first.start_ns and m not in motions)
        if before:
            old, new = _active_motion(before, first.start_ns).at(first.start_ns), first.at(first.start_ns)
            if not (np.abs(old.position - new.position) <= POSITION_TOLERANCE_RAD).all():
                before = ()
        self._motions = (*before, *motions)
        while len(self._motions) > 1 and self._motions[1].start_ns <= now_ns - self._delay_ns:
            self._motions = self._motions[1:]

    def delayed(self, now_ns: int) -> Plan:
        """A plan that starts at `now_ns` and equals the motions at `delay_ns` earlier."""
        since = max(now_ns - self._delay_ns, self._motions[0].start_ns)
        plan = remaining_trajectory(self._motions, self._joints, since)
        return replace(plan, start_ns=plan.start_ns + self._delay_ns)
