"""What `speed.py` compares with: a ResNet-18 under our transformer, and an autoregressive decoder of its size."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.policy.encoders.keypoint import encoder
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.network.model import ActorModel

Timed = tuple[float, float]
"""Processor time and wall time [s]."""


class _Block(nn.Module):
    """Two convolutions and a way past them; batch norm is folded into them, as it is at inference."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.two = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.past = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same or half of it."""
        return torch.relu_(self.two(torch.relu_(self.one(x))) + self.past(x))


@encoder("bench_resnet18")
class ResNet18(nn.Module):
    """The convolutions ACT has, all cameras in one batch, one token per cell of the last map."""

    every_camera = True
    features = 512

    def __init__(self, config: ModelConfig) -> None:
        """Random weights: a time does not depend on them."""
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, 3)
        rows: list[nn.Module] = [_Block(64, 64, 1), _Block(64, 64, 1)]
        for width in (128, 256, 512):
            rows += [_Block(width // 2, width, 2), _Block(width, width, 1)]
        self.rows = nn.Sequential(*rows)

    def forward(self, images: list[Tensor], numbers: Tensor | None) -> tuple[Tensor, None]:
        """See `Backbone.forward`."""
        x = torch.relu_(self.stem(torch.cat(images)))
        x = self.rows(functional.max_pool2d(x, 3, 2, 1))
        tokens = x.flatten(2).transpose(1, 2).unflatten(0, (len(images), -1))
        return tokens.transpose(0, 1).flatten(1, 2), None


class Autoregressive(nn.Module):
    """The same layers, one token after the other: each attends to the prefix and to those before it.

    Keys and values of what was said are kept, so that a pass computes one token only; the weights and the number of
    tokens are those of the parallel decoder.
    """

    def __init__(self, actor: ActorModel, bins: int = 256) -> None:
        """Use the transformer and the head of `actor`, and add a table of tokens."""
        super().__init__()
        self.actor, self.passes = actor, 0
        self.table = nn.Embedding(bins, actor.places.shape[1])

    def _one(self, x: Tensor, memory: list[tuple[Tensor, Tensor]]) -> Tensor:
        self.passes += 1
        for n, layer in enumerate(self.actor.body.layers):
            query, key, value = layer._split(layer.qkv(layer.norm(x)), 3)
            key, value = torch.cat([memory[n][0], key], dim=2), torch.cat([memory[n][1], value], dim=2)
            memory[n] = key, value
            heard = functional.scaled_dot_product_attention(query, key, value)
            x = x + layer.out(heard.transpose(1, 2).flatten(2))
            x = x + layer.feed(layer.after(x))
        return self.actor.body.norm(x)

    def forward(self, prefix: Tensor) -> Tensor:
        """The most probable tokens, (B, slots)."""
        memory = self.actor.body.remember(prefix)
        places = self.actor.head.queries
        x, said = places[None, :1].expand(len(prefix), -1, -1), []
        for k in range(len(places)):
            token = self.actor.head.arm(self._one(x, memory)).argmax(dim=-1)
            said.append(token)
            if k + 1 < len(places):
                x = self.table(token) + places[k + 1]
        return torch.cat(said, dim=1)


class Peer:
    """A process of another environment that times itself when told to."""

    def __init__(self, python: Path, sizes: dict[str, int]) -> None:
        """Start it and wait until it is warm."""
        file = Path(__file__).with_name("speed_act.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        # Its environment is its own: ours would put our packages before its.
        self._process = subprocess.Popen(
            [str(python), str(file)], env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "HF_HUB_OFFLINE": "1"}, **pipes
        )
        self._say(json.dumps(sizes))
        self.facts = self._hear()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def _hear(self):
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of LeRobot ended with status {self._process.wait()}.")
        return json.loads(line)

    def timed(self, what: str) -> Timed:
        """One call of "forward" or "whole"."""
        self._say(what)
        cpu, wall = self._hear()
        return cpu, wall

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def timed(call: Callable[[], object]) -> Timed:
    """One call here."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def interleaved(calls: dict[str, Callable[[], Timed]], rounds: int) -> dict[str, Timed]:
    """Medians of processor and wall time [s]; each round calls all, in turn forwards and backwards."""
    seen: dict[str, list[Timed]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # warm, and not counted
    for k in range(rounds):
        for name in list(calls)[:: 1 if k % 2 else -1]:
            seen[name].append(calls[name]())
    print(f"  measured {', '.join(calls)}: {rounds} rounds", file=sys.stderr)
    return {n: (statistics.median(r[0] for r in v), statistics.median(r[1] for r in v)) for n, v in seen.items()}


def matmul_rate(rounds: int = 5, size: int = 768) -> float:
    """Floating-point operations per second of processor time of one thread, at best, of large matrices."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    return max(2 * size**3 / max(timed(lambda: a @ b)[0], 1e-9) for _ in range(rounds))
