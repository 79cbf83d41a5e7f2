"""Mixture of horizons (arXiv:2511.19433): one transformer answers for several chunk lengths, a gate mixes them.

Each horizon h sees only the first h steps of the chunk; keys beyond are masked. All horizons are one batch of
B N rows, sample-major: row b N + n is sample b under horizon n. One horizon alone is a mixture of one, so there is no
second way to run a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_ros.core.errors import ConfigError


def activity(horizons: tuple[int, ...], steps: int) -> Tensor:
    """Which horizon reaches which step, shape (N, S), bool.

    Raises:
        ConfigError: The last horizon is not the whole chunk.
    """
    if not horizons or horizons[-1] != steps:
        raise ConfigError(f"the last of the horizons must be the {steps} steps of the head; got {horizons}.")
    return torch.arange(steps)[None, :] < torch.tensor(horizons)[:, None]


class Mixture(nn.Module):
    """The masks and the gate.

    Attributes:
        horizons: Increasing, in steps (N of them).
        active: Shape (N, S), bool.
    """

    active: Tensor

    def __init__(self, width: int, steps: int, horizons: tuple[int, ...], fusion: str) -> None:
        """Build for `steps` steps; no horizons means one, the whole chunk."""
        super().__init__()
        self.horizons = horizons or (steps,)
        self.register_buffer("active", activity(self.horizons, steps), persistent=False)
        self.gate = nn.Linear(width, 1) if fusion == "gate" and self.count > 1 else None

    @property
    def count(self) -> int:
        """N."""
        return len(self.horizons)

    def mask(self, batch: int, prefix: int, slots_per_step: int) -> Tensor | None:
        """Keys each row may see, shape (B N, 1, 1, P + slots), or None for all: the prefix, and its own steps."""
        if self.count == 1:
            return None
        own = self.active.repeat_interleave(slots_per_step, dim=1)
        seen = torch.cat([own.new_ones(self.count, prefix), own], dim=1)
        return seen.repeat(batch, 1)[:, None, None, :]

    def weights(self, hidden: Tensor) -> Tensor:
        """Weights of the horizons at each step.

        Args:
            hidden: Features, shape (B, N, slots, width); slots of one step lie side by side.

        Returns:
            Shape (B, N, S): not negative, exactly 0 beyond a horizon, and 1 in sum at each step.
        """
        logits = hidden.new_zeros(len(hidden), *self.active.shape)
        if self.gate is not None:
            logits = self.gate(hidden)[..., 0].unflatten(2, (self.active.shape[1], -1)).mean(dim=3)
        return logits.masked_fill(~self.active, -torch.inf).softmax(dim=1)


def balance_loss(weights: Tensor, horizons: tuple[int, ...]) -> Tensor:
    """How unevenly the gate uses its horizons (eq. 17): 0 for evenly; n for one alone out of n.

    The chunk is cut at the horizons. In each piece, the mean weight of each horizon that reaches it, over batch and
    steps, gives a squared coefficient of variation (unbiased variance); pieces with one horizon do not count.

    Args:
        weights: Shape (B, N, S).
        horizons: As in `Mixture`.
    """
    pieces, begin = [], 0
    for n, end in enumerate(horizons[:-1]):
        share = weights[:, n:, begin:end].mean(dim=(0, 2))
        pieces.append(share.var() / share.mean() ** 2)
        begin = end
    return torch.stack(pieces).mean() if pieces else weights.new_zeros(())


def horizon_loss(errors: Tensor, reach: Tensor) -> Tensor:
    """The sum over horizons of the mean error within each (eq. 15), shape (B,).

    Args:
        errors: Shape (B, N, R).
        reach: Which row a horizon answers for, shape (N, R), bool; a horizon that answers for none adds nothing.
    """
    counts = reach.sum(dim=1).clamp_min(1)
    return (errors.masked_fill(~reach, 0.0).sum(dim=2) / counts).sum(dim=1)


def mix(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over horizons: (B, N, S, J) and (B, N, S) to (B, S, J)."""
    return torch.einsum("bnsj,bns->bsj", values, weights)


def choose(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted median over horizons, for what must not be averaged; shapes as in `mix`.

    It is one of the values given: the least with half of the weight at or below it.
    """
    ordered, order = values.sort(dim=1)
    below = weights[..., None].expand_as(values).gather(1, order).cumsum(dim=1)
    first = (below < 0.5 - 1e-6).sum(dim=1, keepdim=True)
    return ordered.gather(1, first)[:, 0]
