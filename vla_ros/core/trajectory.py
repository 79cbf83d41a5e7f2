"""A plan: a C2 piecewise quintic given by position, velocity and acceleration at its knots.

A polynomial of degree 5 is determined by (p, v, a) at both ends, so a B-spline of degree 5, whose pieces
join with continuous derivatives, is held without error, and so is what a trajectory message carries.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import RecordError
from vla_ros.core.quintic import quintic_coefficients, quintic_values
from vla_ros.core.records import FARTHEST_NS, NS, Array, check_names, check_stamp, frozen, reorder


class State(NamedTuple):
    """Where a motion is: each (J,) for one instant, (n, J) for n of them, in rad, rad/s and rad/s^2."""

    position: Array
    velocity: Array
    acceleration: Array


class Motion(Protocol):
    """Anything a supervisor can follow: defined from `start_ns` on, and at rest from `end_ns` on."""

    @property
    def start_ns(self) -> int:
        """First instant at which the motion is defined [ns]."""

    @property
    def end_ns(self) -> int:
        """From here on the motion is at rest [ns]."""

    @property
    def knots_ns(self) -> npt.NDArray[np.int64]:
        """Instants between which quintics through the states there are the motion itself, or all but [ns]."""

    def at(self, t_ns: int) -> State:
        """The state at one instant."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Where every joint will be from `start_ns` on; after its last knot it stays there, at rest.

    Attributes:
        joints: Names, in column order (J).
        start_ns: Time of the first knot [ns].
        offsets_ns: Time of each knot after `start_ns`, first 0, strictly increasing, shape (M + 1,) [ns].
        positions: Shape (M + 1, J) [rad].
        velocities: Shape (M + 1, J) [rad/s].
        accelerations: Shape (M + 1, J) [rad/s^2].
    """

    joints: tuple[str, ...]
    start_ns: int
    offsets_ns: npt.NDArray[np.int64]
    positions: Array
    velocities: Array
    accelerations: Array

    def __post_init__(self) -> None:
        """Check and freeze."""
        object.__setattr__(self, "start_ns", check_stamp(self.start_ns, "the plan"))
        try:
            offsets = np.array(self.offsets_ns)
        except ValueError:
            offsets = np.empty(0, dtype=np.int64)
        if offsets.ndim != 1 or len(offsets) < 2 or not np.issubdtype(offsets.dtype, np.integer):
            raise RecordError("a plan needs at least two knots, their times as integer nanoseconds.")
        offsets = offsets.astype(np.int64)
        if not (offsets[0] == 0 and (offsets[1:] > offsets[:-1]).all() and offsets[-1] <= FARTHEST_NS):
            raise RecordError("knot times of a plan must start at 0 and increase strictly.")
        offsets.setflags(write=False)
        object.__setattr__(self, "offsets_ns", offsets)
        for name in ("positions", "velocities", "accelerations"):
            array = frozen(getattr(self, name), f"plan {name}", 2)
            if array.shape != (len(offsets), len(self.joints)):
                raise RecordError(
                    f"plan {name} must have shape ({len(offsets)}, {len(self.joints)}); got {array.shape}."
                )
            object.__setattr__(self, name, array)
        object.__setattr__(self, "joints", check_names(self.joints, self.positions.shape[1], "the plan"))

    @cached_property
    def _pieces(self) -> Array:
        h = np.diff(self.offsets_ns) / NS
        return quintic_coefficients(h, self.positions, self.velocities, self.accelerations)

    @cached_property
    def _knots(self) -> list[int]:
        return [int(t) for t in self.offsets_ns]

    @classmethod
    def hold(cls, joints: Sequence[str], position: npt.ArrayLike, start_ns: int) -> Plan:
        """The plan that stays at `position`, shape (J,) [rad]."""
        p = np.tile(np.asarray(position, dtype=np.float64), (2, 1))
        zero = np.zeros_like(p)
        return cls(tuple(joints), start_ns, np.array([0, NS // 10]), p, zero, zero)

    @property
    def end_ns(self) -> int:
        """Time of the last knot [ns]."""
        return self.start_ns + self._knots[-1]

    @property
    def knots_ns(self) -> npt.NDArray[np.int64]:
        """Times of the knots, shape (M + 1,) [ns]."""
        return self.start_ns + self.offsets_ns

    def at(self, t_ns: int | npt.NDArray[np.int64]) -> State:
        """Position, velocity and acceleration at one instant or at many.

        Args:
            t_ns: An instant, or an array of n of them [ns].

        Returns:
            Arrays of shape (J,) for one instant, (n, J) for many.

        Raises:
            ValueError: An instant lies before `start_ns`, where the plan says nothing.
        """
        if isinstance(t_ns, np.ndarray):
            return State(*(self.derivative(t_ns, order) for order in range(3)))
        return self.after(int(t_ns) - self.start_ns)

    def after(self, offset_ns: float) -> State:
        """The state `offset_ns` after the start, which need not be a whole number [ns]; see `at`."""
        if not offset_ns >= 0:
            raise ValueError(f"the plan starts {-offset_ns} ns after the instant asked for.")
        if offset_ns >= self._knots[-1]:
            still = np.zeros(len(self.joints))
            return State(self.positions[-1], still, still)
        i = bisect_right(self._knots, offset_ns) - 1
        span = self._knots[i + 1] - self._knots[i]
        h, u = span / NS, (offset_ns - self._knots[i]) / span
        u2, r = u * u, 1.0 / h
        u3, r2 = u2 * u, r * r
        u4 = u3 * u
        basis = np.array(
            [
                [1.0, u, u2, u3, u4, u4 * u],
                [0.0, r, 2.0 * u * r, 3.0 * u2 * r, 4.0 * u3 * r, 5.0 * u4 * r],
                [0.0, 0.0, 2.0 * r2, 6.0 * u * r2, 12.0 * u2 * r2, 20.0 * u3 * r2],
            ]
        )
        return State(*(basis @ self._pieces[i]))

    def derivative(self, t_ns: npt.NDArray[np.int64], order: int) -> Array:
        """The derivative of `order` 0 to 5 at many instants, shape (n, J); at a knot, of the piece after it."""
        offsets = np.asarray(t_ns, dtype=np.int64) - self.start_ns
        if len(offsets) and offsets.min() < 0:
            raise ValueError(f"the plan starts {-offsets.min()} ns after an instant asked for.")
        i = self.offsets_ns[1:-1].searchsorted(offsets, side="right")
        before = self.offsets_ns[i]
        span = self.offsets_ns[i + 1] - before
        u = (offsets - before) / span
        out = quintic_values(self._pieces, i, u, span / NS, order)
        out[offsets >= self.offsets_ns[-1]] = self.positions[-1] if order == 0 else 0.0
        return out

    def in_order(self, joints: Sequence[str]) -> Plan:
        """The same plan with its columns in the order `joints`; raises `RecordError` on any other set."""
        if self.joints == tuple(joints):
            return self
        i = reorder(self.joints, joints, "the plan")
        return Plan(
            tuple(joints),
            self.start_ns,
            self.offsets_ns,
            self.positions[:, i],
            self.velocities[:, i],
            self.accelerations[:, i],
        )
