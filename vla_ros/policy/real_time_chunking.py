"""Makes a new chunk agree with the part of the active plan that is executed before the chunk takes over.

A chunk computed from an old observation should agree with what has been executed since. Two methods: `pin_spline` moves
the control points of a spline, and `CommittedPrefix.mask` weights the waypoints that guide a flow (real-time chunking,
Black et al., arXiv:2506.07339, equation 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.records import NS, Array
from vla_ros.core.splines import uniform_basis
from vla_ros.core.trajectory import Plan
from vla_ros.policy.action_spline import SplineConfig

MAX_PIN_ERROR_RAD = 0.2
"""Above this handover error a chunk is not pinned, so that planner and supervisor detect the error; they slow the arm
from twice this value [rad]."""
SOFT_PREFIX_NS = 4 * NS // 10
"""After the handover a chunk is held to the active plan with decreasing weight until this time after the request,
because a few waypoints do not determine which of two modes a flow chooses. It is not longer, because a late policy
would then correct its own errors even later (docs/policies/real_time_chunking.md) [ns]."""
RIDGE = 1e-3
"""Weight of the squared change of the control points, beside the squared change of the remaining curve."""


@dataclass(frozen=True, eq=False)
class CommittedPrefix:
    """The active plan, and until when it will be followed for certain.

    Attributes:
        plan: In the order of the policy's joints.
        handover_ns: When the requested chunk is expected to take over [ns].
        free_ns: From here on the chunk is free: not before `handover_ns`, and before the plan comes to rest for want of
            a next chunk [ns].
        speed: Time scaling of the planner, in (0, 1]: one second of a chunk lasts 1 / speed.
    """

    plan: Plan
    handover_ns: int
    free_ns: int
    speed: float = 1.0

    @classmethod
    def until(
        cls, plan: Plan, request_ns: int, handover_ns: int, tail_ns: int, speed: float = 1.0
    ) -> CommittedPrefix | None:
        """The prefix that is committed when the next chunk takes over; None if the plan is at rest by then.

        Args:
            plan: The active plan.
            request_ns: Time of the request to the policy [ns].
            handover_ns: See above.
            tail_ns: Duration at the end of a plan in which it comes to rest for want of a next chunk [ns].
            speed: See above.
        """
        if not handover_ns < plan.end_ns:
            return None
        free_ns = min(request_ns + SOFT_PREFIX_NS, plan.end_ns - tail_ns)
        return cls(plan, handover_ns, max(free_ns, handover_ns), speed)

    def chunk_time_s(self, stamp_ns: int, t_ns: int) -> float:
        """Time `t_ns` as time since the observation of a chunk with this stamp, with time scaling [s]."""
        return (t_ns - stamp_ns) / NS * self.speed

    def targets(self, stamp_ns: int, times_s: Array) -> Array:
        """Positions of the plan at times of a chunk, shape (K,) [s] to (K, J) [rad]."""
        t = stamp_ns + (times_s / self.speed * NS).astype(np.int64)
        return self.plan.derivative(np.maximum(t, self.plan.start_ns), 0)

    def mask(self, stamp_ns: int, times_s: Array) -> Array:
        """Weights of the plan at the waypoints of a chunk, (K,): 1 until the handover, then decreasing to 0.

        Waypoints before the start of the plan have weight 0.
        """
        t = stamp_ns + times_s / self.speed * NS
        left = (self.free_ns - t) / max(self.free_ns - self.handover_ns, 1)
        c = np.clip(left, 0.0, 1.0)
        decreasing = np.where(t <= self.handover_ns, 1.0, c * np.expm1(c) / np.expm1(1.0))
        mask: Array = np.where((t >= self.plan.start_ns) & (t < max(self.free_ns, self.handover_ns)), decreasing, 0.0)
        return mask


def pin_spline(
    control_points: Array, spline: SplineConfig, committed: CommittedPrefix, stamp_ns: int, grippers: Array
) -> Array | None:
    """Control points moved so that the curve has the plan's position and velocity at the handover.

    The change of the remaining curve is minimal.

    Args:
        control_points: Shape (N, J) [rad].
        spline: Shape of the spline.
        committed: The committed prefix.
        stamp_ns: Of the chunk [ns].
        grippers: Joints that are not moved, shape (J,), bool.

    Returns:
        Shape (N, J); None where nothing is pinned: the handover is outside the chunk or before the plan, or the
        handover error of a joint is greater than `MAX_PIN_ERROR_RAD`.
    """
    duration = spline.waypoints * spline.dt_s
    handover_s = committed.chunk_time_s(stamp_ns, committed.handover_ns)
    if not (0.0 <= handover_s < duration and committed.handover_ns >= committed.plan.start_ns):
        return None
    n, p, u = spline.control_points, spline.degree, handover_s / duration
    state = committed.plan.at(committed.handover_ns)
    rows = np.concatenate([uniform_basis(u, n, p, k) / duration**k for k in range(2)])
    error = np.stack([state.position, state.velocity / committed.speed]) - rows @ control_points
    error[:, grippers] = 0.0
    if not np.abs(error[0]).max() <= MAX_PIN_ERROR_RAD:
        return None
    remaining = uniform_basis(np.linspace(u, 1.0, 8 * n), n, p)
    metric = remaining.T @ remaining / len(remaining) + RIDGE * np.eye(n)
    spread = np.linalg.solve(metric, rows.T)
    pinned: Array = control_points + spread @ np.linalg.solve(rows @ spread, error)
    return pinned
