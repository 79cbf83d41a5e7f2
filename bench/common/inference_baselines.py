"""What `inference_speed.py` compares with: ACT's ResNet-18, an autoregressive decoder, and LeRobot's ACT itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.common.timing import Timed
from vla_ros.policy.encoders.base import ImageEncoder, image_encoders
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.network.model import VlaNetwork


class _ResidualBlock(nn.Module):
    """Two convolutions with a skip connection; batch normalisation is folded into them, as at inference."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same size, or half of it with stride 2."""
        return torch.relu_(self.second(torch.relu_(self.first(x))) + self.skip(x))


@image_encoders.register("bench_resnet18")
class ResNet18(ImageEncoder):
    """The convolutions of ACT: all cameras in one batch, one token per position of the last feature map."""

    every_camera: ClassVar[bool] = True
    features = 512

    def __init__(self, config: ModelConfig) -> None:
        """Build with random weights: an inference time does not depend on them."""
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, 3)
        blocks: list[nn.Module] = [_ResidualBlock(64, 64, 1), _ResidualBlock(64, 64, 1)]
        for width in (128, 256, 512):
            blocks += [_ResidualBlock(width // 2, width, 2), _ResidualBlock(width, width, 1)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: list[Tensor], text: Tensor | None) -> tuple[Tensor, None]:
        """See `Backbone.forward`."""
        x = torch.relu_(self.stem(torch.cat(images)))
        x = self.blocks(functional.max_pool2d(x, 3, 2, 1))
        tokens = x.flatten(2).transpose(1, 2).unflatten(0, (len(images), -1))
        return tokens.transpose(0, 1).flatten(1, 2), None


class Autoregressive(nn.Module):
    """The same layers, one token after the other: each attends to the context and to the tokens before it.

    Keys and values of earlier tokens are cached, so that a pass computes one token only. Weights and number of tokens
    are those of the parallel decoder.

    Attributes:
        passes: Number of passes of the transformer so far.
    """

    def __init__(self, network: VlaNetwork, bins: int = 256) -> None:
        """Use transformer and head of `network`, and add a table of token embeddings."""
        super().__init__()
        self.network, self.passes = network, 0
        self.embedding = nn.Embedding(bins, network.head.queries.shape[1])

    def next_features(self, x: Tensor, cache: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Features (B, 1, width) of one more token x (B, 1, width); its keys and values are appended to `cache`."""
        self.passes += 1
        for n, layer in enumerate(self.network.transformer.layers):
            query, key, value = layer._split(layer.qkv(layer.attention_norm(x)), 3)
            key, value = torch.cat([cache[n][0], key], dim=2), torch.cat([cache[n][1], value], dim=2)
            cache[n] = key, value
            attended = functional.scaled_dot_product_attention(query, key, value)
            x = x + layer.attention_out(attended.transpose(1, 2).flatten(2))
            x = x + layer.feed_forward(layer.feed_forward_norm(x))
        return self.network.transformer.norm(x)

    def forward(self, context: Tensor) -> Tensor:
        """The most probable tokens, shape (B, T)."""
        cache = self.network.transformer.cache(context)
        queries = self.network.head.queries
        x, tokens = queries[None, :1].expand(len(context), -1, -1), []
        for k in range(len(queries)):
            token = self.network.head.arm_classifier(self.next_features(x, cache)).argmax(dim=-1)
            tokens.append(token)
            if k + 1 < len(queries):
                x = self.embedding(token) + queries[k + 1]
        return torch.cat(tokens, dim=1)


class LeRobotProcess:
    """A process of LeRobot's environment that times its own inferences on request; see `lerobot_act.py`.

    Attributes:
        facts: Version of torch, FLOPs of a forward pass, number of parameters.
    """

    def __init__(self, python: Path, sizes: dict[str, int]) -> None:
        """Start the process and wait until its first inference is done."""
        file = Path(__file__).with_name("lerobot_act.py")
        # A clean environment: our PYTHONPATH would put our packages before LeRobot's.
        self._process = subprocess.Popen(
            [str(python), str(file)],
            env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._write(json.dumps(sizes))
        self.facts: dict[str, Any] = self._read()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"LeRobot's process ended with status {self._process.wait()}.")
        return json.loads(line)

    def timed(self, part: str) -> Timed:
        """Time one "forward" pass, or one "complete" inference from uint8 images to actions."""
        self._write(part)
        cpu, wall = self._read()
        return cpu, wall

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
