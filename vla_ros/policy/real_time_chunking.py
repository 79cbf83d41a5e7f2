"""What the arm does whatever a policy says now: the plan in force until the next chunk takes over.

A chunk that answers an old picture should agree with what was executed meanwhile. Two ways to see to it:
`pin` moves the control points of a spline, `Committed.mask` weighs the waypoints that guide a flow
(real-time chunking, Black et al., arXiv:2506.07339, equation 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.records import NS, Array
from vla_ros.core.splines import uniform_basis
from vla_ros.core.trajectory import Plan
from vla_ros.policy.action_spline import SplineConfig

PIN_CAP_RAD = 0.2
"""A chunk farther from the plan in force at the hand-over is not moved to it: that is for planner and supervisor to
see, who slow the arm from twice as much on [rad]."""
HELD_NS = 4 * NS // 10
"""Where the hand-over comes sooner than so long after the question, a chunk is held to the plan in force less and less
until then: a few waypoints do not tell a flow which of two ways it is on. Not longer: a policy that is late as it is
would correct itself later still (docs/policies.md) [ns]."""
RIDGE = 1e-3
"""Of the squared change of a control point, beside the squared change of the curve over what is left of it."""


@dataclass(frozen=True, eq=False)
class CommittedPrefix:
    """The plan in force, and until when it will be followed for certain.

    Attributes:
        plan: In the order of the policy's joints.
        handover_ns: When the chunk now asked for is expected to take over [ns].
        free_ns: From here on nothing is taken from the plan: not before `handover_ns`, and not where the plan only
            comes to rest because no chunk followed [ns].
        speed: What the planner's clock runs at, in (0, 1]: a chunk's second lasts 1 / speed.
    """

    plan: Plan
    handover_ns: int
    free_ns: int
    speed: float = 1.0

    @classmethod
    def until(cls, plan: Plan, asked_ns: int, handover_ns: int, tail_ns: int, speed: float = 1.0) -> CommittedPrefix | None:
        """What is committed when the next chunk takes over at `handover_ns`; None of a plan that is at rest by then.

        Args:
            plan: In force.
            asked_ns: When the policy is asked [ns].
            handover_ns: See above.
            tail_ns: At its end a plan comes to rest for want of a next one: so long before nothing is taken from it.
            speed: See above.
        """
        if not handover_ns < plan.end_ns:
            return None
        free_ns = min(asked_ns + HELD_NS, plan.end_ns - tail_ns)
        return cls(plan, handover_ns, max(free_ns, handover_ns), speed)

    def own_s(self, stamp_ns: int, t_ns: int) -> float:
        """An instant on the clock of a chunk with this stamp [s]."""
        return (t_ns - stamp_ns) / NS * self.speed

    def targets(self, stamp_ns: int, own_s: Array) -> Array:
        """Where the plan is at times of a chunk's own clock, shape (K,) [s] to (K, J) [rad]."""
        t = stamp_ns + (own_s / self.speed * NS).astype(np.int64)
        return self.plan.derivative(np.maximum(t, self.plan.start_ns), 0)

    def mask(self, stamp_ns: int, own_s: Array) -> Array:
        """How firmly a chunk is held to the plan at its waypoints, (K,): 1 until the hand-over, then less, then 0.

        What lies before the plan's own start is not known, and not asked for.
        """
        t = stamp_ns + own_s / self.speed * NS
        left = (self.free_ns - t) / max(self.free_ns - self.handover_ns, 1)
        c = np.clip(left, 0.0, 1.0)
        fading = np.where(t <= self.handover_ns, 1.0, c * np.expm1(c) / np.expm1(1.0))
        mask: Array = np.where((t >= self.plan.start_ns) & (t < max(self.free_ns, self.handover_ns)), fading, 0.0)
        return mask


def pin(control: Array, spline: SplineConfig, committed: CommittedPrefix, stamp_ns: int, steps: Array) -> Array | None:
    """Control points moved so that the curve goes through the plan's position and velocity at the hand-over.

    Of all that do, those are taken whose curve changes least from there on.

    Args:
        control: Shape (N, J) [rad].
        spline: Shape of the spline.
        committed: The plan in force.
        stamp_ns: Of the chunk [ns].
        steps: Joints to leave alone (grippers), shape (J,), bool.

    Returns:
        Shape (N, J); None where nothing is to be pinned: the hand-over lies outside the chunk or before the plan, or a
        joint is farther off than `PIN_CAP_RAD`.
    """
    duration, at_s = spline.waypoints * spline.dt_s, committed.own_s(stamp_ns, committed.handover_ns)
    if not (0.0 <= at_s < duration and committed.handover_ns >= committed.plan.start_ns):
        return None
    n, p, u = spline.control_points, spline.degree, at_s / duration
    state = committed.plan.at(committed.handover_ns)
    rows = np.concatenate([uniform_basis(u, n, p, k) / duration**k for k in range(2)])
    wanted = np.stack([state.position, state.velocity / committed.speed]) - rows @ control
    wanted[:, steps] = 0.0
    if not np.abs(wanted[0]).max() <= PIN_CAP_RAD:
        return None
    later = uniform_basis(np.linspace(u, 1.0, 8 * n), n, p)
    metric = later.T @ later / len(later) + RIDGE * np.eye(n)
    spread = np.linalg.solve(metric, rows.T)
    moved: Array = control + spread @ np.linalg.solve(rows @ spread, wanted)
    return moved
