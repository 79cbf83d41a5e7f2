"""What a head's numbers mean: steps of a chunk, normalised or as tokens, and back to waypoints.

A step is a waypoint, or a control point of a B-spline. Both are the BEAST tokenizer's: waypoints are a spline of
degree 0 with one slot per waypoint, which makes its tokens plain binning. Statistics belong to the model and travel
in its checkpoint.
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

LEAST_STD_RAD = 0.01
"""No deviation is less: a joint that hardly moves is not blown up to unit scale [rad]."""
LEAST_SPREAD_RAD = 0.02
"""The same for the spread of a waypoint in the data, the unit of errors in waypoints [rad]."""
TAIL = 0.001
"""Share of the control points at each end that lie outside the range of the tokens, and are clipped."""


class ActionCode(nn.Module):
    """Targets (K, J) to steps (S, J) and back; K waypoints, J joints.

    Buffers, saved with the weights: `mean`, `std`, `lower`, `upper` (S, J) [rad]. Recomputed: `basis` (K, S, J),
    from steps to waypoints; `reach` (S, K), whether waypoint k depends on the first s + 1 steps only.
    """

    mean: Tensor
    std: Tensor
    lower: Tensor
    upper: Tensor
    basis: Tensor
    reach: Tensor

    def __init__(
        self, joints: tuple[str, ...], spline: SplineConfig, as_spline: bool, gripper: tuple[str, ...], bins: int
    ) -> None:
        """Build with unit statistics; `gripper` joints have degree 0 in a spline."""
        super().__init__()
        self.as_spline = as_spline
        self.config = c = BeastConfig(
            joints,
            samples=spline.waypoints,
            period_s=spline.dt_s,
            control_points=spline.control_points if as_spline else spline.waypoints,
            degree=spline.degree if as_spline else 0,
            bins=bins,
            steps=gripper if as_spline else joints,
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
        self.register_buffer("reach", torch.from_numpy(beyond.T < 1e-12), persistent=False)

    @property
    def steps(self) -> int:
        """S."""
        return self.config.control_points

    @property
    def tokenizer(self) -> BeastTokenizer:
        """The tokenizer with the bounds of the buffers."""
        lower, upper = (b.detach().cpu().double().numpy() for b in (self.lower, self.upper))
        kept = self._tokens
        if kept is None or not (np.array_equal(kept.lower, lower) and np.array_equal(kept.upper, upper)):  # type: ignore[arg-type]
            kept = self._tokens = BeastTokenizer(self.config, lower, upper)
        return kept

    def fit(self, targets: npt.NDArray[np.float32]) -> None:
        """Take the statistics from data, shape (n, K, J) [rad]."""
        points = np.asarray(self._shape.control_points(targets))
        bounds = BeastTokenizer(self.config).fit(targets)
        values = {
            "mean": points.mean(axis=0),
            "std": np.maximum(points.std(axis=0), LEAST_STD_RAD),
            "lower": bounds.lower,
            "upper": bounds.upper,
        }
        for name, value in values.items():
            getattr(self, name).copy_(torch.tensor(value))

    def points(self, targets: Tensor) -> Tensor:
        """Targets (..., K, J) to control points (..., S, J) [rad], double precision."""
        return self._shape.control_points(targets)

    def normalise(self, points: Tensor) -> Tensor:
        """Control points to about unit scale."""
        return ((points - self.mean) / self.std).float()

    def restore(self, values: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return values.float() * self.std + self.mean

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens (..., S, J) to control points: the tokenizer's `restore` bit for bit, with no look at the values."""
        lower, upper = self.lower.double(), self.upper.double()
        return (lower + (upper - lower) * (tokens.double() / (self.config.bins - 1))).float()

    def waypoints(self, points: Tensor) -> Tensor:
        """Control points (..., S, J) to waypoints (..., K, J)."""
        return torch.einsum("ksj,...sj->...kj", self.basis, points.float())

    def metric(self, targets: Array, joint_weights: Array, late: float) -> Tensor:
        """From errors in normalised steps to weighted errors in waypoints, shape (K, S, J).

        Each waypoint of each joint is measured in units of how much it varies in the data, so that early
        waypoints, which move little and are executed for certain, count as much as far ones.

        Args:
            targets: Shape (n, K, J) [rad].
            joint_weights: Shape (J,).
            late: Weight of the last waypoint relative to the first.
        """
        scale = np.maximum(targets.std(axis=0), LEAST_SPREAD_RAD)
        weight = joint_weights[None, :] * np.linspace(1.0, late, len(scale))[:, None] / scale
        return self.basis * self.std[None] * torch.from_numpy(weight).float()[:, None, :]

    def step_weights(self, joint_weights: Array, late: float) -> Tensor:
        """Weights of errors in normalised steps, shape (S, J); arguments as in `metric`."""
        return torch.from_numpy(np.linspace(1.0, late, self.steps)[:, None] * joint_weights[None, :]).float()
