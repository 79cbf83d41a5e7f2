"""Transformer layers: full attention of tokens to each other and, optionally, to context tokens.

The context is encoded once. Each layer computes its keys and values once and reuses them in every later pass: in each
Euler step of a flow, and for each horizon of a mixture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

KeyValueCache = list[tuple[Tensor, Tensor]]
"""Per layer, keys and values of the context, each (B, heads, P, width / heads)."""


class TransformerLayer(nn.Module):
    """Pre-norm attention over context and tokens together, then a feed-forward network."""

    def __init__(self, width: int, heads: int, context: bool) -> None:
        """Build; `context`: whether there are context tokens to attend to."""
        super().__init__()
        self._heads = heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.context_kv = nn.Linear(width, 2 * width) if context else None
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, L, parts * width) to `parts` times (B, heads, L, width / heads)."""
        return x.unflatten(2, (parts, self._heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def cache(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the context (B, P, width)."""
        if self.context_kv is None:
            raise RuntimeError("this layer was built without context.")
        key, value = self._split(self.context_kv(context), 2)
        return key, value

    def forward(self, x: Tensor, cache: tuple[Tensor, Tensor] | None, mask: Tensor | None) -> Tensor:
        """Tokens (B, L, width) to the same shape; `mask` (B, 1, 1, P + L) is true where a key is attended to."""
        query, key, value = self._split(self.qkv(self.attention_norm(x)), 3)
        if cache is not None:
            key, value = torch.cat([cache[0], key], dim=2), torch.cat([cache[1], value], dim=2)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.attention_out(attended.transpose(1, 2).flatten(2))
        return x + self.feed_forward(self.feed_forward_norm(x))


class Transformer(nn.Module):
    """A stack of layers; full attention, nothing causal."""

    def __init__(self, width: int, layers: int, heads: int, context: bool = True) -> None:
        """Build `layers` layers."""
        super().__init__()
        self.layers = nn.ModuleList([TransformerLayer(width, heads, context) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def cache(self, context: Tensor, repeats: int = 1) -> KeyValueCache:
        """Keys and values of the context (B, P, width), each sample `repeats` times in a row: sample-major."""
        pairs = (layer.cache(context) for layer in self.layers)
        return [(k.repeat_interleave(repeats, 0), v.repeat_interleave(repeats, 0)) for k, v in pairs]

    def forward(self, tokens: Tensor, cache: KeyValueCache | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, L, width) to features of the same shape; arguments as in `TransformerLayer.forward`."""
        for n, layer in enumerate(self.layers):
            tokens = layer(tokens, cache[n] if cache is not None else None, mask)
        return self.norm(tokens)
