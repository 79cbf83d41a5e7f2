"""The planner: turns a chunk into a plan that continues the active plan and ends at rest.

Per joint it solves a small quadratic program in the control points c of a clamped B-spline of degree 5 on
[t_h, t_end + stop tail], where t_h is the handover:

    minimise    sum_k w_k (q(t_k) - y_k)^2 + lambda int q'''^2 dt
    subject to  q, q', q'' at t_h as in the active plan;  q' = q'' = 0 at the end;
                control points of q, q', q'', q''' inside the limits.

The targets y_k are waypoints, or points on the curve of a chunk such that the sum is the integral of (q - y)^2.

A B-spline lies in the convex hull of its control points, so bounded control points bound the curve at every instant.
The equality constraints are eliminated, the Hessian is common to all joints, and a joint whose unconstrained optimum
already satisfies every bound needs no active-set iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import NS, Array, Chunk, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan, State
from vla_ros.planning.knot_grid import DEGREE, FIXED, GRADING, TICKS, make_grid
from vla_ros.planning.objective import Targets, quadrature, waypoint_targets

MIN_FIRST_PIECE_NS = 1_200_000
"""Windows are at least so long that their first piece has this duration [ns]."""
SOLVER_TOLERANCE = 1e-10
"""By how much the solver may violate a bound; less than the rounding that the certificate allows."""
POSITION_SLACK = 1e-4
"""Fraction of each joint's range kept free at both ends, in addition to the braking margin, unless the active plan is
already there."""


@dataclass(frozen=True)
class PlannerConfig:
    """Settings of the planner.

    Attributes:
        lead_s: Time from `now` to the handover [s]; must exceed planning time plus transport time.
        tail_s: Time to come to rest after the last waypoint [s]; 0 takes the time that stopping from any state needs
            under the limits.
        horizon_s: Waypoints later than this after the handover are ignored [s].
        control_points: Control points per joint and window.
        cutoff_hz: Motion in the chunk above this frequency is smoothed away [Hz].
        margin: Fraction of the velocity, acceleration and jerk limits that plans use; the certificate permits the
            full limits.
        max_age_s: Maximum age of the observation that a chunk belongs to [s].
        max_future_s: By how much a stamp may lie ahead of `now` [s].
        max_handover_error_rad: Maximum distance between chunk and active plan at the handover [rad].
        ensemble_weight: Maximum weight of the active plan in the targets, in [0, 1). 0 follows the newest chunk alone;
            near 1 the targets are the mean of all chunks that cover an instant, as in temporal ensembling (Zhao et al.,
            arXiv:2304.13705), where the chunks agree.
    """

    lead_s: float = 0.03
    tail_s: float = 0.0
    horizon_s: float = 4.0
    control_points: int = 24
    cutoff_hz: float = 3.0
    margin: float = 0.99
    max_age_s: float = 2.0
    max_future_s: float = 0.05
    max_handover_error_rad: float = 0.6
    ensemble_weight: float = 0.0

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("lead_s", "horizon_s", "cutoff_hz", "max_age_s", "max_handover_error_rad"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ConfigError(f"planner: {name} must be greater than 0; got {getattr(self, name)}.")
        for name in ("tail_s", "max_future_s"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"planner: {name} must not be negative; got {getattr(self, name)}.")
        if not 12 <= self.control_points <= 100:
            raise ConfigError(f"planner: control_points must be 12 to 100; got {self.control_points}.")
        if not 0.0 <= self.ensemble_weight < 1.0:
            raise ConfigError(f"planner: ensemble_weight must be in [0, 1); got {self.ensemble_weight}.")
        if not 0.0 < self.margin <= 1.0:
            raise ConfigError(f"planner: margin must be in (0, 1]; got {self.margin}.")


def rest_time_s(limits: Limits) -> float:
    """Time in which every joint can come to rest from any state inside `limits` [s].

    The worst start is full speed with full outward acceleration. The acceleration must be removed and built up in the
    other direction (2 a/j), the speed removed (v/a plus what the first phase added), and the acceleration removed
    again (a/j).
    """
    v, a, j = limits.velocity, limits.acceleration, limits.jerk
    return float(np.max((v + a * a / (2 * j)) / a + 2 * a / j))


class Planner:
    """Turns chunks into plans for one robot. Without state: the result depends on the arguments only."""

    def __init__(self, limits: Limits, config: PlannerConfig | None = None) -> None:
        """Prepare the program for the joints of `limits`, in that order."""
        import daqp  # here, so that records and settings can be imported without the solver

        self._solver = daqp.Model
        self.config = config or PlannerConfig()
        self.limits = limits
        inner = limits.scaled(self.config.margin)
        slack = limits.braking_margin + POSITION_SLACK * (limits.upper - limits.lower)
        lower = np.stack([limits.lower + slack, -inner.velocity, -inner.acceleration, -inner.jerk])
        upper = np.stack([limits.upper - slack, inner.velocity, inner.acceleration, inner.jerk])
        self._grid = grid = make_grid(self.config.control_points)
        self._rows = np.ascontiguousarray(grid.rows[np.count_nonzero(grid.order == 0) :, FIXED:])
        self._lower, self._upper = lower[grid.order], upper[grid.order]
        self._min_window_ns = int(MIN_FIRST_PIECE_NS * (self.config.control_points - DEGREE) ** GRADING)
        self._tail_s = self.config.tail_s or rest_time_s(inner)
        self._jerk_weight = (2 * np.pi * self.config.cutoff_hz) ** -6.0

    def handover_ns(self, active_plan: Plan, now_ns: int) -> int:
        """When a plan made now would take over [ns]."""
        return max(now_ns + int(self.config.lead_s * NS), active_plan.start_ns)

    def handover_error(self, chunk: Chunk, active_plan: Plan, now_ns: int) -> float:
        """Maximum distance of any joint between chunk and active plan at the handover [rad].

        A chunk defines no target before its first waypoint, so the distance that full speed covers until then is
        subtracted.
        """
        handover_ns = self.handover_ns(active_plan, now_ns)
        return self._deviation(chunk, active_plan.at(handover_ns), handover_ns)

    def _deviation(self, chunk: Chunk, start: State, handover_ns: int) -> float:
        lead_s = max(float(chunk.offsets_s[0]) - (handover_ns - chunk.stamp_ns) / NS, 0.0)
        deviation = np.abs(chunk.at(handover_ns) - start.position) - lead_s * self.limits.velocity
        return float(np.maximum(deviation, 0.0).max())

    def plan(self, chunk: Chunk, active_plan: Plan, now_ns: int) -> Plan | Refusal:
        """The plan that follows `chunk` from the state of `active_plan` at the handover.

        Args:
            chunk: Targets; waypoints before the handover are ignored.
            active_plan: The plan being executed; it may not start later than the handover.
            now_ns: The time [ns].

        Returns:
            A plan inside the limits at every instant that starts exactly at the state of `active_plan` and ends at
            rest, or a refusal: "joints", "future", "stale", "handover_error" or "infeasible".
        """
        try:
            chunk = chunk.reordered(self.limits.joints)
        except RecordError as error:
            return Refusal("joints", str(error))
        handover_ns = self.handover_ns(active_plan, now_ns)
        refusal = self._check_time(chunk, handover_ns, now_ns)
        if refusal:
            return refusal
        start = active_plan.at(handover_ns)
        deviation = self._deviation(chunk, start, handover_ns)
        if not deviation <= self.config.max_handover_error_rad:
            return Refusal(
                "handover_error",
                f"the chunk lies {deviation:.3f} rad from the active plan at the handover; "
                f"at most {self.config.max_handover_error_rad} rad is smoothed over.",
            )
        return self._solve(self._targets(chunk, active_plan, handover_ns), start, handover_ns)

    def _check_time(self, chunk: Chunk, handover_ns: int, now_ns: int) -> Refusal | None:
        age = (now_ns - chunk.stamp_ns) / NS
        if not age >= -self.config.max_future_s:
            return Refusal("future", f"the chunk is stamped {-age:.3f} s ahead of now.")
        if not age <= self.config.max_age_s:
            return Refusal(
                "stale",
                f"the chunk belongs to an observation {age:.3f} s old; at most {self.config.max_age_s} s.",
            )
        if not chunk.offsets_s[-1] > (handover_ns - chunk.stamp_ns) / NS:
            return Refusal("stale", "every waypoint of the chunk is past at the handover.")
        return None

    def _targets(self, chunk: Chunk, active_plan: Plan, handover_ns: int) -> Targets:
        late, horizon = (handover_ns - chunk.stamp_ns) / NS, self.config.horizon_s
        times = chunk.offsets_s - late
        if chunk.is_curve and times[0] < horizon:
            begin, end = max(float(times[0]), 0.0), min(float(times[-1]), horizon)
            knots = self._grid.ticks.astype(np.float64) * (self._window_ns(end) / TICKS / NS)
            nodes, weights = quadrature(begin, end, times, knots)
            targets = np.clip(chunk.sample(nodes + late), self.limits.lower, self.limits.upper)
            if self.config.ensemble_weight:
                targets = self._ensembled(nodes, targets, active_plan, handover_ns)
            return Targets(nodes, targets, weights, end)
        first, last = times.searchsorted([0.0, horizon], side="right")
        last = max(last, first + 1)
        times = times[first:last]
        targets = np.clip(chunk.positions[first:last], self.limits.lower, self.limits.upper)
        if self.config.ensemble_weight:
            targets = self._ensembled(times, targets, active_plan, handover_ns)
        if not times[-1] <= horizon:
            part = horizon / times[-1]
            start = active_plan.at(handover_ns).position
            times, targets = times * part, start + (targets - start) * part
        return waypoint_targets(times, targets)

    def _ensembled(self, times: Array, targets: Array, active_plan: Plan, handover_ns: int) -> Array:
        """The targets averaged with the active plan, which represents all chunks before this one.

        One chunk arrives per interval between plans. At an instant r before the end of the active plan's targets about
        n = 1 + r/interval chunks have contributed; the plan's weight is n/(n + 1).
        Where plan and targets differ, the policy has decided otherwise, and the weight decreases to zero.
        """
        followed = (active_plan.end_ns - handover_ns) / NS - self._tail_s - times
        interval = max((handover_ns - active_plan.start_ns) / NS, self.config.lead_s)
        chunks = np.where(followed > 0.0, 1.0 + followed / interval, 0.0)
        weight = np.minimum(chunks / (chunks + 1.0), self.config.ensemble_weight)
        deviation = active_plan.derivative(handover_ns + (times * NS).astype(np.int64), 0) - targets
        agreement = 1.0 - (deviation / (self.config.max_handover_error_rad / 2)) ** 2
        return targets + weight[:, None] * np.maximum(agreement, 0.0) * deviation

    def _window_ns(self, end_s: float) -> int:
        """Duration of a plan that follows targets until `end_s` [ns]."""
        window_ns = max(int((end_s + self._tail_s) * NS), self._min_window_ns)
        return -(-window_ns // TICKS) * TICKS

    def _solve(self, targets: Targets, start: State, handover_ns: int) -> Plan | Refusal:
        window_ns = self._window_ns(targets.end_s)
        grid, window_s = self._grid, window_ns / NS

        # On the unit window, derivative k is window_s^k times as large.
        scale = window_s ** np.arange(4.0)
        state = np.array(start) * scale[:FIXED, None]
        values = grid.basis(targets.times / window_s) @ grid.points
        weighted = values * targets.weights[:, None]
        cost = values.T @ weighted + (self._jerk_weight * window_s**-5) * grid.jerk
        hessian = np.ascontiguousarray(cost[FIXED:, FIXED:])
        gradient = cost[FIXED:, :FIXED] @ state - weighted[:, FIXED:].T @ targets.positions
        known = grid.rows[:, :FIXED] @ state
        factor = scale[grid.order, None]
        lower, upper = self._lower * factor - known, self._upper * factor - known
        n = len(known) - len(self._rows)
        lower[:n], upper[:n] = np.minimum(lower[:n], start.position), np.maximum(upper[:n], start.position)

        unknowns = np.linalg.solve(hessian, -gradient)
        reached = grid.rows[:, FIXED:] @ unknowns
        inside = ((lower <= reached) & (reached <= upper)).all(axis=0)
        if not inside.all():
            refusal = self._bounded(hessian, gradient, lower, upper, np.flatnonzero(~inside), unknowns)
            if refusal:
                return refusal
        knots = (grid.knots @ np.concatenate([state, unknowns])).reshape(FIXED, -1, state.shape[1])
        knots /= scale[:FIXED, None, None]
        knots[:, 0] = start
        knots[1:, -1] = 0.0
        return Plan(self.limits.joints, handover_ns, grid.ticks * (window_ns // TICKS), *knots)

    def _bounded(
        self,
        hessian: Array,
        gradient: Array,
        lower: Array,
        upper: Array,
        joints: npt.NDArray[np.intp],
        unknowns: Array,
    ) -> Refusal | None:
        """Solve the programs of `joints` with their bounds, in place; refused when one of them is infeasible."""
        model = self._solver()
        model.settings = {"primal_tol": SOLVER_TOLERANCE}
        gradient, lower, upper = (np.ascontiguousarray(m.T) for m in (gradient, lower, upper))
        for n, j in enumerate(joints):
            if n == 0:
                model.setup(hessian, gradient[j], self._rows, upper[j], lower[j])
            else:
                model.update(f=gradient[j], bupper=upper[j], blower=lower[j])
            x, _, flag, _ = model.solve()
            if flag != 1:
                name = self.limits.joints[j]
                return Refusal("infeasible", f"no plan inside the limits of {name} continues the active plan.")
            unknowns[:, j] = x
        return None
