"""The action transformer: slots that all attend to each other and to what is seen.

What is seen (the prefix) is encoded once. Each layer turns it into keys and values once; every later pass, be it
another Euler step of a flow or another horizon of a mixture, uses these again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

Memory = list[tuple[Tensor, Tensor]]
"""Per layer, keys and values of the prefix, each (B, heads, P, width / heads)."""


class Layer(nn.Module):
    """Pre-norm attention over prefix and slots together, then a feed-forward net."""

    def __init__(self, width: int, heads: int, remembers: bool) -> None:
        """Build; `remembers`: whether there is a prefix beside the slots."""
        super().__init__()
        self._heads = heads
        self.norm, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.memory = nn.Linear(width, 2 * width) if remembers else None
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, L, parts * width) to `parts` times (B, heads, L, width / heads)."""
        return x.unflatten(2, (parts, self._heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def remember(self, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the prefix (B, P, width)."""
        if self.memory is None:
            raise RuntimeError("this layer was built without a prefix.")
        key, value = self._split(self.memory(prefix), 2)
        return key, value

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor] | None, mask: Tensor | None) -> Tensor:
        """Slots (B, L, width) to the same; `mask` (B, 1, 1, P + L) is true where a key may be seen."""
        query, key, value = self._split(self.qkv(self.norm(x)), 3)
        if memory is not None:
            key, value = torch.cat([memory[0], key], dim=2), torch.cat([memory[1], value], dim=2)
        heard = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.out(heard.transpose(1, 2).flatten(2))
        return x + self.feed(self.after(x))


class ActionTransformer(nn.Module):
    """A stack of layers; full attention, nothing causal."""

    def __init__(self, width: int, layers: int, heads: int, remembers: bool = True) -> None:
        """Build `layers` layers."""
        super().__init__()
        self.layers = nn.ModuleList([Layer(width, heads, remembers) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def remember(self, prefix: Tensor, times: int = 1) -> Memory:
        """Keys and values of the prefix (B, P, width), each sample `times` times in a row: sample-major."""
        pairs = (layer.remember(prefix) for layer in self.layers)
        return [(k.repeat_interleave(times, 0), v.repeat_interleave(times, 0)) for k, v in pairs]

    def forward(self, slots: Tensor, memory: Memory | None = None, mask: Tensor | None = None) -> Tensor:
        """Slots (B, L, width) to features of the same shape; arguments as in `Layer.forward`."""
        for n, layer in enumerate(self.layers):
            slots = layer(slots, memory[n] if memory is not None else None, mask)
        return self.norm(slots)
