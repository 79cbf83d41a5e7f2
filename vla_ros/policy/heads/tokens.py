"""Classification heads: waypoints (`bins`) or control points (`beast_tokens`), each one of a number of bins."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from vla_ros.policy.heads.action_encoding import ActionEncoding
from vla_ros.policy.heads.base import ActionHead, DecodedActions, ForwardPass, Guidance, action_heads
from vla_ros.policy.network.config import NetworkConfig


@action_heads.register("bins")
class BinsHead(ActionHead):
    """One action token per discrete token, basis-major, in one parallel pass.

    A mixture mixes probabilities, and the most probable bin is chosen.
    """

    per_joint: ClassVar[bool] = True

    def __init__(self, encoding: ActionEncoding, width: int, config: NetworkConfig) -> None:
        """Add the classifiers."""
        super().__init__(encoding, width, config)
        self.arm_classifier = nn.Linear(width, config.bins)
        self.gripper_classifier = nn.Linear(width, config.bins) if self.gripper.any() else None

    def read(self, hidden: Tensor) -> Tensor:
        """Log-probabilities (..., S, J, bins)."""
        tokens = hidden.unflatten(-2, (self.encoding.steps, -1))
        logits = self.arm_classifier(tokens)
        if self.gripper_classifier is not None:
            logits = torch.where(self.gripper[:, None], self.gripper_classifier(tokens), logits)
        return logits.float().log_softmax(dim=-1)

    def fuse(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """Logarithm of the mixed probabilities, shape (B, S, J, bins)."""
        # log(0) would be right, but its gradient is infinite.
        log = weights.clamp_min(1e-12).log().masked_fill(weights == 0.0, -torch.inf)
        return (outputs + log[..., None, None]).logsumexp(dim=1)

    def train_pass(self, forward: ForwardPass, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `ActionHead.train_pass`; the targets are discrete tokens."""
        outputs, weights = forward(self.query(len(steps)))
        return outputs, weights, self.encoding.tokenizer.quantise(steps).unflatten(1, (self.encoding.steps, -1))

    def errors(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """See `ActionHead.errors`: cross-entropy; rows are steps."""
        index = target.expand(output.shape[:-1])[..., None]
        return (-output.gather(-1, index)[..., 0] * weights).mean(dim=-1)

    def decode(self, forward: ForwardPass, noise: Tensor, guidance: Guidance | None = None) -> DecodedActions:
        """See `ActionHead.decode`: the most probable bin of every token."""
        outputs, weights = forward(self.query(len(noise)))
        mixture, horizons = self.fuse(outputs, weights).argmax(dim=-1), outputs.argmax(dim=-1)
        return DecodedActions(self.encoding.from_tokens(mixture), self.encoding.from_tokens(horizons), weights)


@action_heads.register("beast_tokens")
class BeastTokensHead(BinsHead):
    """BEAST tokens (arXiv:2506.06072): control points of a B-spline, each one of a number of bins."""

    predicts_control_points: ClassVar[bool] = True
