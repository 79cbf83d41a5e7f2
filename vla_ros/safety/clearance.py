"""Clearance check: proves that a plan keeps its distance from the arm's own links and from the walls of a box.

A plan is divided into intervals. The distances are computed at the middle of an interval. Elsewhere in the interval
each of them can be smaller by at most the joint displacement from the middle times the motion bound of that distance.
Where this does not prove the interval, it is bisected. A plan that cannot be proved is refused. The joint
displacement is bounded by Bernstein coefficients (see `certify`), so the proof covers every instant, not samples.
The method is conservative advancement with intervals in place of steps (Schwarzer, Saha, Latombe, "Adaptive dynamic
collision checking for single and multiple articulated robots", IEEE T-RO 21, 2005, section III).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import NS, Array, Refusal
from vla_ros.core.trajectory import Plan
from vla_ros.safety.limit_certificate import bernstein_coefficients, subdivide

RESOLUTION_M = 5e-4
"""An interval in which a distance changes by at most this is not bisected further: if unproved, it is refused [m]."""
MAX_POSES = 200
"""Maximum number of poses checked for a plan, which bounds the computation time; a plan that needs more is refused."""
MAX_BRAKE_POSES = 40
"""Maximum number of poses checked for a brake, in one call, since the emergency stop waits for it; the SO-101 needs 7
to 10."""
BATCH_POSES = 8
"""Maximum number of poses checked between two yields; about 0.4 ms for an arm of seven links."""
INITIAL_DEPTH = 3
"""A plan is first divided into 2^INITIAL_DEPTH intervals."""


class CollisionModel(Protocol):
    """Geometry of the arm as the clearance check needs it, with K monitored distances and J joints.

    Attributes:
        names: The pair of each distance, such as "gripper and base" (K).
        stop_distance: Minimum distance, shape (K,) [m].
        slow_distance: Distance below which the arm is slowed, greater than `stop_distance`, shape (K,) [m].
        motion_bound: Maximum change of each distance per radian of each joint, shape (K, J) [m/rad].
    """

    names: tuple[str, ...]
    stop_distance: Array
    slow_distance: Array
    motion_bound: Array

    def distances(self, poses: Array, selected: npt.NDArray[np.bool_] | None = None) -> Array:
        """Lower bounds of the distances at several poses, negative where bodies overlap.

        A bound may be loose, as long as it changes no faster than `motion_bound`.

        Args:
            poses: Shape (n, J) [rad].
            selected: Which distances are needed, shape (K,); the others may be returned as infinite. None: all.

        Returns:
            Shape (n, K) [m].
        """


@dataclass(frozen=True, eq=False)
class ClearanceResult:
    """Result of the clearance check of a plan.

    Attributes:
        plan: The plan.
        required: The distances that were required of it, shape (K,) [m].
        refusal: Why it is refused; None if it is permitted.
        minimum: The minimum of each distance over the checked poses, shape (K,) [m].
        poses: Number of checked poses.
    """

    plan: Plan
    required: Array
    refusal: Refusal | None
    minimum: Array
    poses: int


class ClearanceChecker:
    """Checks plans and brakes against a collision model.

    An arm that is armed below the stop distance, or outside the box, may move out: such a distance may increase and
    may not fall below its value at arming (minus `RESOLUTION_M`), and an increase is kept.
    """

    def __init__(self, model: CollisionModel | None = None) -> None:
        """Start before arming; without a collision model every plan is permitted."""
        self.model = model
        self.proximity = 0.0
        """Proximity ratio of the last permitted plan: 0 outside the slow zone, 1 at the stop distance."""
        self._baseline: Array | float = -np.inf

    def reset(self, pose: Array) -> None:
        """Set the baseline of the distances; called when the arm is armed in `pose`, shape (J,) [rad]."""
        if self.model is None:
            return
        distances = self.model.distances(pose[None])[0]
        self._baseline = np.minimum(self.model.stop_distance, distances - RESOLUTION_M)
        self.proximity = _proximity(distances, self.model)

    def check_incrementally(self, plan: Plan) -> Iterator[ClearanceResult | None]:
        """Check a plan in batches of poses: yields None after each batch, and the result at the end."""
        if self.model is not None:
            yield from check_clearance(plan, self.model, self._required)

    def check(self, plan: Plan, result: ClearanceResult | None = None) -> Refusal | None:
        """Refuse a plan that is not proved to keep its distances; a permitted plan raises the baseline.

        Args:
            plan: The plan.
            result: Result of `check_incrementally`, if that was run before. It is ignored, and the check repeated, if
                it belongs to another plan or if less was required of the plan than now.
        """
        if self.model is None:
            return None
        if result is None or result.plan is not plan or not (result.required >= self._baseline).all():
            result = run_to_completion(self.check_incrementally(plan))
        if result.refusal is None:
            self._baseline = result.required
            self.proximity = _proximity(result.minimum, self.model)
        return result.refusal

    def is_clear(self, brake: Plan) -> bool:
        """Whether a brake is proved to keep its distances within `MAX_BRAKE_POSES` poses; changes no state.

        False if the collision model raises an exception, so that its failure does not prevent an emergency stop.
        """
        if self.model is None:
            return True
        try:
            steps = check_clearance(brake, self.model, self._required, MAX_BRAKE_POSES)
            return run_to_completion(steps).refusal is None
        except Exception:
            return False

    def _required(self, start: Array) -> Array:
        """The distances required of a motion that starts at distances `start`, shape (K,) [m]."""
        assert self.model is not None
        return np.minimum(self.model.stop_distance, np.maximum(self._baseline, start - RESOLUTION_M))


def run_to_completion(steps: Iterator[ClearanceResult | None]) -> ClearanceResult:
    """Run an incremental check to its result."""
    return next(result for result in steps if result is not None)


def _proximity(distances: Array, model: CollisionModel) -> float:
    slow, stop = model.slow_distance, model.stop_distance
    return float(((slow - distances) / (slow - stop)).max(initial=0.0))


def check_clearance(
    plan: Plan, model: CollisionModel, required_from: Callable[[Array], Array], max_poses: int = MAX_POSES
) -> Iterator[ClearanceResult | None]:
    """Prove that every distance stays above its required value along the whole plan, or refuse the plan.

    Args:
        plan: The plan.
        model: The collision model of the arm.
        required_from: Maps the distances at the start of the plan, (K,), to the required distances, (K,) [m].
        max_poses: Maximum number of poses.

    Yields:
        None after every batch of at most `BATCH_POSES` poses, at last the result.
    """
    intervals = _Intervals(plan)
    selected: npt.NDArray[np.bool_] = np.full(len(model.names), True)
    minimum, required, poses = np.full(len(selected), np.inf), None, 0
    while len(intervals.index):
        middle, displacement = intervals.bounds()
        queries = middle if poses else np.concatenate([plan.positions[:1], middle])
        parts = []
        for first in range(0, len(queries), BATCH_POSES):
            yield None
            parts.append(model.distances(queries[first : first + BATCH_POSES], selected))
        distances, max_decrease = np.concatenate(parts), displacement @ model.motion_bound.T
        minimum, poses = np.minimum(minimum, distances.min(axis=0)), poses + len(queries)
        if required is None:
            required, distances = required_from(distances[0]), distances[1:]
        proved = distances - max_decrease >= required
        failed = ~(distances >= required) | (~proved & (max_decrease <= RESOLUTION_M))
        if failed.any():
            i, k = (int(n) for n in np.argwhere(failed)[0])
            refusal = _too_close(model.names[k], distances[i, k], required[k], intervals.offset_ns(i))
            yield ClearanceResult(plan, required, refusal, minimum, poses)
            return
        selected = np.asarray(~proved.all(axis=0))
        intervals.bisect(np.asarray(~proved.all(axis=1)))
        if poses + len(intervals.index) > max_poses:
            detail = f"clearance is not proved after {poses} poses; a slower or shorter plan may be accepted."
            yield ClearanceResult(plan, required, Refusal("clearance_unproved", detail), minimum, poses)
            return
    assert required is not None
    yield ClearanceResult(plan, required, None, minimum, poses)


def _too_close(name: str, distance: float, required: float, offset_ns: int) -> Refusal:
    return Refusal(
        "clearance",
        f"the distance of {name} would be {1e3 * distance:.1f} mm about {offset_ns / NS:.2f} s after the start of the "
        f"plan; the minimum is {1e3 * required:.1f} mm (plus {1e3 * RESOLUTION_M:.1f} mm for the proof).",
    )


class _Intervals:
    """A plan divided into intervals: equal numbers of segments, bisected repeatedly, then parts of segments.

    The number of segments is padded to a power of two with segments at rest at the end, which are never checked. A
    segment lies in the hull of its Bernstein coefficients, so their minimum and maximum bound an interval.
    """

    def __init__(self, plan: Plan) -> None:
        """Divide the plan into its first intervals."""
        control = bernstein_coefficients(plan, np.diff(plan.offsets_ns) / NS)
        count = control.shape[1]
        self._offsets_ns = plan.offsets_ns
        self._depth: int = max(int(count) - 1, 1).bit_length()
        padding = np.broadcast_to(plan.positions[-1], (6, 2**self._depth - count, control.shape[2]))
        self._control = np.concatenate([control, padding], axis=1)
        self._bounds = [(self._control.min(axis=0), self._control.max(axis=0))]
        for _ in range(self._depth):
            low, high = self._bounds[0]
            self._bounds.insert(0, (np.minimum(low[::2], low[1::2]), np.maximum(high[::2], high[1::2])))
        self._level = min(INITIAL_DEPTH, self._depth - 1)
        self._parts = control
        """Coefficients of each interval, (6, n, J), once the intervals are segments or parts of segments."""
        self.index = np.arange(0, count, self._width)
        """Index of the first segment of each interval, shape (n,)."""

    @property
    def _width(self) -> int:
        """Number of segments in an interval, 1 for a part of one."""
        return int(2 ** max(self._depth - self._level, 0))

    def bounds(self) -> tuple[Array, Array]:
        """The pose at the middle of each interval and the maximum displacement of each joint from it.

        Returns:
            Shapes (n, J) and (n, J) [rad].
        """
        if self._level < self._depth:
            low, high = (bound[self.index // self._width] for bound in self._bounds[self._level])
            middle = self._control[0, self.index + self._width // 2]
        else:
            low, high = self._parts.min(axis=0), self._parts.max(axis=0)
            self._left, self._right = subdivide(self._parts)
            middle = self._left[5]
        return middle, np.maximum(high - middle, middle - low)

    def bisect(self, selected: npt.NDArray[np.bool_]) -> None:
        """Bisect the selected intervals, shape (n,), and drop the others."""
        index, step = self.index[selected], self._width // 2
        if self._level >= self._depth:
            self._parts = np.concatenate([self._left[:, selected], self._right[:, selected]], axis=1)
        self._level += 1
        self.index = np.concatenate([index, index + step])
        if step:
            self.index = self.index[self.index < len(self._offsets_ns) - 1]
        if self._level == self._depth:
            self._parts = self._control[:, self.index]

    def offset_ns(self, i: int) -> int:
        """Approximate time of the middle of interval `i`, relative to the start of the plan [ns]."""
        index = min(int(self.index[i]) + self._width // 2, len(self._offsets_ns) - 1)
        return int(self._offsets_ns[index])
