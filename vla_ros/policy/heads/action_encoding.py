"""The meaning of a head's numbers: steps of a chunk, normalised or as tokens, and back to waypoints.

A step is a waypoint, or a control point of a B-spline. Both use the BEAST tokenizer: waypoints are a spline of degree 0
with one control point per waypoint, whose tokens are plain bins. The statistics are part of the network and of its
checkpoint.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vla_ros.beast.config import BeastConfig
from vla_ros.beast.tokenizer import BeastTokenizer
from vla_ros.core.records import Array
from vla_ros.policy.action_spline import SplineConfig

MIN_STD_RAD = 0.01
"""Lower bound of the standard deviation used for normalisation: a joint that hardly moves is not amplified [rad]."""
MIN_WAYPOINT_STD_RAD = 0.02
"""The same for the standard deviation of a waypoint in the data, the unit of errors in waypoints [rad]."""
TAIL = 0.001
"""Fraction of the control points at each end that lie outside the range of the tokens, and are clipped."""


class ActionEncoding(nn.Module):
    """Targets (K, J) to steps (S, J) and back; K waypoints, J joints.

    Buffers, saved with the weights: `mean`, `std`, `lower`, `upper` (S, J) [rad]. Recomputed: `basis` (K, S, J),
    from steps to waypoints; `determined` (S, K), whether the first s + 1 steps alone determine waypoint k.
    """

    mean: Tensor
    std: Tensor
    lower: Tensor
    upper: Tensor
    basis: Tensor
    determined: Tensor

    def __init__(
        self, joints: tuple[str, ...], spline: SplineConfig, as_spline: bool, grippers: tuple[str, ...], bins: int
    ) -> None:
        """Build with unit statistics; `grippers` have degree 0 in a spline."""
        super().__init__()
        self.as_spline = as_spline
        self.config = c = BeastConfig(
            joints,
            samples=spline.waypoints,
            period_s=spline.dt_s,
            control_points=spline.control_points if as_spline else spline.waypoints,
            degree=spline.degree if as_spline else 0,
            bins=bins,
            steps=grippers if as_spline else joints,
            tail=TAIL,
        )
        self._tokens: BeastTokenizer | None = None
        self._shape = BeastTokenizer(c)
        s, j = c.control_points, c.count
        self.register_buffer("mean", torch.zeros(s, j))
        self.register_buffer("std", torch.ones(s, j))
        self.register_buffer("lower", -torch.ones(s, j))
        self.register_buffer("upper", torch.ones(s, j))
        units = np.repeat(np.eye(s)[:, :, None], j, axis=2)
        basis = np.asarray(self._shape.evaluate(units)).transpose(1, 0, 2)
        self.register_buffer("basis", torch.from_numpy(basis).float(), persistent=False)
        later = np.cumsum(np.abs(basis).max(axis=2)[:, ::-1], axis=1)[:, ::-1]
        beyond = np.concatenate([later[:, 1:], np.zeros((len(basis), 1))], axis=1)
        self.register_buffer("determined", torch.from_numpy(beyond.T < 1e-12), persistent=False)

    @property
    def steps(self) -> int:
        """S."""
        return self.config.control_points

    @property
    def tokenizer(self) -> BeastTokenizer:
        """The tokenizer with the bounds of the buffers."""
        lower, upper = (b.detach().cpu().double().numpy() for b in (self.lower, self.upper))
        cached = self._tokens
        if cached is None or not (np.array_equal(cached.lower, lower) and np.array_equal(cached.upper, upper)):  # type: ignore[arg-type]
            cached = self._tokens = BeastTokenizer(self.config, lower, upper)
        return cached

    def fit(self, targets: npt.NDArray[np.float32]) -> None:
        """Take the statistics from data, shape (n, K, J) [rad]."""
        points = np.asarray(self._shape.control_points(targets))
        bounds = BeastTokenizer(self.config).fit(targets)
        values = {
            "mean": points.mean(axis=0),
            "std": np.maximum(points.std(axis=0), MIN_STD_RAD),
            "lower": bounds.lower,
            "upper": bounds.upper,
        }
        for name, value in values.items():
            getattr(self, name).copy_(torch.tensor(value))

    def to_steps(self, targets: Tensor) -> Tensor:
        """Targets (..., K, J) to steps (..., S, J) [rad], double precision."""
        return self._shape.control_points(targets)

    def normalise(self, steps: Tensor) -> Tensor:
        """Steps to about unit scale."""
        return ((steps - self.mean) / self.std).float()

    def denormalise(self, values: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return values.float() * self.std + self.mean

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens (..., S, J) to steps: bit for bit the tokenizer's `restore`, without branches on values."""
        lower, upper = self.lower.double(), self.upper.double()
        return (lower + (upper - lower) * (tokens.double() / (self.config.bins - 1))).float()

    def waypoints(self, steps: Tensor) -> Tensor:
        """Steps (..., S, J) to waypoints (..., K, J)."""
        return torch.einsum("ksj,...sj->...kj", self.basis, steps.float())

    def waypoint_weights(self, targets: Array, joint_weights: Array, late: float) -> Tensor:
        """Weights from errors in normalised steps to errors in waypoints, shape (K, S, J).

        The unit of each waypoint of each joint is its standard deviation in the data, so that early waypoints, which
        move little and are always executed, count as much as late ones.

        Args:
            targets: Shape (n, K, J) [rad].
            joint_weights: Shape (J,).
            late: Weight of the last waypoint relative to the first.
        """
        scale = np.maximum(targets.std(axis=0), MIN_WAYPOINT_STD_RAD)
        weight = joint_weights[None, :] * np.linspace(1.0, late, len(scale))[:, None] / scale
        return self.basis * self.std[None] * torch.from_numpy(weight).float()[:, None, :]

    def step_weights(self, joint_weights: Array, late: float) -> Tensor:
        """Weights of errors in normalised steps, shape (S, J); arguments as in `waypoint_weights`."""
        return torch.from_numpy(np.linspace(1.0, late, self.steps)[:, None] * joint_weights[None, :]).float()
