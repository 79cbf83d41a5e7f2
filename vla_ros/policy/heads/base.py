"""Action heads: the contract and the registry.

| name | predicts | by |
|---|---|---|
| `regression` | waypoints | one pass, smooth L1 on waypoints |
| `flow` | waypoints | flow matching, 10 Euler steps |
| `bins` | waypoints | 256 bins each, one parallel pass, cross-entropy; the baseline |
| `beast` | control points | one pass, smooth L1 on the curve |
| `beast_flow` | control points | flow matching |
| `beast_tokens` | control points | 256 bins each, basis-major, one parallel pass, cross-entropy |

All heads treat grippers separately: own readout, L1 loss where other joints have a squared one, no noise in a flow, and
a weighted median over horizons instead of a mean. Add a head by deriving from `ActionHead` and decorating the class
with `@action_heads.register("name")`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vla_ros.core.records import Array
from vla_ros.policy.heads.action_encoding import ActionEncoding
from vla_ros.policy.network.config import NetworkConfig
from vla_ros.policy.network.mixture_of_horizons import weighted_mean, weighted_median
from vla_ros.registry import Registry

ForwardPass = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Action tokens (B, T, width) to the head's outputs per horizon (B, N, S, J, ...) and weights (B, N, S)."""

Guidance = Callable[[Tensor], Tensor]
"""Normalised steps (B, S, J) to the weighted error to be corrected, the same shape."""


@dataclass(frozen=True)
class DecodedActions:
    """A chunk in steps of the head [rad].

    Attributes:
        mixture: Shape (B, S, J).
        horizons: Each horizon alone, shape (B, N, S, J); undefined beyond its end.
        weights: Of the horizons at each step, shape (B, N, S).
    """

    mixture: Tensor
    horizons: Tensor
    weights: Tensor


class ActionHead(nn.Module):
    """Base class of the heads; built as `cls(encoding, width, config)`. A head owns its loss.

    Attributes:
        predicts_control_points: Whether its steps are control points of a B-spline, and not waypoints.
        per_joint: Whether each joint of a step has a token of its own.
        needs_noise: Whether decoding starts from noise.
        encoding: What the numbers of a step mean.
        gripper: Which joints are grippers, shape (J,), bool.
    """

    predicts_control_points: ClassVar[bool] = False
    per_joint: ClassVar[bool] = False
    needs_noise: ClassVar[bool] = False
    gripper: Tensor

    def __init__(self, encoding: ActionEncoding, width: int, config: NetworkConfig) -> None:
        """Make one query per action token."""
        super().__init__()
        self.encoding = encoding
        names = encoding.config.dofs
        gripper = torch.tensor([name in config.grippers for name in names])  # type: ignore[union-attr]
        self.register_buffer("gripper", gripper, persistent=False)
        self.tokens_per_step = encoding.config.count if self.per_joint else 1
        self.queries = nn.Parameter(0.02 * torch.randn(encoding.steps * self.tokens_per_step, width))

    def query(self, batch: int) -> Tensor:
        """Action tokens that contain their position only, shape (B, T, width)."""
        return self.queries[None].expand(batch, -1, -1)

    def read(self, hidden: Tensor) -> Tensor:
        """Features (..., T, width) to outputs (..., S, J) or (..., S, J, bins)."""
        raise NotImplementedError

    def fuse(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """Outputs (B, N, S, J) and weights (B, N, S) to (B, S, J): mean over horizons, median for grippers."""
        return torch.where(self.gripper, weighted_median(outputs, weights), weighted_mean(outputs, weights))

    def loss_weights(self, targets: Array, joint_weights: Array, late: float) -> Tensor:
        """Weights for `errors` from the data; see `ActionEncoding.waypoint_weights`."""
        return self.encoding.step_weights(joint_weights, late)

    def horizon_rows(self, active: Tensor) -> Tensor:
        """Rows of `errors` that belong to each horizon, shape (N, R); `active` (N, S) are its steps."""
        return active

    def train_pass(self, forward: ForwardPass, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One pass in training.

        Args:
            forward: The transformer.
            steps: True steps, shape (B, S, J) [rad].

        Returns:
            Outputs (B, N, S, J, ...), weights (B, N, S) and the target that `errors` compares with.
        """
        outputs, weights = forward(self.query(len(steps)))
        return outputs, weights, self.encoding.normalise(steps)

    def errors(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Error of each row, the mean over joints, shape (..., R).

        Args:
            output: Shape (..., S, J, ...).
            target: Of `train_pass`, broadcast over the leading dimensions.
            weights: Of `loss_weights`.
        """
        raise NotImplementedError

    def decode(self, forward: ForwardPass, noise: Tensor, guidance: Guidance | None = None) -> DecodedActions:
        """Predict the chunk.

        Args:
            forward: The transformer.
            noise: Shape (B, S, J); without `needs_noise` only its size is used.
            guidance: For heads with `needs_noise`: attracts the result; None for no guidance.
        """
        raise NotImplementedError


action_heads: Registry[type[ActionHead]] = Registry(
    "action head",
    builtin={
        **dict.fromkeys(("regression", "beast"), "vla_ros.policy.heads.regression"),
        **dict.fromkeys(("flow", "beast_flow"), "vla_ros.policy.heads.flow"),
        **dict.fromkeys(("bins", "beast_tokens"), "vla_ros.policy.heads.tokens"),
    },
)
"""Classes of action heads, by name."""


class Readout(nn.Module):
    """Two linear layers, one for the arm and one for the grippers; columns in the order of the joints."""

    order: Tensor

    def __init__(self, width: int, gripper: Tensor) -> None:
        """Build for joints of which those in `gripper` (J,) are grippers."""
        super().__init__()
        self.arm = nn.Linear(width, int((~gripper).sum()))
        self.gripper = nn.Linear(width, int(gripper.sum())) if gripper.any() else None
        order = torch.cat([(~gripper).nonzero()[:, 0], gripper.nonzero()[:, 0]]).argsort()
        self.register_buffer("order", order, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Features (..., width) to (..., J)."""
        arm = self.arm(hidden)
        return arm if self.gripper is None else torch.cat([arm, self.gripper(hidden)], dim=-1)[..., self.order]
