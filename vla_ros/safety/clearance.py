"""Whether a plan keeps its distance from the arm's own links and from the walls of a box, at every instant.

A plan is looked at in pieces. In the middle of a piece the distances are asked for; elsewhere in it each can be
less by at most what the joints move from there, times how far one radian can carry the two bodies together.
Where that is not enough the piece is halved. What cannot be proved is refused: "permit if inside". The bound
on the joints comes from Bernstein coefficients (see `certify`), so no instant is left out between samples.
The scheme is conservative advancement, with intervals in place of steps (Schwarzer, Saha, Latombe, "Adaptive
dynamic collision checking for single and multiple articulated robots", IEEE T-RO 21, 2005, section III).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vla_ros.core.records import NS, Array, Refusal
from vla_ros.core.trajectory import Plan
from vla_ros.safety.limit_certificate import bernstein, halves

RESOLUTION = 5e-4
"""Two bodies that cannot be proved apart by pieces in which they move less than this come too near [m]."""
MOST = 200
"""So many poses of one plan are looked at; a plan that needs more is refused. It bounds the time of a judgement."""
MOST_OF_A_BRAKE = 40
"""So many poses of a brake are looked at, all at once: an emergency waits for it. The SO-101 needs 7 to 10."""
AT_ONCE = 8
"""So many poses are looked at before others have their turn; about 0.4 ms for an arm of seven links."""
COARSE = 3
"""A plan is first cut into 2^COARSE pieces."""


class Shape(Protocol):
    """What a space needs to know of the arm's body; K distances, J joints.

    Attributes:
        names: What is kept apart, each as "gripper and base" (K).
        stop: Least distance, shape (K,) [m].
        slow: Distance below which the arm goes slower, greater than `stop`, shape (K,) [m].
        reach: By how much a distance can change per radian of a joint at most, shape (K, J) [m/rad].
    """

    names: tuple[str, ...]
    stop: Array
    slow: Array
    reach: Array

    def distances(self, poses: Array, wanted: npt.NDArray[np.bool_] | None = None) -> Array:
        """Distances at poses of shape (n, J) [rad], shape (n, K) [m]; too small rather than too great, negative inside.

        A distance may be given as any smaller value, as long as it changes no faster than `reach` says. Those that
        are not `wanted`, shape (K,), may be given as infinite.
        """


@dataclass(frozen=True, eq=False)
class Passage:
    """What came of looking along a plan.

    Attributes:
        plan: The plan.
        least: What its distances were held against, shape (K,) [m].
        refusal: Why it is not permitted; None if it is.
        nearest: The least distance seen of each pair, shape (K,) [m].
        poses: How many poses were looked at.
    """

    plan: Plan
    least: Array
    refusal: Refusal | None
    nearest: Array
    poses: int


class Space:
    """What a plan must keep clear of.

    An arm that is too near already when it is armed, or outside the box, may come out: such a distance may
    grow and may not fall below what it was at arming (to `RESOLUTION`), and what has been gained is kept.
    """

    def __init__(self, shape: Shape | None = None) -> None:
        """Nothing is armed yet; without a shape every plan keeps clear."""
        self.shape = shape
        self.nearness = 0.0
        """How deep the plan permitted last goes into the slow zone: 0 not at all, 1 up to the stop zone."""
        self._kept: Array | float = -np.inf

    def begin(self, pose: Array) -> None:
        """The arm is armed in `pose`, shape (J,) [rad]."""
        if self.shape is None:
            return
        distances = self.shape.distances(pose[None])[0]
        self._kept = np.minimum(self.shape.stop, distances - RESOLUTION)
        self.nearness = _near(distances, self.shape)

    def look(self, plan: Plan) -> Iterator[Passage | None]:
        """Look along a plan, some poses at a time; the last thing that comes is what came of it."""
        if self.shape is not None:
            yield from look_along(plan, self.shape, self._least)

    def judge(self, plan: Plan, passage: Passage | None = None) -> Refusal | None:
        """Refuse a plan that is not proved to keep its distance; the last check, for what it permits is followed.

        Args:
            plan: The plan.
            passage: What came of looking along it, if that was done; one of another plan, or one that was held
                against less than what counts now, does not count.
        """
        if self.shape is None:
            return None
        if passage is None or passage.plan is not plan or not (passage.least >= self._kept).all():
            passage = whole(self.look(plan))
        if passage.refusal is None:
            self._kept = passage.least
            self.nearness = _near(passage.nearest, self.shape)
        return passage.refusal

    def clear(self, brake: Plan) -> bool:
        """Whether a brake out of the motion in force is proved to keep its distance; nothing is changed by asking.

        It takes at most `MOST_OF_A_BRAKE` poses. The emergency stop waits for the answer, so a shape that fails
        says no, and keeps no stop from being taken.
        """
        if self.shape is None:
            return True
        try:
            return whole(look_along(brake, self.shape, self._least, MOST_OF_A_BRAKE)).refusal is None
        except Exception:
            return False

    def _least(self, start: Array) -> Array:
        """The least distances of a motion that begins at distances `start`, shape (K,) [m]."""
        assert self.shape is not None
        return np.minimum(self.shape.stop, np.maximum(self._kept, start - RESOLUTION))


def whole(look: Iterator[Passage | None]) -> Passage:
    """Go through with a look, and what came of it."""
    return next(passage for passage in look if passage is not None)


def _near(distances: Array, shape: Shape) -> float:
    return float(((shape.slow - distances) / (shape.slow - shape.stop)).max(initial=0.0))


def look_along(
    plan: Plan, shape: Shape, least_from: Callable[[Array], Array], most: int = MOST
) -> Iterator[Passage | None]:
    """Prove that every distance stays great enough all along the plan, or refuse it.

    Args:
        plan: The plan.
        shape: The body of the arm.
        least_from: From the distances where the plan starts, (K,), to the least it must keep, (K,) [m].
        most: So many poses are looked at.

    Yields:
        None after at most `AT_ONCE` poses, so that others have their turn; at last what came of it.
    """
    pieces = _Pieces(plan)
    wanted: npt.NDArray[np.bool_] = np.full(len(shape.names), True)
    nearest, least, poses = np.full(len(wanted), np.inf), None, 0
    while len(pieces.index):
        middle, moved = pieces.look()
        asked = middle if poses else np.concatenate([plan.positions[:1], middle])
        parts = []
        for first in range(0, len(asked), AT_ONCE):
            yield None
            parts.append(shape.distances(asked[first : first + AT_ONCE], wanted))
        distances, closing = np.concatenate(parts), moved @ shape.reach.T
        nearest, poses = np.minimum(nearest, distances.min(axis=0)), poses + len(asked)
        if least is None:
            least, distances = least_from(distances[0]), distances[1:]
        proved = distances - closing >= least
        hopeless = ~(distances >= least) | (~proved & (closing <= RESOLUTION))
        if hopeless.any():
            i, k = (int(n) for n in np.argwhere(hopeless)[0])
            refusal = _too_near(shape.names[k], distances[i, k], least[k], pieces.offset_ns(i))
            yield Passage(plan, least, refusal, nearest, poses)
            return
        wanted = np.asarray(~proved.all(axis=0))
        pieces.split(np.asarray(~proved.all(axis=1)))
        if poses + len(pieces.index) > most:
            sentence = f"the plan is not proved to keep clear after {poses} poses; a slower or shorter one may be."
            yield Passage(plan, least, Refusal("space_unproved", sentence), nearest, poses)
            return
    assert least is not None
    yield Passage(plan, least, None, nearest, poses)


def _too_near(name: str, distance: float, least: float, offset_ns: int) -> Refusal:
    return Refusal(
        "space",
        f"{name} would be {1e3 * distance:.1f} mm apart about {offset_ns / NS:.2f} s after the start of the plan; "
        f"at least {1e3 * least:.1f} mm (and {1e3 * RESOLUTION:.1f} mm for the proof).",
    )


class _Pieces:
    """A plan in pieces: equal numbers of its polynomials, halved and halved again, then halves of polynomials.

    The polynomials are counted up to a power of two with some that stand still at the end, which are never looked
    at. A polynomial lies in the hull of its Bernstein coefficients, so least and greatest of these bound a piece.
    """

    def __init__(self, plan: Plan) -> None:
        """Cut the plan into its first pieces."""
        control = bernstein(plan, np.diff(plan.offsets_ns) / NS)
        count = control.shape[1]
        self._offsets_ns = plan.offsets_ns
        self._depth: int = max(int(count) - 1, 1).bit_length()
        still = np.broadcast_to(plan.positions[-1], (6, 2**self._depth - count, control.shape[2]))
        self._control = np.concatenate([control, still], axis=1)
        self._bounds = [(self._control.min(axis=0), self._control.max(axis=0))]
        for _ in range(self._depth):
            low, high = self._bounds[0]
            self._bounds.insert(0, (np.minimum(low[::2], low[1::2]), np.maximum(high[::2], high[1::2])))
        self._level = min(COARSE, self._depth - 1)
        self._parts = control
        """The coefficients of each piece, (6, n, J), once pieces are parts of polynomials."""
        self.index = np.arange(0, count, self._width)
        """The first polynomial of each piece, shape (n,)."""

    @property
    def _width(self) -> int:
        """How many polynomials a piece holds, 1 for a part of one."""
        return int(2 ** max(self._depth - self._level, 0))

    def look(self) -> tuple[Array, Array]:
        """The pose in the middle of each piece, and how far each joint is from it at most, (n, J) and (n, J) [rad]."""
        if self._level < self._depth:
            low, high = (bound[self.index // self._width] for bound in self._bounds[self._level])
            middle = self._control[0, self.index + self._width // 2]
        else:
            low, high = self._parts.min(axis=0), self._parts.max(axis=0)
            self._left, self._right = halves(self._parts)
            middle = self._left[5]
        return middle, np.maximum(high - middle, middle - low)

    def split(self, wanted: npt.NDArray[np.bool_]) -> None:
        """Halve the wanted pieces, shape (n,), and forget the others."""
        index, step = self.index[wanted], self._width // 2
        if self._level >= self._depth:
            self._parts = np.concatenate([self._left[:, wanted], self._right[:, wanted]], axis=1)
        self._level += 1
        self.index = np.concatenate([index, index + step])
        if step:
            self.index = self.index[self.index < len(self._offsets_ns) - 1]
        if self._level == self._depth:
            self._parts = self._control[:, self.index]

    def offset_ns(self, i: int) -> int:
        """About when the middle of a piece is, after the start of the plan [ns]."""
        index = min(int(self.index[i]) + self._width // 2, len(self._offsets_ns) - 1)
        return int(self._offsets_ns[index])
