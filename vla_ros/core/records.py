"""The records that the rooms exchange: observations, joint states, action chunks, refusals.

Records are immutable, carry a stamp, and are validated once, when they are made. Times are integer nanoseconds of the
ROS clock, angles are radians, joints are matched by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import RecordError
from vla_ros.core.quintic import quintic_coefficients, quintic_values

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
NS = 1_000_000_000
MAX_STAMP_NS = 2**62
"""Maximum distance of a stamp from 1970, so that sums and differences of stamps fit 64 bits [ns]."""
MAX_ABS_VALUE = 1e300
"""Maximum magnitude of the coefficients of a curve; its values are then finite everywhere."""


def frozen(values: npt.ArrayLike, what: str, ndim: int) -> Array:
    """Copy to a read-only float64 array, or raise `RecordError`.

    Args:
        values: Anything that numpy converts to an array.
        what: Its name in the error text.
        ndim: The number of dimensions that it must have.

    Returns:
        A read-only copy with finite elements.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"{what} must be numbers; got {type(values).__name__} ({error}).") from None
    if array.ndim != ndim:
        raise RecordError(f"{what} must have {ndim} dimension(s); got shape {array.shape}.")
    if not np.isfinite(array).all():
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise RecordError(f"{what} must be finite; {bad} of {array.size} values are NaN or infinite.")
    array.setflags(write=False)
    return array


def check_stamp(stamp_ns: int, what: str) -> int:
    """Return the time as an integer, or raise `RecordError` if it is none or more than 146 years from 1970."""
    try:
        stamp = int(stamp_ns)
    except (TypeError, ValueError, OverflowError):
        stamp = MAX_STAMP_NS + 1
    if not -MAX_STAMP_NS <= stamp <= MAX_STAMP_NS:
        raise RecordError(f"the time of {what} must be whole nanoseconds since 1970; got {stamp_ns!r}.")
    return stamp


def check_names(joints: Sequence[str], count: int, what: str) -> tuple[str, ...]:
    """Return the names as a tuple, or raise `RecordError` if there are none, duplicates, or not `count` of them."""
    names = () if isinstance(joints, str) else tuple(joints)
    if not names or not all(isinstance(n, str) and n for n in names):
        raise RecordError(f"{what} must name its joints; got {joints!r}.")
    if len(set(names)) != len(names):
        duplicates = sorted({n for n in names if names.count(n) > 1})
        raise RecordError(f"{what} names joints twice: {', '.join(duplicates)}.")
    if len(names) != count:
        raise RecordError(f"{what} names {len(names)} joints but has {count} columns.")
    return names


def freeze_joint_columns(record: Any, field: str, what: str, record_name: str, ndim: int) -> None:
    """Validate an array of a frozen dataclass together with its joint names, and replace both by immutable copies.

    Args:
        record: The dataclass, with an attribute `joints`.
        field: Name of the array, which has one column per joint.
        what: The name of the array in the error text.
        record_name: The name of the record in the error text.
        ndim: The number of dimensions that the array must have.

    Raises:
        RecordError: The array is not finite numbers, or the names are not one per column, each different.
    """
    array = frozen(getattr(record, field), what, ndim)
    object.__setattr__(record, field, array)
    object.__setattr__(record, "joints", check_names(record.joints, array.shape[-1], record_name))


def reorder(given: Sequence[str], wanted: Sequence[str], what: str) -> list[int]:
    """Indices that bring columns named `given` into the order `wanted`.

    Args:
        given: Names of the columns.
        wanted: Names in the order of the result.
        what: The name of the record in the error text.

    Raises:
        RecordError: A name is missing, unknown or a duplicate; the text names it.
    """
    names = check_names(given, len(given), what)
    missing = [n for n in wanted if n not in names]
    extra = [n for n in names if n not in wanted]
    if missing or extra:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has unknown {', '.join(extra)}"] if extra else []
        raise RecordError(f"{what} {' and '.join(parts)}; it must name exactly {', '.join(wanted)}.")
    return [names.index(n) for n in wanted]


