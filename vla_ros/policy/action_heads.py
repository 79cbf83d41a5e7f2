"""What an action transformer says, by name: how slots are asked, what is read from them, and what is lost.

| name | says | by |
|---|---|---|
| `regression` | waypoints | one pass, smooth L1 on waypoints |
| `flow` | waypoints | flow matching, 10 Euler steps |
| `bins` | waypoints | 256 bins each, one parallel pass, cross-entropy; the baseline |
| `beast` | control points | one pass, smooth L1 on the curve |
| `beast_flow` | control points | flow matching |
| `beast_tokens` | control points | 256 bins each, basis-major, one parallel pass, cross-entropy |

A gripper is a channel of its own in all of them: a readout of its own, an L1 loss where the others have a squared
one, no part in the noise of a flow, and over horizons a weighted median instead of a mean. Add a head with
`@action_head("name", spline=...)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.core.errors import UnknownName
from vla_ros.core.records import Array
from vla_ros.policy.action_code import ActionCode
from vla_ros.policy.actor_config import ActorConfig
from vla_ros.policy.mixture import choose, mix

Run = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Slots (B, slots, width) to what the head reads per horizon (B, N, S, J, ...), and weights (B, N, S)."""


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

    def say(self, run: Run, noise: Tensor) -> Said:
        """The chunk. `noise` has shape (B, S, J); heads that are not `noisy` use its size only."""
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


