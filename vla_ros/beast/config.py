"""Configuration of a tokenizer: sizes, time grid, degree, pinned control points."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.core.records import Array

GRIDS = ("after", "ends")


@dataclass(frozen=True)
class BeastConfig:
    """Shape of a chunk and of its tokens.

    Attributes:
        dofs: Number of degrees of freedom (D), or their names in column order.
        samples: Actions per chunk (T).
        period_s: Time between actions [s].
        control_points: N, per degree of freedom. Rule of thumb: two per Hz of bandwidth and second of duration, plus
            two to four.
        degree: Polynomial degree P < N.
        bins: Number of token values, 0 to `bins` - 1.
        grid: Times of the actions. "after": action k at (k + 1) periods after time 0, the time of the observation or of
            the handover, as in every chunk of this package; the curve lasts T periods. "ends": action k at k periods,
            the first at time 0; the curve lasts T - 1 periods, as in the code released with the paper. The grid is
            stored with the bounds, because bounds fitted with one grid are wrong for the other.
        ridge: Weight of the squared control points in the fit.
        pinned: Number of control points that the start of the curve fixes (R): 0; 1, by a position; or 2, by position
            and velocity. The others are fitted to the remainder. Consecutive chunks are continuous to that order.
        steps: Degrees of freedom of degree 0, by index or name, for example a gripper that is either open or closed.
            They hold one value per interval, do not overshoot, and are not pinned.
        tail: Fraction of the control points that `fit` leaves outside the bounds at each end: 0 takes minimum and
            maximum, 0.01 the 1 % and 99 % quantiles. Values outside are clipped when they are encoded.
    """

    dofs: int | tuple[str, ...]
    samples: int = 20
    period_s: float = 0.05
    control_points: int = 10
    degree: int = 4
    bins: int = 256
    grid: str = "after"
    ridge: float = 1e-5
    pinned: int = 0
    steps: tuple[int | str, ...] = ()
    tail: float = 0.0

    def __post_init__(self) -> None:
        """Check every value; lists become tuples."""
        if isinstance(self.dofs, (list, tuple)):
            object.__setattr__(self, "dofs", tuple(self.dofs))
            if not all(isinstance(name, str) for name in self.dofs) or len(set(self.dofs)) != self.count:
                raise ConfigError(f"degrees of freedom need a name each, and no two the same; got {self.dofs}.")
        elif type(self.dofs) is not int:
            raise ConfigError(f"degrees of freedom are a number or a list of names; got {self.dofs!r}.")
        object.__setattr__(self, "steps", tuple(self.steps))
        for name in ("samples", "control_points", "degree", "bins", "pinned"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"{name} of a tokenizer must be a whole number; got {getattr(self, name)!r}.")
        if not (self.count >= 1 and self.samples >= 2 and 0 <= self.degree < self.control_points):
            raise ConfigError(
                "a tokenizer needs a degree of freedom, two samples and degree < control points; "
                f"got {self.count}, {self.samples}, {self.degree}, {self.control_points}."
            )
        if self.grid not in GRIDS:
            raise UnknownName("time grid", str(self.grid), GRIDS)
        if not 2 <= self.bins <= 65536:
            raise ConfigError(f"bins must be 2 to 65536; got {self.bins}.")
        if not (0.0 < self.period_s < math.inf and 0.0 <= self.ridge < math.inf and 0.0 <= self.tail < 0.5):
            raise ConfigError(
                "the period must be greater than zero, the ridge not negative and the tail in [0, 0.5); "
                f"got {self.period_s}, {self.ridge}, {self.tail}."
            )
        if not (0 <= self.pinned <= 2 and self.pinned <= self.degree and self.pinned < self.control_points):
            raise ConfigError(f"0, 1 or 2 control points can be pinned, at most as many as the degree: {self.pinned}.")
        if self.ridge == 0.0 and self.control_points > self.samples:
            raise ConfigError("more control points than samples need a ridge greater than zero.")
        if self.is_step.any() and self.control_points > self.samples:
            raise ConfigError("steps need at least one sample per interval: no more control points than samples.")

    @property
    def count(self) -> int:
        """Number of degrees of freedom D."""
        return self.dofs if isinstance(self.dofs, int) else len(self.dofs)

    @property
    def duration_s(self) -> float:
        """Duration of the curve [s]."""
        return self.period_s * (self.samples if self.grid == "after" else self.samples - 1)

    @property
    def times(self) -> Array:
        """Normalised times of the samples, shape (T,)."""
        if self.grid == "after":
            return np.arange(1, self.samples + 1) / self.samples
        return np.linspace(0.0, 1.0, self.samples)

    @property
    def is_step(self) -> npt.NDArray[np.bool_]:
        """Mask of the degrees of freedom of degree 0, shape (D,)."""
        names = () if isinstance(self.dofs, int) else self.dofs
        mask = np.zeros(self.count, dtype=bool)
        for dof in self.steps:
            if isinstance(dof, str):
                if dof not in names:
                    raise UnknownName("degree of freedom", dof, names or ["none has a name"])
                mask[names.index(dof)] = True
            elif -self.count <= dof < self.count:
                mask[dof] = True
            else:
                raise ConfigError(f"there is no degree of freedom {dof}; there are {self.count}.")
        return mask

    def to_json(self) -> dict[str, Any]:
        """The configuration as plain data, for a JSON file."""
        return asdict(self)