@dataclass(frozen=True, eq=False)
class JointState:
    """Measured joint positions and velocities at one instant.

    Attributes:
        stamp_ns: Time of the measurement [ns].
        joints: Names, in column order (J).
        positions: Shape (J,) [rad].
        velocities: Shape (J,) [rad/s]; None if the driver does not measure them.
    """

    stamp_ns: int
    joints: tuple[str, ...]
    positions: Array
    velocities: Array | None = None

    def __post_init__(self) -> None:
        """Validate, and make the arrays read-only."""
        object.__setattr__(self, "stamp_ns", check_stamp(self.stamp_ns, "the joint state"))
        freeze_joint_columns(self, "positions", "joint positions", "the joint state", 1)
        if self.velocities is None:
            return
        object.__setattr__(self, "velocities", frozen(self.velocities, "joint velocities", 1))
        if self.velocities.shape != self.positions.shape:
            raise RecordError(
                f"the joint state has {len(self.velocities)} velocities for {len(self.positions)} positions."
            )

    def reordered(self, joints: Sequence[str]) -> JointState:
        """The state with its columns in the order `joints`; raises `RecordError` for any other set of names."""
        if self.joints == tuple(joints):
            return self
        i = reorder(self.joints, joints, "the joint state")
        velocities = None if self.velocities is None else self.velocities[i]
        return JointState(self.stamp_ns, tuple(joints), self.positions[i], velocities)


def check_image(camera: str, image: Image) -> Image:
    """Return the image, or raise `RecordError` if it is not (H, W, 3) uint8."""
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        given = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise RecordError(f'the image of camera "{camera}" must be (H, W, 3) uint8; got {given}.')
    return image


@dataclass(frozen=True, eq=False)
class Observation:
    """The input of a policy: one image per camera, the joint state nearest to them in time, the instruction.

    Attributes:
        stamp_ns: Capture time of the newest image [ns]; the resulting chunk carries the same stamp.
        images: Camera name to RGB image, shape (H, W, 3) uint8.
        joints: Names (J).
        positions: Measured, shape (J,) [rad].
        instruction: The task in natural language; "" for none.
    """

    stamp_ns: int
    images: Mapping[str, Image]
    joints: tuple[str, ...]
    positions: Array
    instruction: str = ""

    def __post_init__(self) -> None:
        """Validate, and make the arrays read-only."""
        object.__setattr__(self, "stamp_ns", check_stamp(self.stamp_ns, "the observation"))
        freeze_joint_columns(self, "positions", "observed positions", "the observation", 1)
        for name, image in self.images.items():
            check_image(name, image)


