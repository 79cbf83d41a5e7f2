"""Mixture of horizons (arXiv:2511.19433): one transformer predicts chunks of several lengths, a gate mixes them.

Horizon h consists of the first h steps of the chunk; attention to later keys is masked. All horizons are one batch of
B N rows, sample-major: row b N + n is sample b under horizon n. A single horizon is a mixture of one, so that every
head has one code path.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_ros.core.errors import ConfigError


def active_steps(horizons: tuple[int, ...], steps: int) -> Tensor:
    """Which horizon contains which step, shape (N, S), bool.

    Raises:
        ConfigError: The last horizon is not the complete chunk.
    """
    if not horizons or horizons[-1] != steps:
        raise ConfigError(
            f"the last of mixture.horizons must be all {steps} steps of the head (control points of a B-spline head, "
            f'waypoints of the others); got {list(horizons)}. "auto" fits every head.'
        )
    return torch.arange(steps)[None, :] < torch.tensor(horizons)[:, None]


class Mixture(nn.Module):
    """The attention masks and the gate.

    Attributes:
        horizons: Increasing, in steps (N of them).
        active: Shape (N, S), bool.
    """

    active: Tensor

    def __init__(self, width: int, steps: int, horizons: tuple[int, ...], fusion: str) -> None:
        """Build for `steps` steps; no horizons means a single one, the complete chunk."""
        super().__init__()
        self.horizons = horizons or (steps,)
        self.register_buffer("active", active_steps(self.horizons, steps), persistent=False)
        self.gate = nn.Linear(width, 1) if fusion == "gate" and self.count > 1 else None

    @property
    def count(self) -> int:
        """N."""
        return len(self.horizons)

    def attention_mask(self, batch: int, context: int, tokens_per_step: int) -> Tensor | None:
        """Keys that each row attends to, shape (B N, 1, 1, P + T): the P context tokens and its own steps.

        Returns:
            True where a key is attended to; None for all keys.
        """
        if self.count == 1:
            return None
        own = self.active.repeat_interleave(tokens_per_step, dim=1)
        visible = torch.cat([own.new_ones(self.count, context), own], dim=1)
        return visible.repeat(batch, 1)[:, None, None, :]

    def weights(self, hidden: Tensor) -> Tensor:
        """Weights of the horizons at each step.

        Args:
            hidden: Features, shape (B, N, T, width); the tokens of one step are adjacent.

        Returns:
            Shape (B, N, S): not negative, exactly 0 beyond the end of a horizon, with sum 1 at each step.
        """
        logits = hidden.new_zeros(len(hidden), *self.active.shape)
        if self.gate is not None:
            logits = self.gate(hidden)[..., 0].unflatten(2, (self.active.shape[1], -1)).mean(dim=3)
        return logits.masked_fill(~self.active, -torch.inf).softmax(dim=1)


def balance_loss(weights: Tensor, horizons: tuple[int, ...]) -> Tensor:
    """How unevenly the gate uses the horizons (eq. 17): 0 for evenly, n for a single one of n.

    The chunk is cut at the ends of the horizons. In each piece, the mean weights of the horizons that contain it, over
    batch and steps, give a squared coefficient of variation (unbiased variance). Pieces with one horizon do not count.

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


def horizon_loss(errors: Tensor, rows: Tensor) -> Tensor:
    """The sum over horizons of the mean error within each (eq. 15), shape (B,).

    Args:
        errors: Shape (B, N, R).
        rows: Rows that belong to each horizon, shape (N, R), bool; a horizon without rows adds nothing.
    """
    counts = rows.sum(dim=1).clamp_min(1)
    return (errors.masked_fill(~rows, 0.0).sum(dim=2) / counts).sum(dim=1)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over horizons: (B, N, S, J) and (B, N, S) to (B, S, J)."""
    return torch.einsum("bnsj,bns->bsj", values, weights)


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted median over horizons, for joints that must not be averaged; shapes as in `weighted_mean`.

    It is one of the values given: the smallest with half of the weight at or below it.
    """
    ordered, order = values.sort(dim=1)
    below = weights[..., None].expand_as(values).gather(1, order).cumsum(dim=1)
    first = (below < 0.5 - 1e-6).sum(dim=1, keepdim=True)
    return ordered.gather(1, first)[:, 0]
