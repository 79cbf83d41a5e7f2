"""Regression heads: waypoints (`regression`) or control points (`beast`) in one pass."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from vla_ros.core.records import Array
from vla_ros.policy.heads.action_encoding import ActionEncoding
from vla_ros.policy.heads.base import ActionHead, DecodedActions, ForwardPass, Guidance, Readout, action_heads
from vla_ros.policy.network.config import NetworkConfig


@action_heads.register("regression")
class RegressionHead(ActionHead):
    """The steps, in one pass.

    The loss is on waypoints also for control points: these are not orthogonal, and opposite errors in neighbouring
    control points nearly cancel in the curve.
    """

    def __init__(self, encoding: ActionEncoding, width: int, config: NetworkConfig) -> None:
        """Add the readouts."""
        super().__init__(encoding, width, config)
        self.readout = Readout(width, self.gripper)

    def read(self, hidden: Tensor) -> Tensor:
        """See `ActionHead.read`."""
        return self.readout(hidden).float()

    def loss_weights(self, targets: Array, joint_weights: Array, late: float) -> Tensor:
        """See `ActionHead.loss_weights`."""
        return self.encoding.waypoint_weights(targets, joint_weights, late)

    def horizon_rows(self, active: Tensor) -> Tensor:
        """Waypoints that are determined by the steps of a horizon alone."""
        return self.encoding.determined[active.sum(dim=1) - 1]

    def errors(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """See `ActionHead.errors`; rows are waypoints."""
        error = torch.einsum("ksj,...sj->...kj", weights, output - target)
        return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.05, reduction="none").mean(dim=-1)

    def decode(self, forward: ForwardPass, noise: Tensor, guidance: Guidance | None = None) -> DecodedActions:
        """See `ActionHead.decode`."""
        outputs, weights = forward(self.query(len(noise)))
        mixture = self.encoding.denormalise(self.fuse(outputs, weights))
        return DecodedActions(mixture, self.encoding.denormalise(outputs), weights)


@action_heads.register("beast")
class BeastHead(RegressionHead):
    """Control points of a B-spline, in one pass."""

    predicts_control_points: ClassVar[bool] = True
