"""Normalises instruction embeddings by the statistics of the training's instructions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

MIN_SCALE = 1e-3
"""Embeddings with a smaller root mean square deviation are equal up to rounding; those of instructions that differ in
one word have about a hundred times as much [1]."""


class InstructionNormaliser(nn.Module):
    """Subtracts the mean of the training's embeddings and scales the rest to unit root mean square.

    The embeddings of two instructions that differ in one word are nearly equal (cosines 0.81 and 0.85 for "red" and
    "blue", `hash` and `minilm`); without normalisation a network learns the difference late or never. The embedding of
    a single instruction is left as it is.
    """

    mean: Tensor
    gain: Tensor

    def __init__(self, size: int) -> None:
        """Start as the identity for embeddings of `size` numbers, until `fit`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("gain", torch.ones(()))

    def fit(self, embeddings: np.ndarray) -> None:
        """Take mean and scale from embeddings, shape (S, W), each distinct one counted once; not for token numbers."""
        distinct = np.unique(embeddings, axis=0)
        if len(distinct) < 2 or not np.issubdtype(embeddings.dtype, np.floating):
            return
        mean = distinct.mean(axis=0)
        self.mean.copy_(torch.from_numpy(mean))
        self.gain.fill_(1.0 / max(MIN_SCALE, float(np.sqrt(np.mean((distinct - mean) ** 2)))))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Normalised embeddings (B, W); token numbers unchanged."""
        return (embeddings - self.mean) * self.gain if embeddings.is_floating_point() else embeddings