@dataclass(frozen=True, eq=False)
class Chunk:
    """An action chunk: future joint targets of a policy, as waypoints or as a curve.

    Attributes:
        stamp_ns: Capture time of the observation that the chunk was computed from [ns].
        joints: Names, in column order (J).
        offsets_s: Time of each waypoint, or of each knot of a curve, after `stamp_ns`; strictly increasing, shape (K,)
            [s]. Waypoint k of a chunk of period dt lies at (k + 1) dt.
        positions: Absolute targets, shape (K, J) [rad].
        velocities: At the knots of a curve, shape (K, J) [rad/s]; None for waypoints.
        accelerations: At the knots of a curve, shape (K, J) [rad/s^2]; None for waypoints. The curve is the piecewise
            quintic through positions, velocities and accelerations, which represents a spline of degree 3 to 5 exactly.
    """

    stamp_ns: int
    joints: tuple[str, ...]
    offsets_s: Array
    positions: Array
    velocities: Array | None = None
    accelerations: Array | None = None

    def __post_init__(self) -> None:
        """Validate, and make the arrays read-only."""
        object.__setattr__(self, "stamp_ns", check_stamp(self.stamp_ns, "the chunk"))
        freeze_joint_columns(self, "positions", "chunk positions", "the chunk", 2)
        object.__setattr__(self, "offsets_s", frozen(self.offsets_s, "chunk times", 1))
        if len(self.offsets_s) != len(self.positions) or len(self.positions) < 1:
            raise RecordError(
                f"a chunk needs one time per waypoint and at least one waypoint; "
                f"got {len(self.offsets_s)} times for {len(self.positions)} waypoints."
            )
        if not (self.offsets_s[0] >= 0.0 and (np.diff(self.offsets_s) > 0.0).all()):
            raise RecordError("chunk times must not be negative and must increase strictly.")
        if self.velocities is not None or self.accelerations is not None:
            self._check_curve()

    def _check_curve(self) -> None:
        if self.velocities is None or self.accelerations is None or len(self.positions) < 2:
            raise RecordError("a chunk that is a curve needs velocities, accelerations and at least two knots.")
        for name in ("velocities", "accelerations"):
            array = frozen(getattr(self, name), f"chunk {name}", 2)
            if array.shape != self.positions.shape:
                raise RecordError(f"chunk {name} must have shape {self.positions.shape}; got {array.shape}.")
            object.__setattr__(self, name, array)
        if not (np.abs(self._pieces) <= MAX_ABS_VALUE).all():
            raise RecordError("the curve of a chunk has values that are too large to compute.")

    @cached_property
    def _pieces(self) -> Array:
        assert self.velocities is not None
        assert self.accelerations is not None
        h: Array = np.diff(self.offsets_s)
        with np.errstate(over="ignore", invalid="ignore"):
            return quintic_coefficients(h, self.positions, self.velocities, self.accelerations)

    @property
    def is_curve(self) -> bool:
        """Whether the chunk is a curve; otherwise it is waypoints."""
        return self.velocities is not None

    @classmethod
    def from_rate(cls, stamp_ns: int, joints: Sequence[str], positions: npt.ArrayLike, dt_s: float) -> Chunk:
        """A chunk whose waypoint k lies at (k + 1) `dt_s` after `stamp_ns`."""
        count = len(np.asarray(positions))
        return cls(stamp_ns, tuple(joints), dt_s * np.arange(1, count + 1), positions)  # type: ignore[arg-type]

    def time_scaled(self, scale: float) -> Chunk:
        """The same targets with time running at `scale`, in (0, 1], times the real rate since the stamp.

        Velocities scale with `scale` and accelerations with its square.
        """
        if not 0.0 < scale <= 1.0:
            raise RecordError(f"the time scale of a chunk must be in (0, 1]; got {scale}.")
        return self._mapped(self.joints, self.offsets_s / scale, lambda x, order: x * scale**order)

    def at(self, t_ns: int) -> Array:
        """The targets at one instant, shape (J,) [rad].

        They are on the curve, or linear between waypoints; constant before the first and after the last.
        """
        x = (t_ns - self.stamp_ns) / NS
        if self.is_curve:
            sampled: Array = self.sample(np.array([x]))[0]
            return sampled
        k = int(np.searchsorted(self.offsets_s, x))
        first, last = max(k - 1, 0), min(k, len(self.offsets_s) - 1)
        before, after = self.offsets_s[first], self.offsets_s[last]
        u = (x - before) / (after - before) if first != last else 0.0
        target: Array = self.positions[first] * (1.0 - u) + self.positions[last] * u
        return target

    def sample(self, x: Array) -> Array:
        """The targets at many times `x` after the stamp, shape (n,) [s] to (n, J) [rad]; see `at`."""
        last = len(self.offsets_s) - 1
        if last == 0:
            return np.repeat(self.positions, len(x), axis=0)
        x = np.clip(x, self.offsets_s[0], self.offsets_s[-1])
        i = self.offsets_s[1:-1].searchsorted(x, side="right")
        before = self.offsets_s[i]
        h = self.offsets_s[i + 1] - before
        u = (x - before) / h
        if self.is_curve:
            return quintic_values(self._pieces, i, u, h)
        targets: Array = self.positions[i] * (1.0 - u)[:, None] + self.positions[i + 1] * u[:, None]
        return targets

    def as_waypoints(self, dt_s: float) -> Chunk:
        """The curve sampled every `dt_s` [s], for consumers of waypoints only; waypoints are returned unchanged."""
        if not self.is_curve:
            return self
        count = max(int(self.offsets_s[-1] / dt_s + 1e-6), 1)
        times: Array = dt_s * np.arange(1.0, count + 1)
        return Chunk.from_rate(self.stamp_ns, self.joints, self.sample(times), dt_s)

    def reordered(self, joints: Sequence[str]) -> Chunk:
        """The chunk with its columns in the order `joints`; raises `RecordError` for any other set of names."""
        if self.joints == tuple(joints):
            return self
        i = reorder(self.joints, joints, "the chunk")
        return self._mapped(tuple(joints), self.offsets_s, lambda x, _order: x[:, i])

    def _mapped(self, joints: tuple[str, ...], offsets_s: Array, change: Callable[[Array, int], Array]) -> Chunk:
        fields = (self.positions, self.velocities, self.accelerations)
        arrays = [None if x is None else change(x, order) for order, x in enumerate(fields)]
        return Chunk(self.stamp_ns, joints, offsets_s, *arrays)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Refusal:
    """Why an input or a request was not accepted.

    Attributes:
        reason: A short stable name, one of those that the issuing function documents; counted in reports.
        detail: One sentence: what is wrong, the value, and what is required.
        values: Numbers that belong to the reason, by name.
    """

    reason: str
    detail: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
