"""The planner: one chunk becomes one plan that starts where the plan in force will be and ends at rest.

Per joint a small quadratic program in the control points c of a clamped B-spline of degree 5 on
[t_s, t_end + stop tail]:

    minimise    sum_k w_k (q(t_k) - y_k)^2 + lambda int q'''^2 dt
    subject to  q, q', q'' at t_s as in the plan in force;  q' = q'' = 0 at the end;
                control points of q, q', q'', q''' inside the limits.

The y_k are waypoints; or they are points on a chunk's curve so that the sum is the integral of (q - y)^2.

A B-spline lies in the hull of its control points, so bounded control points bound the curve at every
instant. The equalities are eliminated, the Hessian is common to all joints, and a joint whose
unconstrained optimum already obeys every bound needs no active-set iterations at all.
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

SHORTEST_NS = 1_200_000
"""Windows are no shorter than makes their first piece this long."""
SOLVER_TOLERANCE = 1e-10
"""How far the solver may leave a bound; less than the certificate grants to rounding."""
POSITION_SLACK = 1e-4
"""Part of each joint's range kept free at both ends beside the room to brake, unless the motion in force is there
already."""


@dataclass(frozen=True)
class PlannerConfig:
    """What may be tuned.

    Attributes:
        lead_s: Hand-over lies this long after `now` [s]; must exceed planning plus transport.
        tail_s: Time to come to rest after the last waypoint [s]; 0 takes the time that stopping from
            any state needs under the limits.
        horizon_s: Waypoints later than this after the hand-over are left for the next chunk [s].
        control_points: Control points per joint and window.
        cutoff_hz: Motion in the chunk above this frequency is smoothed away [Hz].
        margin: Fraction of the velocity, acceleration and jerk limits planned with; the certificate grants
            all of them.
        max_age_s: Oldest observation a chunk may answer [s].
        max_future_s: Farthest a stamp may lie ahead of `now` [s].
        max_disagreement: Largest jump between chunk and plan in force at the hand-over [rad].
        memory: Largest share of the plan in force in the targets: 0 follows the newest chunk alone; near 1
            it is the mean of all chunks that spoke of an instant, where they agree.
    """

    lead_s: float = 0.03
    tail_s: float = 0.0
    horizon_s: float = 4.0
    control_points: int = 24
    cutoff_hz: float = 3.0
    margin: float = 0.99
    max_age_s: float = 2.0
    max_future_s: float = 0.05
    max_disagreement: float = 0.6
    memory: float = 0.0

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("lead_s", "horizon_s", "cutoff_hz", "max_age_s", "max_disagreement"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ConfigError(f"planner: {name} must be greater than 0; got {getattr(self, name)}.")
        for name in ("tail_s", "max_future_s"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"planner: {name} must not be negative; got {getattr(self, name)}.")
        if not 12 <= self.control_points <= 100:
            raise ConfigError(f"planner: control_points must be 12 to 100; got {self.control_points}.")
        if not 0.0 <= self.memory < 1.0:
            raise ConfigError(f"planner: memory must be in [0, 1); got {self.memory}.")
        if not 0.0 < self.margin <= 1.0:
            raise ConfigError(f"planner: margin must be in (0, 1]; got {self.margin}.")


def rest_time_s(limits: Limits) -> float:
    """Time in which every joint can come to rest from any state inside `limits` [s].

    The worst start is full speed with full acceleration outwards: acceleration must be taken off and
    built up the other way (2 a/j), the speed removed (v/a plus what the first phase added), and the
    acceleration taken off again (a/j).
    """
    v, a, j = limits.velocity, limits.acceleration, limits.jerk
    return float(np.max((v + a * a / (2 * j)) / a + 2 * a / j))


class Planner:
    """Turns chunks into plans for one robot; holds no state but its solver's memory."""

    def __init__(self, limits: Limits, config: PlannerConfig | None = None) -> None:
        """Prepare for joints in the order of `limits`."""
        import daqp  # here, so that importing the core needs numpy only

        self._solver = daqp.Model
        self.config = config or PlannerConfig()
        self.limits = limits
        inner = limits.scaled(self.config.margin)
        slack = limits.braking_room + POSITION_SLACK * (limits.upper - limits.lower)
        lower = np.stack([limits.lower + slack, -inner.velocity, -inner.acceleration, -inner.jerk])
        upper = np.stack([limits.upper - slack, inner.velocity, inner.acceleration, inner.jerk])
        self._grid = grid = make_grid(self.config.control_points)
        self._rows = np.ascontiguousarray(grid.rows[np.count_nonzero(grid.order == 0) :, FIXED:])
        self._lower, self._upper = lower[grid.order], upper[grid.order]
        self._shortest_ns = int(SHORTEST_NS * (self.config.control_points - DEGREE) ** GRADING)
        self._tail_s = self.config.tail_s or rest_time_s(inner)
        self._smooth = (2 * np.pi * self.config.cutoff_hz) ** -6.0

    def handover_ns(self, in_force: Plan, now_ns: int) -> int:
        """When a plan made now would take over [ns]."""
        return max(now_ns + int(self.config.lead_s * NS), in_force.start_ns)

    def disagreement(self, chunk: Chunk, in_force: Plan, now_ns: int) -> float:
        """Largest distance of any joint between chunk and plan in force at the hand-over [rad].

        Before its first waypoint a chunk says nothing, so what full speed covers until then is no disagreement.
        """
        t_s = self.handover_ns(in_force, now_ns)
        return self._apart(chunk, in_force.at(t_s), t_s)

    def _apart(self, chunk: Chunk, start: State, t_s: int) -> float:
        ahead = max(float(chunk.offsets_s[0]) - (t_s - chunk.stamp_ns) / NS, 0.0)
        apart = np.abs(chunk.at(t_s) - start.position) - ahead * self.limits.velocity
        return float(np.maximum(apart, 0.0).max())

    def plan(self, chunk: Chunk, in_force: Plan, now_ns: int) -> Plan | Refusal:
        """The plan that follows `chunk` from where `in_force` will be.

        Args:
            chunk: Targets; waypoints already past at the hand-over are left out.
            in_force: The plan being executed; it may not start later than the hand-over.
            now_ns: The time [ns].

        Returns:
            A plan inside the limits at every instant that starts exactly at the state of `in_force` and
            ends at rest, or a refusal: "joints", "future", "stale", "disagreement" or "infeasible".
        """
        try:
            chunk = chunk.in_order(self.limits.joints)
        except RecordError as error:
            return Refusal("joints", str(error))
        t_s = self.handover_ns(in_force, now_ns)
        refusal = self._untimely(chunk, t_s, now_ns)
        if refusal:
            return refusal
        start = in_force.at(t_s)
        jump = self._apart(chunk, start, t_s)
        if not jump <= self.config.max_disagreement:
            return Refusal(
                "disagreement",
                f"the chunk lies {jump:.3f} rad from the plan in force at the hand-over; "
                f"at most {self.config.max_disagreement} rad is smoothed over.",
            )
        return self._solve(self._targets(chunk, in_force, t_s), start, t_s)

    def _untimely(self, chunk: Chunk, t_s: int, now_ns: int) -> Refusal | None:
        age = (now_ns - chunk.stamp_ns) / NS
        if not age >= -self.config.max_future_s:
            return Refusal("future", f"the chunk is stamped {-age:.3f} s ahead of now.")
        if not age <= self.config.max_age_s:
            return Refusal(
                "stale",
                f"the chunk answers an observation {age:.3f} s old; at most {self.config.max_age_s} s.",
            )
        if not chunk.offsets_s[-1] > (t_s - chunk.stamp_ns) / NS:
            return Refusal("stale", "every waypoint of the chunk is past at the hand-over.")
        return None

    def _targets(self, chunk: Chunk, in_force: Plan, t_s: int) -> Targets:
        late, horizon = (t_s - chunk.stamp_ns) / NS, self.config.horizon_s
        times = chunk.offsets_s - late
        if chunk.curved and times[0] < horizon:
            begin, end = max(float(times[0]), 0.0), min(float(times[-1]), horizon)
            knots = self._grid.ticks.astype(np.float64) * (self._window_ns(end) / TICKS / NS)
            nodes, weights = quadrature(begin, end, times, knots)
            targets = np.clip(chunk.sample(nodes + late), self.limits.lower, self.limits.upper)
            if self.config.memory:
                targets = self._remembered(nodes, targets, in_force, t_s)
            return Targets(nodes, targets, weights, end)
        first, last = times.searchsorted([0.0, horizon], side="right")
        last = max(last, first + 1)
        times = times[first:last]
        targets = np.clip(chunk.positions[first:last], self.limits.lower, self.limits.upper)
        if self.config.memory:
            targets = self._remembered(times, targets, in_force, t_s)
        if not times[-1] <= horizon:
            part = horizon / times[-1]
            start = in_force.at(t_s).position
            times, targets = times * part, start + (targets - start) * part
        return waypoint_targets(times, targets)

    def _remembered(self, times: Array, targets: Array, in_force: Plan, t_s: int) -> Array:
        """The targets averaged with the plan in force, which stands for all chunks before this one.

        One chunk came per interval between plans, so an instant that lies r before the end of what the
        plan in force follows was spoken of by about n = 1 + r / interval chunks: its share is n / (n + 1).
        Where the two disagree, the policy has changed its mind, and the share falls to none.
        """
        followed = (in_force.end_ns - t_s) / NS - self._tail_s - times
        interval = max((t_s - in_force.start_ns) / NS, self.config.lead_s)
        heard = np.where(followed > 0.0, 1.0 + followed / interval, 0.0)
        share = np.minimum(heard / (heard + 1.0), self.config.memory)
        apart = in_force.derivative(t_s + (times * NS).astype(np.int64), 0) - targets
        agreement = 1.0 - (apart / (self.config.max_disagreement / 2)) ** 2
        return targets + share[:, None] * np.maximum(agreement, 0.0) * apart

    def _window_ns(self, end_s: float) -> int:
        """How long a plan lasts that is to follow targets until `end_s` [ns]."""
        window_ns = max(int((end_s + self._tail_s) * NS), self._shortest_ns)
        return -(-window_ns // TICKS) * TICKS

    def _solve(self, targets: Targets, start: State, t_s: int) -> Plan | Refusal:
        window_ns = self._window_ns(targets.end_s)
        grid, window_s = self._grid, window_ns / NS

        # In the time of the unit window, derivative k is window_s^k times as large.
        scale = window_s ** np.arange(4.0)
        state = np.array(start) * scale[:FIXED, None]
        values = grid.waypoints(targets.times / window_s) @ grid.points
        weighted = values * targets.weights[:, None]
        cost = values.T @ weighted + (self._smooth * window_s**-5) * grid.jerk
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
        return Plan(self.limits.joints, t_s, grid.ticks * (window_ns // TICKS), *knots)

    def _bounded(
        self,
        hessian: Array,
        gradient: Array,
        lower: Array,
        upper: Array,
        joints: npt.NDArray[np.intp],
        unknowns: Array,
    ) -> Refusal | None:
        """Solve the programs of `joints` with their bounds, in place; the first infeasible one refuses."""
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
                return Refusal("infeasible", f"no plan inside the limits of {name} follows on the one in force.")
            unknowns[:, j] = x
        return None
