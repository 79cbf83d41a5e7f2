"""Action chunks to tokens and back: control points of a B-spline, each in one of 256 bins of its own range.

    actions (T, D) -> least squares -> control points (N, D) -> per (control point, degree of freedom) -> N D tokens

Tokens are in basis-major order: all degrees of freedom of control point 0, then all of control point 1, and so on.
Every method accepts any number of leading dimensions, and a torch tensor as well as a numpy array. It returns the kind
it was given, in double precision, with the same tokens. The method is that of BEAST (arXiv:2506.06072); where the paper
and its released code differ, `BeastConfig` chooses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vla_ros.beast.arrays import (
    Values,
    as_float64,
    as_int64,
    as_type_of,
    concatenate,
    is_tensor,
    weighted_sums,
)
from vla_ros.beast.config import BeastConfig
from vla_ros.beast.state import read_state, write_state
from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import Array
from vla_ros.core.splines import fit_matrix, step_basis, uniform_basis

MIN_RANGE = 1e-6
"""The minimum width of the range of a control point [unit of the actions], for joints that do not move in the data."""


def _start_matrix(config: BeastConfig) -> Array | None:
    """From (position,) or (position, velocity) at the start to the pinned control points, (R, R); None without any.

    The first control point is the position; the second lies by the velocity times (first span / degree) from it.
    """
    if config.pinned == 0:
        return None
    rows = np.tril(np.ones((config.pinned, config.pinned)))
    if config.pinned == 2:
        rows[1, 1] = config.duration_s / (config.degree * (config.control_points - config.degree))
    return rows


class BeastTokenizer:
    """Converts action chunks to discrete or continuous tokens and tokens to curves.

    Attributes:
        config: Sizes, grid, degree, pinned control points.
        lower: Lower bound of each control point, shape (N, D); None before `fit`.
        upper: Upper bound, shape (N, D); None before `fit`. Only `fit` changes the bounds.
    """

    def __init__(
        self, config: BeastConfig, lower: npt.ArrayLike | None = None, upper: npt.ArrayLike | None = None
    ) -> None:
        """Compute the matrices of the fit and of the curve.

        Args:
            config: Sizes, grid, degree, pinned control points.
            lower: Lower bounds, shape (N, D); give both bounds, or call `fit` before tokens are made.
            upper: Upper bounds, shape (N, D).

        Raises:
            ConfigError: Only one bound, or bounds of another shape, not finite, or with the upper not above the lower.
        """
        self.config = c = config
        self.lower: Array | None = None
        self.upper: Array | None = None
        start = _start_matrix(c)
        smooth = fit_matrix(uniform_basis(c.times, c.control_points, c.degree), c.ridge, start)
        stepped = np.zeros_like(smooth)
        # The mean over each interval. The small ridge keeps the matrix regular when intervals hold no sample, which is
        # permitted for tokenizers without step degrees of freedom.
        stepped[:, c.pinned :] = fit_matrix(step_basis(c.times, c.control_points), 1e-12)
        self._fit = np.where(c.is_step, stepped.T[..., None], smooth.T[..., None])  # (R + T, N, D)
        square = np.zeros((0, 0)) if start is None else start
        self._pin_weights = np.repeat(square.T[..., None], c.count, axis=2)  # (R, R, D)
        self._decode = self._weights(c.times)
        self._cached = c.times, self._decode  # the times of the last call and their weights
        if (lower is None) != (upper is None):
            raise ConfigError("a tokenizer needs both bounds or none.")
        if lower is not None and upper is not None:
            self._set_bounds(np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64))

    def _set_bounds(self, lower: Array, upper: Array) -> None:
        shape = (self.config.control_points, self.config.count)
        if lower.shape != shape or upper.shape != shape:
            raise ConfigError(f"bounds of control points must have shape {shape}; got {lower.shape}, {upper.shape}.")
        if not (np.isfinite(lower) & np.isfinite(upper) & (lower < upper)).all():
            raise ConfigError("bounds of control points must be finite, the upper above the lower.")
        lower.flags.writeable = upper.flags.writeable = False
        self.lower, self.upper = lower, upper

    def _weights(self, u: Array) -> Array:
        c = self.config
        smooth, stepped = uniform_basis(u, c.control_points, c.degree), step_basis(u, c.control_points)
        return np.where(c.is_step, stepped.T[..., None], smooth.T[..., None])  # (N, K, D)

    # ---- the curve -------------------------------------------------------------------------------------------

    def control_points(self, actions: Values, start: Values = None) -> Values:
        """Fit control points to actions by least squares.

        Args:
            actions: Shape (..., T, D).
            start: Only with pinned control points: the start of the curve, shape (..., R, D): position, and with two
                pinned also velocity [1/s]. Give the command that is active when the chunk takes over.

        Returns:
            Shape (..., N, D), float64.

        Raises:
            RecordError: Not finite, of another shape, or a start that is missing or not expected.
        """
        c = self.config
        values = as_float64(actions, "actions", (c.samples, c.count))
        given = self._start(start)
        if given is not None:
            values = concatenate(as_type_of(values, given), values)
        return weighted_sums(as_type_of(values, self._fit), values)

    def evaluate(self, control: Values, times_s: npt.ArrayLike | None = None) -> Values:
        """The curve of control points (..., N, D) at the actions' times, (..., T, D), or at `times_s` (K,) [s].

        Raises:
            RecordError: Control points of another shape or not finite, or a time outside the chunk.
        """
        c = self.config
        points = as_float64(control, "control points", (c.control_points, c.count))
        if times_s is None:
            return weighted_sums(as_type_of(points, self._decode), points)
        # Normalised by the duration of the chunk, not of the times that are evaluated.
        u = np.atleast_1d(np.asarray(times_s, dtype=np.float64)) / c.duration_s
        if not ((u >= -1e-9) & (u <= 1.0 + 1e-9)).all():
            raise RecordError(f"times must lie in the chunk, 0 to {c.duration_s:g} s.")
        if not np.array_equal(self._cached[0], u):
            self._cached = u, self._weights(np.clip(u, 0.0, 1.0))
        return weighted_sums(as_type_of(points, self._cached[1]), points)

    def _start(self, start: Values) -> Values | None:
        c = self.config
        if c.pinned == 0:
            if start is not None:
                raise RecordError("this tokenizer pins no control points; it takes no start.")
            return None
        if start is None:
            what = "position" if c.pinned == 1 else "position and velocity"
            raise RecordError(f"this tokenizer pins the {what} at the start of a chunk; give it as start.")
        return as_float64(start, "the start", (c.pinned, c.count))

    def _pin(self, control: Values, start: Values) -> Values:
        """Replace the first control points of every smooth degree of freedom by those that `start` determines."""
        given = self._start(start)
        if given is None:
            return control
        pinned = as_type_of(control, weighted_sums(as_type_of(given, self._pin_weights), given))
        original = control[..., : len(self._pin_weights), :]
        keep = as_type_of(control, self.config.is_step.astype(np.float64))
        first = pinned * (1.0 - keep) + original * keep
        return concatenate(first, control[..., len(self._pin_weights) :, :])

    # ---- the bounds ------------------------------------------------------------------------------------------

    def fit(self, actions: Values, start: Values = None) -> BeastTokenizer:
        """Set the bounds of every control point from data.

        Args:
            actions: Shape (..., T, D): the chunks of the training data.
            start: As in `control_points`.

        Returns:
            This tokenizer.

        Raises:
            RecordError: There are no chunks, or as in `control_points`.
        """
        control = self.control_points(actions, start)
        points = np.asarray(control.detach().cpu() if is_tensor(control) else control)
        points = points.reshape(-1, *points.shape[-2:])
        if not len(points):
            raise RecordError("a tokenizer cannot be fitted to no chunks.")
        lower, upper = np.quantile(points, [self.config.tail, 1.0 - self.config.tail], axis=0)
        missing = np.maximum(MIN_RANGE - (upper - lower), 0.0) / 2
        self._set_bounds(lower - missing, upper + missing)
        return self

    def _range(self, reference: Values) -> tuple[Values, Values]:
        if self.lower is None or self.upper is None:
            raise ConfigError("this tokenizer has no bounds yet; call fit first.")
        return as_type_of(reference, self.lower), as_type_of(reference, self.upper - self.lower)

    # ---- discrete tokens -------------------------------------------------------------------------------------

    def encode(self, actions: Values, start: Values = None) -> Values:
        """Tokens, shape (..., N D), 64-bit integers; arguments as in `control_points`."""
        return self.quantise(self.control_points(actions, start))

    def decode(self, tokens: Values, start: Values = None) -> Values:
        """Actions, shape (..., T, D), of tokens (..., N D). With pinned control points the curve begins at `start`."""
        return self.evaluate(self.restore(tokens, start))

    def decode_at(self, tokens: Values, times_s: npt.ArrayLike, start: Values = None) -> Values:
        """The curve of tokens (..., N D) at any times (K,) [s] within the chunk, shape (..., K, D)."""
        return self.evaluate(self.restore(tokens, start), times_s)

    def quantise(self, control: Values) -> Values:
        """Control points (..., N, D) to tokens (..., N D): the nearest bin, halves up, clipped to 0 and bins - 1."""
        c = self.config
        points = as_float64(control, "control points", (c.control_points, c.count))
        lower, width = self._range(points)
        bins = ((points - lower) / width * (c.bins - 1) + 0.5).clip(0, c.bins - 1) // 1.0
        return as_int64(bins).reshape(*points.shape[:-2], c.control_points * c.count)

    def restore(self, tokens: Values, start: Values = None) -> Values:
        """Tokens (..., N D) to control points (..., N, D); the pinned ones are computed from `start`.

        Raises:
            RecordError: Not of this length, or not whole numbers from 0 to bins - 1.
        """
        c = self.config
        values = as_float64(tokens, "tokens", (c.control_points * c.count,))
        if not bool(((values // 1.0 == values) & (values >= 0) & (values <= c.bins - 1)).all()):
            raise RecordError(f"tokens must be whole numbers from 0 to {c.bins - 1}.")
        lower, width = self._range(values)
        fraction = values.reshape(*values.shape[:-1], c.control_points, c.count) / (c.bins - 1)
        return self._pin(lower + width * fraction, start)

    # ---- continuous tokens -----------------------------------------------------------------------------------

    def encode_continuous(self, actions: Values, start: Values = None) -> Values:
        """Control points scaled so that their bounds are -1 and 1, not clipped, shape (..., N, D)."""
        points = self.control_points(actions, start)
        lower, width = self._range(points)
        return (points - lower) / width * 2.0 - 1.0

    def decode_continuous(self, values: Values, start: Values = None, times_s: npt.ArrayLike | None = None) -> Values:
        """Actions (..., T, D), or the curve at `times_s`, of continuous tokens (..., N, D)."""
        c = self.config
        scaled = as_float64(values, "continuous tokens", (c.control_points, c.count))
        lower, width = self._range(scaled)
        return self.evaluate(self._pin(lower + width * ((scaled + 1.0) / 2.0), start), times_s)

    # ---- on disk ---------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write configuration and bounds as JSON, atomically; the bounds are kept to the last bit.

        Raises:
            ConfigError: There are no bounds yet.
        """
        if self.lower is None or self.upper is None:
            raise ConfigError("this tokenizer has no bounds yet; call fit first.")
        write_state(Path(path), self.config, self.lower, self.upper)

    @classmethod
    def load(cls, path: Path | str) -> BeastTokenizer:
        """Read a file of `save`; the tokenizer gives the same tokens for the same actions.

        Raises:
            ConfigError: The file is missing, damaged or of another format.
        """
        return cls(*read_state(Path(path)))
