"""The optimisation: loss, AdamW, warm-up and cosine, averaged weights. No files, no clock, no simulator."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.policy.build import make_model
from vla_ros.policy.model import ModelConfig
from vla_ros.train.batches import Batch, BatchMaker
from vla_ros.train.config import TrainConfig


def has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class Learner:
    """A model under training, and the average of its weights that will be kept."""

    def __init__(self, maker: BatchMaker, config: TrainConfig, seed: int) -> None:
        """Build the network from the data's statistics.

        Args:
            maker: Source of batches; its data set must not be empty.
            config: The run.
            seed: Of the weights.
        """
        info = maker.data.info
        if info is None:
            raise ValueError("no demonstrations to learn from.")
        torch.manual_seed(seed)
        shape = ModelConfig(
            joints=info.joints,
            cameras=config.cameras,
            image_size=info.image_size,
            auxiliary=len(info.auxiliary) if config.auxiliary else 0,
            spline=config.spline,
            actor=config.actor,
            **vars(config.network),
        )
        self.config, self.maker = config, maker
        self.model = make_model(shape).to(memory_format=torch.channels_last)
        self.model.set_statistics(maker.joints, maker.labels)
        self.average = make_model(shape)
        self.average.load_state_dict(self.model.state_dict())
        self.average.eval().requires_grad_(False)
        truth = maker.truth
        self._truth_mean = torch.from_numpy(truth.mean(axis=0))
        self._truth_std = torch.from_numpy(np.maximum(truth.std(axis=0), 1e-3))
        joint_weights = np.array([config.joint_weights.get(name, 1.0) for name in info.joints])
        self._weights = self.model.loss_weights(maker.joints, maker.labels, joint_weights, config.late)
        self._bf16 = config.bf16 == "on" or (config.bf16 == "auto" and has_bf16())
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=config.lr)
        self.step_count = 0

    def rate(self, progress: float) -> float:
        """Learning rate after `progress` (0 to 1) of the run."""
        warm = min(1.0, (self.step_count + 1) / max(1, self.config.warmup))
        return self.config.lr * warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress)))))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Total loss of a batch, and its parts for the display."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            features = self.model.features(batch.images, batch.joints, batch.words)
        features = features.float()
        action = self.model.loss(features, batch.joints, batch.labels, self._weights).mean()
        total, parts = action, {"action": float(action.detach())}
        if self.model.auxiliary is not None:
            wanted = (batch.truth - self._truth_mean) / self._truth_std
            aside = functional.smooth_l1_loss(self.model.auxiliary(self.model.summary(features)), wanted, beta=0.1)
            total = total + self.config.auxiliary * aside
            parts["truth"] = float(aside.detach())
        return total, parts

    def step(self, progress: float) -> dict[str, float]:
        """One optimizer step on the next batch; `progress` of the run sets the learning rate."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate(progress)
        total, parts = self.loss(self.maker.make(self.config.batch))
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self.step_count += 1
        self._average()
        return parts

    def _average(self) -> None:
        # Early on the average must not remember the start.
        decay = min(self.config.ema, (1.0 + self.step_count) / (10.0 + self.step_count))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1.0 - decay)
