"""The heads of the action transformer: how slots are asked, what is read from them, and what is lost.

| name | says | by |
|---|---|---|
| `regression` | waypoints | one pass, smooth L1 on waypoints |
| `flow` | waypoints | flow matching, 10 Euler steps |
| `bins` | waypoints | 256 bins each, one parallel pass, cross-entropy; the baseline |
| `beast` | control points | one pass, smooth L1 on the curve |
| `beast_flow` | control points | flow matching |
| `beast_tokens` | control points | 256 bins each, basis-major, one parallel pass, cross-entropy |
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.core.records import Array
from vla_ros.policy.heads.action_encoding import ActionCode
from vla_ros.policy.heads.base import ActionHead, Pull, Readout, Run, Said, action_head
from vla_ros.policy.network.transformer_config import ActorConfig


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

    def say(self, run: Run, noise: Tensor, pull: Pull | None = None) -> Said:
        """See `ActionHead.say`."""
        outputs, weights = run(self.ask(len(noise)))
        return Said(self.code.restore(self.fuse(outputs, weights)), self.code.restore(outputs), weights)


def euler(velocity: Callable[[Tensor, float], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Integrate dx/dt = velocity(x, t) from noise at t = 1 to the action at t = 0 in equal steps."""
    x = noise
    for k in range(steps):
        x = x - velocity(x, 1.0 - k / steps) / steps
    return x


GUIDANCE = 5.0
"""The most a guided flow is pulled, as in real-time chunking: more pulls the first steps out of the data."""


def guided(velocity: Callable[[Tensor, float], Tensor], pull: Pull, shifts: list[Tensor]) -> Callable[..., Tensor]:
    """The velocity that also draws the end of the flow to where it is pulled (Black et al., arXiv:2506.07339).

    With x on its way to x - t v, the error there is carried back through the network to x, weighted as the
    pseudo-inverse guidance of that paper, whose time is 1 - t here. What was added is appended to `shifts`.
    """

    def both(x: Tensor, t: float) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            v = velocity(x, t)
            end = x - t * v
            (back,) = torch.autograd.grad(end, x, pull(end.detach()))
        tau = 1.0 - t
        weight = min(GUIDANCE, (tau**2 + t**2) / (tau * t)) if tau > 0.0 else GUIDANCE
        shifts.append(-weight * back)
        return v.detach() + shifts[-1]

    return both


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

    def say(self, run: Run, noise: Tensor, pull: Pull | None = None) -> Said:
        """See `ActionHead.say`; a horizon alone is the noise moved by the sum of its own velocities."""
        alone: list[Tensor] = []
        shifts: list[Tensor] = []
        last: list[Tensor] = []

        def velocity(x: Tensor, t: float) -> Tensor:
            outputs, weights = run(self.ask_at(x, torch.full((len(x),), t, device=x.device)))
            fused = self.fuse(outputs, weights)
            alone.append(outputs.detach())
            last[:] = [weights.detach(), fused.detach(), outputs.detach()]
            return fused

        x = euler(guided(velocity, pull, shifts) if pull else velocity, noise, self.steps)
        weights, fused, outputs = last
        own = noise[:, None] - torch.stack(alone).mean(dim=0)
        if shifts:
            own = own - torch.stack(shifts).mean(dim=0)[:, None]
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

    def say(self, run: Run, noise: Tensor, pull: Pull | None = None) -> Said:
        """See `ActionHead.say`: the most probable bin of every slot."""
        outputs, weights = run(self.ask(len(noise)))
        fused, heads = self.fuse(outputs, weights).argmax(dim=-1), outputs.argmax(dim=-1)
        return Said(self.code.from_tokens(fused), self.code.from_tokens(heads), weights)