@action_head("beast", spline=True)
@action_head("regression", spline=False)
class RegressionAction(ActionHead):
    """Steps themselves, in one pass.

    The error is taken where it acts, on waypoints, because control points are not orthogonal: two opposite
    errors in neighbours nearly cancel in the curve.
    """

    def __init__(self, code: ActionCode, width: int, config: ActorConfig) -> None:
        """Add the readouts."""
        super().__init__(code, width, config)
        self.out = Readout(width, self.hand)

    def read(self, hidden: Tensor) -> Tensor:
        """See `ActionHead.read`."""
        return self.out(hidden).float()

    def loss_weights(self, targets: Array, joint_weights: Array, late: float) -> Tensor:
        """See `ActionHead.loss_weights`."""
        return self.code.metric(targets, joint_weights, late)

    def reach(self, active: Tensor) -> Tensor:
        """Waypoints that depend on the steps of a horizon only."""
        return self.code.reach[active.sum(dim=1) - 1]

    def errors(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """See `ActionHead.errors`; rows are waypoints."""
        apart = torch.einsum("ksj,...sj->...kj", weights, output - target)
        return functional.smooth_l1_loss(apart, torch.zeros_like(apart), beta=0.05, reduction="none").mean(dim=-1)

    def say(self, run: Run, noise: Tensor) -> Said:
        """See `ActionHead.say`."""
        outputs, weights = run(self.ask(len(noise)))
        return Said(self.code.restore(self.fuse(outputs, weights)), self.code.restore(outputs), weights)


def euler(velocity: Callable[[Tensor, float], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Integrate dx/dt = velocity(x, t) from noise at t = 1 to the action at t = 0 in equal steps."""
    x = noise
    for k in range(steps):
        x = x - velocity(x, 1.0 - k / steps) / steps
    return x


@action_head("beast_flow", spline=True)
@action_head("flow", spline=False)
class FlowAction(ActionHead):
    """Flow matching: x_t = t noise + (1 - t) action, and the net gives its velocity, noise - action.

    All horizons share noise and time, their velocities are mixed at every step, and one common x is carried on.
    Grippers are not diffused: their columns of x are zero, their readout is the value itself, and the last step's
    counts.
    """

    noisy = True

    def __init__(self, code: ActionCode, width: int, config: ActorConfig) -> None:
        """Add the way in, the clock and the readouts."""
        super().__init__(code, width, config)
        self.steps = config.euler_steps
        self.inlet = nn.Linear(code.config.count, width)
        self.clock = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.out = Readout(width, self.hand)
        half = width // 2
        rates = torch.exp(torch.linspace(math.log(0.5), math.log(500.0), half))  # periods of 12 to 0.012 of [0, 1]
        self.register_buffer("rates", rates, persistent=False)

    rates: Tensor

    def ask_at(self, x: Tensor, t: Tensor) -> Tensor:
        """Slots that carry x (B, S, J) at time t (B,)."""
        angle = t[:, None] * self.rates
        when = self.clock(torch.cat([angle.sin(), angle.cos()], dim=1))
        return self.ask(len(x)) + self.inlet(x.masked_fill(self.hand, 0.0)) + when[:, None]

    def read(self, hidden: Tensor) -> Tensor:
        """See `ActionHead.read`: velocities, and values of grippers."""
        return self.out(hidden).float()

    def train_pass(self, run: Run, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `ActionHead.train_pass`; times are 0.001 + 0.999 Beta(1.5, 1), mostly near the noise, as in openpi."""
        action = self.code.normalise(points)
        noise = torch.randn_like(action)
        t = 0.001 + 0.999 * torch.rand(len(action), device=action.device) ** (1.0 / 1.5)
        x = t[:, None, None] * noise + (1.0 - t[:, None, None]) * action
        outputs, weights = run(self.ask_at(x, t))
        return outputs, weights, torch.where(self.hand, action, noise - action)

    def errors(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """See `ActionHead.errors`; rows are steps."""
        apart = output - target
        return (torch.where(self.hand, apart.abs(), apart**2) * weights).mean(dim=-1)

    def say(self, run: Run, noise: Tensor) -> Said:
        """See `ActionHead.say`; a horizon alone is the noise moved by the sum of its own velocities."""
        alone: list[Tensor] = []
        last: list[Tensor] = []

        def velocity(x: Tensor, t: float) -> Tensor:
            outputs, weights = run(self.ask_at(x, torch.full((len(x),), t, device=x.device)))
            fused = self.fuse(outputs, weights)
            alone.append(outputs)
            last[:] = [weights, fused, outputs]
            return fused

        x = euler(velocity, noise, self.steps)
        weights, fused, outputs = last
        own = noise[:, None] - torch.stack(alone).mean(dim=0)
        fused, heads = torch.where(self.hand, fused, x), torch.where(self.hand, outputs, own)
        return Said(self.code.restore(fused), self.code.restore(heads), weights)


@action_head("beast_tokens", spline=True)
@action_head("bins", spline=False)
class TokenAction(ActionHead):
    """One slot per token, basis-major, all at once; a mixture mixes probabilities, and the most probable wins."""

    per_joint = True

    def __init__(self, code: ActionCode, width: int, config: ActorConfig) -> None:
        """Add the classifiers."""
        super().__init__(code, width, config)
        self.arm = nn.Linear(width, config.bins)
        self.grip = nn.Linear(width, config.bins) if self.hand.any() else None

    def read(self, hidden: Tensor) -> Tensor:
        """Log-probabilities (..., S, J, bins)."""
        slots = hidden.unflatten(-2, (self.code.steps, -1))
        logits = self.arm(slots)
        if self.grip is not None:
            logits = torch.where(self.hand[:, None], self.grip(slots), logits)
        return logits.float().log_softmax(dim=-1)

    def fuse(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """Log of the mixed probabilities, shape (B, S, J, bins)."""
        # log(0) would be right, but its slope is infinite.
        log = weights.clamp_min(1e-12).log().masked_fill(weights == 0.0, -torch.inf)
        return (outputs + log[..., None, None]).logsumexp(dim=1)

    def train_pass(self, run: Run, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `ActionHead.train_pass`; the targets are tokens."""
        outputs, weights = run(self.ask(len(points)))
        return outputs, weights, self.code.tokenizer.quantise(points).unflatten(1, (self.code.steps, -1))

    def errors(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """See `ActionHead.errors`: cross-entropy; rows are steps."""
        index = target.expand(output.shape[:-1])[..., None]
        return (-output.gather(-1, index)[..., 0] * weights).mean(dim=-1)

    def say(self, run: Run, noise: Tensor) -> Said:
        """See `ActionHead.say`: the most probable bin of every slot."""
        outputs, weights = run(self.ask(len(noise)))
        fused, heads = self.fuse(outputs, weights).argmax(dim=-1), outputs.argmax(dim=-1)
        restore = self.code.tokenizer.restore
        return Said(restore(fused.flatten(1)).float(), restore(heads.flatten(2)).float(), weights)
