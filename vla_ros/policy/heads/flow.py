"""Flow-matching heads: waypoints (`flow`) or control points (`beast_flow`) from noise in several Euler steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from vla_ros.policy.heads.action_encoding import ActionEncoding
from vla_ros.policy.heads.base import ActionHead, DecodedActions, ForwardPass, Guidance, Readout, action_heads
from vla_ros.policy.network.config import NetworkConfig

MAX_GUIDANCE_WEIGHT = 5.0
"""Limit of the guidance weight, as in real-time chunking; more moves the first steps away from the data."""

Velocity = Callable[[Tensor, float], Tensor]
"""(x, t) -> dx/dt, the shape of x."""


def integrate_euler(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Integrate dx/dt = velocity(x, t) from noise at t = 1 to the action at t = 0 in equal steps."""
    x = noise
    for k in range(steps):
        x = x - velocity(x, 1.0 - k / steps) / steps
    return x


def guided_velocity(velocity: Velocity, guidance: Guidance, shifts: list[Tensor]) -> Velocity:
    """The velocity with guidance of the flow's end point (Black et al., arXiv:2506.07339).

    The end point predicted from x is x - t v. The error there is propagated back through the network to x and weighted
    as in the pseudo-inverse guidance of that paper, whose time is 1 - t here. What is added is appended to `shifts`.
    """

    def velocity_with_guidance(x: Tensor, t: float) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            v = velocity(x, t)
            end = x - t * v
            (gradient,) = torch.autograd.grad(end, x, guidance(end.detach()))
        tau = 1.0 - t
        limit = MAX_GUIDANCE_WEIGHT
        weight = min(limit, (tau**2 + t**2) / (tau * t)) if tau > 0.0 else limit
        shifts.append(-weight * gradient)
        return v.detach() + shifts[-1]

    return velocity_with_guidance


@action_heads.register("flow")
class FlowHead(ActionHead):
    """Flow matching: x_t = t noise + (1 - t) action, and the network predicts its velocity, noise - action.

    All horizons share noise and time; their velocities are mixed at every step, and one common x is integrated.
    Grippers are not diffused: their columns of x are zero, their readout is the value itself, and the last step's value
    is used.
    """

    needs_noise: ClassVar[bool] = True
    frequencies: Tensor

    def __init__(self, encoding: ActionEncoding, width: int, config: NetworkConfig) -> None:
        """Add the input projection, the time embedding and the readouts."""
        super().__init__(encoding, width, config)
        self.euler_steps = config.euler_steps
        self.action_in = nn.Linear(encoding.config.count, width)
        self.time_embedding = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.readout = Readout(width, self.gripper)
        half = width // 2
        # Periods of 12 to 0.012 of [0, 1].
        frequencies = torch.exp(torch.linspace(math.log(0.5), math.log(500.0), half))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def query_at(self, x: Tensor, t: Tensor) -> Tensor:
        """Action tokens that contain x (B, S, J) at time t (B,)."""
        angle = t[:, None] * self.frequencies
        time = self.time_embedding(torch.cat([angle.sin(), angle.cos()], dim=1))
        return self.query(len(x)) + self.action_in(x.masked_fill(self.gripper, 0.0)) + time[:, None]

    def read(self, hidden: Tensor) -> Tensor:
        """See `ActionHead.read`: velocities, and values of grippers."""
        return self.readout(hidden).float()

    def train_pass(self, forward: ForwardPass, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `ActionHead.train_pass`; times are 0.001 + 0.999 Beta(1.5, 1), mostly near the noise, as in openpi."""
        action = self.encoding.normalise(steps)
        noise = torch.randn_like(action)
        t = 0.001 + 0.999 * torch.rand(len(action), device=action.device) ** (1.0 / 1.5)
        x = t[:, None, None] * noise + (1.0 - t[:, None, None]) * action
        outputs, weights = forward(self.query_at(x, t))
        return outputs, weights, torch.where(self.gripper, action, noise - action)

    def errors(self, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """See `ActionHead.errors`; rows are steps."""
        error = output - target
        return (torch.where(self.gripper, error.abs(), error**2) * weights).mean(dim=-1)

    def decode(self, forward: ForwardPass, noise: Tensor, guidance: Guidance | None = None) -> DecodedActions:
        """See `ActionHead.decode`.

        The output of a single horizon is the noise integrated along that horizon's own velocities.
        """
        velocities: list[Tensor] = []
        shifts: list[Tensor] = []
        last: list[Tensor] = []

        def velocity(x: Tensor, t: float) -> Tensor:
            outputs, weights = forward(self.query_at(x, torch.full((len(x),), t, device=x.device)))
            fused = self.fuse(outputs, weights)
            velocities.append(outputs.detach())
            last[:] = [weights.detach(), fused.detach(), outputs.detach()]
            return fused

        field = guided_velocity(velocity, guidance, shifts) if guidance else velocity
        x = integrate_euler(field, noise, self.euler_steps)
        weights, fused, outputs = last
        own = noise[:, None] - torch.stack(velocities).mean(dim=0)
        if shifts:
            own = own - torch.stack(shifts).mean(dim=0)[:, None]
        mixture, horizons = torch.where(self.gripper, fused, x), torch.where(self.gripper, outputs, own)
        return DecodedActions(self.encoding.denormalise(mixture), self.encoding.denormalise(horizons), weights)


@action_heads.register("beast_flow")
class BeastFlowHead(FlowHead):
    """Flow matching on the control points of a B-spline."""

    predicts_control_points: ClassVar[bool] = True
