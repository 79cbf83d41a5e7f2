"""Plans: C2 piecewise quintics given by position, velocity and acceleration at their knots.

Position, velocity and acceleration at both ends determine a polynomial of degree 5. A plan therefore represents a
B-spline of degree 5 exactly, and so does a `trajectory_msgs/JointTrajectory` message.
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
from vla_ros.core.records import MAX_STAMP_NS, NS, Array, check_stamp, freeze_joint_columns, frozen, reorder


class State(NamedTuple):
    """State of a motion: each of shape (J,) for one instant or (n, J) for n instants [rad, rad/s, rad/s^2]."""

    position: Array
    velocity: Array
    acceleration: Array


class Motion(Protocol):
    """A motion that the supervisor can execute: defined from `start_ns` on, and at rest from `end_ns` on."""

    @property
    def start_ns(self) -> int:
        """First instant at which the motion is defined [ns]."""

    @property
    def end_ns(self) -> int:
        """From this instant on the motion is at rest [ns]."""

    @property
    def knots_ns(self) -> npt.NDArray[np.int64]:
        """Instants; the quintics through the states at them equal the motion or approximate it closely [ns]."""

    def at(self, t_ns: int) -> State:
        """The state at one instant."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The motion of every joint from `start_ns` on; after the last knot the joints stay there, at rest.

    Attributes:
        joints: Names, in column order (J).
        start_ns: Time of the first knot [ns].
        offsets_ns: Time of each knot after `start_ns`; the first is 0, strictly increasing, shape (M + 1,) [ns].
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
        """Validate, and make the arrays read-only."""
        object.__setattr__(self, "start_ns", check_stamp(self.start_ns, "the plan"))
        try:
            offsets = np.array(self.offsets_ns)
        except ValueError:
            offsets = np.empty(0, dtype=np.int64)
        if offsets.ndim != 1 or len(offsets) < 2 or not np.issubdtype(offsets.dtype, np.integer):
            raise RecordError("a plan needs at least two knots, their times as integer nanoseconds.")
        offsets = offsets.astype(np.int64)
        if not (offsets[0] == 0 and (offsets[1:] > offsets[:-1]).all() and offsets[-1] <= MAX_STAMP_NS):
            raise RecordError("knot times of a plan must start at 0 and increase strictly.")
        offsets.setflags(write=False)
        object.__setattr__(self, "offsets_ns", offsets)
        freeze_joint_columns(self, "positions", "plan positions", "the plan", 2)
        for name in ("velocities", "accelerations"):
            object.__setattr__(self, name, frozen(getattr(self, name), f"plan {name}", 2))
        shape = len(offsets), len(self.joints)
        for name in ("positions", "velocities", "accelerations"):
            if getattr(self, name).shape != shape:
                raise RecordError(f"plan {name} must have shape {shape}; got {getattr(self, name).shape}.")

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
            ValueError: An instant lies before `start_ns`, where the plan is not defined.
        """
        if isinstance(t_ns, np.ndarray):
            return State(*(self.derivative(t_ns, order) for order in range(3)))
        return self.at_offset(int(t_ns) - self.start_ns)

    def at_offset(self, offset_ns: float) -> State:
        """The state at `offset_ns`, any real number, after the start [ns]; see `at`."""
        if not offset_ns >= 0:
            raise ValueError(f"the plan starts {-offset_ns} ns after the given instant.")
        if offset_ns >= self._knots[-1]:
            zero = np.zeros(len(self.joints))
            return State(self.positions[-1], zero, zero)
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
        """The derivative of `order` 0 to 5 at many instants, shape (n, J); at a knot, that of the piece after it."""
        offsets = np.asarray(t_ns, dtype=np.int64) - self.start_ns
        if len(offsets) and offsets.min() < 0:
            raise ValueError(f"the plan starts {-offsets.min()} ns after a given instant.")
        i = self.offsets_ns[1:-1].searchsorted(offsets, side="right")
        before = self.offsets_ns[i]
        span = self.offsets_ns[i + 1] - before
        u = (offsets - before) / span
        out = quintic_values(self._pieces, i, u, span / NS, order)
        out[offsets >= self.offsets_ns[-1]] = self.positions[-1] if order == 0 else 0.0
        return out

    def reordered(self, joints: Sequence[str]) -> Plan:
        """The plan with its columns in the order `joints`; raises `RecordError` for any other set of names."""
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
