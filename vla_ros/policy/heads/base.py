"""What an action head is, and how one is found by name; those there are stand in `action_heads.py`.

A gripper is a channel of its own in all of them: a readout of its own, an L1 loss where the others have a squared
one, no part in the noise of a flow, and over horizons a weighted median instead of a mean. Add a head with
`@action_head("name", spline=...)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UnknownName
from vla_ros.core.records import Array
from vla_ros.policy.heads.action_encoding import ActionCode
from vla_ros.policy.network.mixture_of_horizons import choose, mix
from vla_ros.policy.network.transformer_config import ActorConfig

Run = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Slots (B, slots, width) to what the head reads per horizon (B, N, S, J, ...), and weights (B, N, S)."""

Pull = Callable[[Tensor], Tensor]
"""Normalised steps (B, S, J) to how far, and how firmly, they are to be moved, the same shape."""


@dataclass(frozen=True)
class Said:
    """What a chunk is, as control points [rad].

    Attributes:
        fused: The mixture, shape (B, S, J).
        heads: Each horizon alone, shape (B, N, S, J); without meaning beyond its steps.
        weights: Of the horizons at each step, shape (B, N, S).
    """

    fused: Tensor
    heads: Tensor
    weights: Tensor


class ActionHead(nn.Module):
    """What every head provides; built as `cls(code, width, config)`."""

    per_joint = False
    """Whether each joint of a step has a slot of its own."""
    noisy = False
    """Whether it starts from noise."""

    def __init__(self, code: ActionCode, width: int, config: ActorConfig) -> None:
        """Make one query per slot."""
        super().__init__()
        self.code = code
        names = code.config.dofs
        hand = torch.tensor([name in config.gripper for name in names])  # type: ignore[union-attr]
        self.register_buffer("hand", hand, persistent=False)
        self.slots_per_step = code.config.count if self.per_joint else 1
        self.queries = nn.Parameter(0.02 * torch.randn(code.steps * self.slots_per_step, width))

    hand: Tensor

    def ask(self, batch: int) -> Tensor:
        """Slots that carry nothing but their place, shape (B, slots, width)."""
        return self.queries[None].expand(batch, -1, -1)

    def read(self, hidden: Tensor) -> Tensor:
        """Features (..., slots, width) to (..., S, J) or (..., S, J, bins)."""
        raise NotImplementedError

    def fuse(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """Outputs (B, N, S, J) and weights (B, N, S) to (B, S, J); a gripper is chosen, not averaged."""
        return torch.where(self.hand, choose(outputs, weights), mix(outputs, weights))

    def loss_weights(self, targets: Array, joint_weights: Array, late: float) -> Tensor:
        """What `errors` needs of the data; see `ActionCode.metric`."""
        return self.code.step_weights(joint_weights, late)

    def reach(self, active: Tensor) -> Tensor:
        """Which row of `errors` each horizon answers for, (N, R); `active` (N, S) are its steps."""
        return active

    def train_pass(self, run: Run, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One pass in training: outputs (B, N, S, J, ...), weights (B, N, S), and what `errors` compares with.

        Args:
            run: The transformer.
            points: True control points, shape (B, S, J) [rad].
        """
        outputs, weights = run(self.ask(len(points)))
        return outputs, weights, self.code.normalise(points)

    def errors(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """Error of each row, the mean over joints, shape (..., R).

        Args:
            output: Shape (..., S, J, ...).
            target: Of `train_pass`, broadcast over the leading dimensions.
            weights: Of `loss_weights`.
        """
        raise NotImplementedError

    def say(self, run: Run, noise: Tensor, pull: Pull | None = None) -> Said:
        """The chunk. `noise` has shape (B, S, J); heads that are not `noisy` use its size only, and no `pull`."""
        raise NotImplementedError


H = TypeVar("H", bound="type[ActionHead]")
_HEADS: dict[str, tuple[type[ActionHead], bool]] = {}


def action_head(name: str, spline: bool) -> Callable[[H], H]:
    """Register a head class under `name`; `spline`: its steps are control points and not waypoints."""

    def add(cls: H) -> H:
        _HEADS[name] = cls, spline
        return cls

    return add


def find_action_head(name: str) -> tuple[type[ActionHead], bool]:
    """The class of the head called `name`, and whether its steps are control points.

    Raises:
        UnknownName: There is none of that name.
    """
    if name not in _HEADS:
        raise UnknownName("action head", name, _HEADS)
    return _HEADS[name]


def action_heads() -> tuple[str, ...]:
    """The names of all heads."""
    return tuple(sorted(_HEADS))


class Readout(nn.Module):
    """Two linear layers, one for the arm and one for the grippers; columns in the order of the joints."""

    order: Tensor

    def __init__(self, width: int, hand: Tensor) -> None:
        """Build for joints of which those in `hand` (J,) are grippers."""
        super().__init__()
        self.arm = nn.Linear(width, int((~hand).sum()))
        self.hand = nn.Linear(width, int(hand.sum())) if hand.any() else None
        order = torch.cat([(~hand).nonzero()[:, 0], hand.nonzero()[:, 0]]).argsort()
        self.register_buffer("order", order, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Features (..., width) to (..., J)."""
        arm = self.arm(hidden)
        return arm if self.hand is None else torch.cat([arm, self.hand(hidden)], dim=-1)[..., self.order]
