"""Sentences at the scale a network learns from: what tells those of the training apart, and not what they share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

LEAST = 1e-3
"""Sentences that lie nearer than this, root mean square, are one sentence and rounding; those of one word less lie a
hundred times as far apart [1]."""


class Hear(nn.Module):
    """Takes off the mean of the training's sentences, and makes the rest of unit size.

    The vectors of two sentences that differ in one word are nearly the same (cosines 0.81 and 0.85 for "red" and
    "blue", `hash` and `minilm`): as they are, a network hears what is asked for late or never. Of a single sentence
    nothing is taken off.
    """

    mean: Tensor
    gain: Tensor

    def __init__(self, size: int) -> None:
        """Leave sentences of `size` numbers as they are, until `fit`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("gain", torch.ones(()))

    def fit(self, words: np.ndarray) -> None:
        """Take the mean and the size from sentences, shape (S, W), each counted once; token numbers have neither."""
        distinct = np.unique(words, axis=0)
        if len(distinct) < 2 or not np.issubdtype(words.dtype, np.floating):
            return
        mean = distinct.mean(axis=0)
        self.mean.copy_(torch.from_numpy(mean))
        self.gain.fill_(1.0 / max(LEAST, float(np.sqrt(np.mean((distinct - mean) ** 2)))))

    def forward(self, words: Tensor) -> Tensor:
        """Sentences (B, W), scaled; token numbers as they are."""
        return (words - self.mean) * self.gain if words.is_floating_point() else words
