"""Action chunks to tokens and back: control points of a B-spline, each in one of 256 bins of its own range.

    actions (T, D) -> least squares -> control points (N, D) -> per (slot, degree of freedom) -> N D tokens

Tokens are in basis-major order: all degrees of freedom of control point 0, then all of control point 1, and
so on. Every method takes any number of leading dimensions, and a torch tensor as well as a numpy array; it
answers in kind, in double precision, with the same tokens. Written from the mathematics; the places where
the paper and its released code part are decided in `BeastConfig`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vla_ros.beast.arrays import Values, alike, combine, floats, is_tensor, joined, whole_numbers
from vla_ros.beast.basis import fit_matrix, sample_basis, start_matrix, step_basis
from vla_ros.beast.config import BeastConfig
from vla_ros.beast.state import read_state, write_state
from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import Array

LEAST_WIDTH = 1e-6
"""No range of a control point is narrower [unit of the actions]: a joint that never moved stays within it."""


class BeastTokenizer:
    """See the module's text.

    Attributes:
        config: Sizes, grid, degree, pins.
        lower: Least value of each control point, shape (N, D); None before `fit`.
        upper: Greatest, shape (N, D); None before `fit`. Both stay as they are until the next `fit`.
    """

    def __init__(
        self, config: BeastConfig, lower: npt.ArrayLike | None = None, upper: npt.ArrayLike | None = None
    ) -> None:
        """Prepare the fit; give both bounds, or call `fit` before tokens are made.

        Raises:
            ConfigError: Bounds of another shape, not finite, or with the upper not above the lower.
        """
        self.config = c = config
        self.lower: Array | None = None
        self.upper: Array | None = None
        pins = start_matrix(c.pinned, c.control_points, c.degree, c.duration_s)
        smooth = fit_matrix(sample_basis(c.times, c.control_points, c.degree), c.ridge, pins)
        stepped = np.zeros_like(smooth)
        # The mean of each slot; its tiny ridge lets the matrix exist where nobody asks for steps, too.
        stepped[:, c.pinned :] = fit_matrix(step_basis(c.times, c.control_points), 1e-12)
        self._fit = np.where(c.is_step, stepped.T[..., None], smooth.T[..., None])  # (R + T, N, D)
        square = np.zeros((0, 0)) if pins is None else pins
        self._pins = np.repeat(square.T[..., None], c.count, axis=2)  # (R, R, D)
        self._decode = self._weights(c.times)
        self._asked = c.times, self._decode  # the last times asked for: mostly the next ones, too
        if (lower is None) != (upper is None):
            raise ConfigError("a tokenizer needs both bounds or none.")
        if lower is not None and upper is not None:
            self._freeze(np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64))

    def _freeze(self, lower: Array, upper: Array) -> None:
        shape = (self.config.control_points, self.config.count)
        if lower.shape != shape or upper.shape != shape:
            raise ConfigError(f"bounds of control points must have shape {shape}; got {lower.shape}, {upper.shape}.")
        if not (np.isfinite(lower) & np.isfinite(upper) & (lower < upper)).all():
            raise ConfigError("bounds of control points must be finite, the upper above the lower.")
        lower.flags.writeable = upper.flags.writeable = False
        self.lower, self.upper = lower, upper

    def _weights(self, u: Array) -> Array:
        c = self.config
        smooth, stepped = sample_basis(u, c.control_points, c.degree), step_basis(u, c.control_points)
        return np.where(c.is_step, stepped.T[..., None], smooth.T[..., None])  # (N, K, D)

    # ---- the curve -------------------------------------------------------------------------------------------

    def control_points(self, actions: Values, start: Values = None) -> Values:
        """The control points nearest to the actions.

        Args:
            actions: Shape (..., T, D).
            start: With pins: what the curve begins with, shape (..., R, D): position, and with two pins velocity
                [1/s]. It is the command in force when the chunk takes over.

        Returns:
            Shape (..., N, D), float64.

        Raises:
            RecordError: Not finite, of another shape, or a start where none belongs.
        """
        c = self.config
        values = floats(actions, "actions", (c.samples, c.count))
        given = self._start(start)
        if given is not None:
            values = joined(alike(given, values), values)
        return combine(alike(self._fit, values), values)

    def evaluate(self, control: Values, times_s: npt.ArrayLike | None = None) -> Values:
        """The curve of control points (..., N, D) at the actions' times, (..., T, D), or at `times_s` (K,) [s].

        Raises:
            RecordError: Control points of another shape or not finite, or a time outside the chunk.
        """
        c = self.config
        points = floats(control, "control points", (c.control_points, c.count))
        if times_s is None:
            return combine(alike(self._decode, points), points)
        # The phase is time over the chunk's own duration, whichever part of it is asked for.
        u = np.atleast_1d(np.asarray(times_s, dtype=np.float64)) / c.duration_s
        if not ((u >= -1e-9) & (u <= 1.0 + 1e-9)).all():
            raise RecordError(f"times must lie in the chunk, 0 to {c.duration_s:g} s.")
        if not np.array_equal(self._asked[0], u):
            self._asked = u, self._weights(np.clip(u, 0.0, 1.0))
        return combine(alike(self._asked[1], points), points)

    def _start(self, start: Values) -> Values | None:
        c = self.config
        if c.pinned == 0:
            if start is not None:
                raise RecordError("this tokenizer pins nothing; it takes no start.")
            return None
        if start is None:
            what = "position" if c.pinned == 1 else "position and velocity"
            raise RecordError(f"this tokenizer pins the {what} a chunk begins with; give it as start.")
        return floats(start, "the start", (c.pinned, c.count))

    def _pin(self, control: Values, start: Values) -> Values:
        """Put what the start says in place of the first control points of every smooth degree of freedom."""
        given = self._start(start)
        if given is None:
            return control
        pins = alike(combine(alike(self._pins, given), given), control)
        own = control[..., : len(self._pins), :]
        keep = alike(self.config.is_step.astype(np.float64), control)
        return joined(pins * (1.0 - keep) + own * keep, control[..., len(self._pins) :, :])

    # ---- the bounds ------------------------------------------------------------------------------------------

    def fit(self, actions: Values, start: Values = None) -> BeastTokenizer:
        """Take the bounds of every control point from data, and keep them.

        Args:
            actions: Shape (..., T, D): the chunks of the training data.
            start: As in `control_points`.

        Returns:
            This tokenizer.
        """
        control = self.control_points(actions, start)
        seen = np.asarray(control.detach().cpu() if is_tensor(control) else control)
        seen = seen.reshape(-1, *seen.shape[-2:])
        if not len(seen):
            raise RecordError("a tokenizer cannot be fitted to no chunks.")
        lower, upper = np.quantile(seen, [self.config.tail, 1.0 - self.config.tail], axis=0)
        missing = np.maximum(LEAST_WIDTH - (upper - lower), 0.0) / 2
        self._freeze(lower - missing, upper + missing)
        return self

    def _range(self, like: Values) -> tuple[Values, Values]:
        if self.lower is None or self.upper is None:
            raise ConfigError("this tokenizer has no bounds yet; call fit first.")
        return alike(self.lower, like), alike(self.upper - self.lower, like)

    # ---- tokens ----------------------------------------------------------------------------------------------

    def encode(self, actions: Values, start: Values = None) -> Values:
        """Tokens, shape (..., N D), 64-bit integers; arguments as in `control_points`."""
        return self.quantise(self.control_points(actions, start))

    def decode(self, tokens: Values, start: Values = None) -> Values:
        """Actions, shape (..., T, D), of tokens (..., N D); with pins they begin with `start`, whatever was said."""
        return self.evaluate(self.restore(tokens, start))

    def decode_at(self, tokens: Values, times_s: npt.ArrayLike, start: Values = None) -> Values:
        """The curve of tokens (..., N D) at any times (K,) [s] within the chunk, shape (..., K, D)."""
        return self.evaluate(self.restore(tokens, start), times_s)

    def quantise(self, control: Values) -> Values:
        """Control points (..., N, D) to tokens (..., N D): the nearest bin, halves up; outside is the end bin."""
        c = self.config
        points = floats(control, "control points", (c.control_points, c.count))
        lower, width = self._range(points)
        bins = ((points - lower) / width * (c.bins - 1) + 0.5).clip(0, c.bins - 1) // 1.0
        return whole_numbers(bins).reshape(*points.shape[:-2], c.control_points * c.count)

    def restore(self, tokens: Values, start: Values = None) -> Values:
        """Tokens (..., N D) to control points (..., N, D), the first of them from `start` with pins.

        Raises:
            RecordError: Not of this length, or not whole numbers from 0 to bins - 1.
        """
        c = self.config
        values = floats(tokens, "tokens", (c.control_points * c.count,))
        if not bool(((values // 1.0 == values) & (values >= 0) & (values <= c.bins - 1)).all()):
            raise RecordError(f"tokens must be whole numbers from 0 to {c.bins - 1}.")
        lower, width = self._range(values)
        share = values.reshape(*values.shape[:-1], c.control_points, c.count) / (c.bins - 1)
        return self._pin(lower + width * share, start)

    # ---- continuous tokens -----------------------------------------------------------------------------------

    def encode_continuous(self, actions: Values, start: Values = None) -> Values:
        """Control points with their bounds scaled to -1 and 1, not clipped, shape (..., N, D)."""
        points = self.control_points(actions, start)
        lower, width = self._range(points)
        return (points - lower) / width * 2.0 - 1.0

    def decode_continuous(self, values: Values, start: Values = None, times_s: npt.ArrayLike | None = None) -> Values:
        """Actions (..., T, D), or the curve at `times_s`, of what `encode_continuous` gives or a network says."""
        c = self.config
        scaled = floats(values, "continuous tokens", (c.control_points, c.count))
        lower, width = self._range(scaled)
        return self.evaluate(self._pin(lower + width * ((scaled + 1.0) / 2.0), start), times_s)

    # ---- on disk ---------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write configuration and bounds as JSON, whole or not at all; every bit of the bounds is kept."""
        if self.lower is None or self.upper is None:
            raise ConfigError("this tokenizer has no bounds yet; call fit first.")
        write_state(Path(path), self.config, self.lower, self.upper)

    @classmethod
    def load(cls, path: Path | str) -> BeastTokenizer:
        """Read what `save` wrote: the same tokens for the same actions.

        Raises:
            ConfigError: Not there, or not a tokenizer of this version.
        """
        return cls(*read_state(Path(path)))
