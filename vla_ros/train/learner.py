"""Optimisation: loss, AdamW, warm-up and cosine schedule, averaged weights. No files, no clock, no simulator.

It is the same on one process and on many (`distributed.py`). The state that determines the following steps can be read
and restored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.core.errors import ConfigError
from vla_ros.policy.network.model import VlaNetwork
from vla_ros.train.batches import Batch, BatchMaker
from vla_ros.train.config import TrainConfig
from vla_ros.train.distributed import SingleProcess, full_tensor, shard_like


def has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


class Objective(nn.Module):
    """The loss as one module, because DDP and FSDP act on `forward` only."""

    weights: Tensor
    auxiliary_mean: Tensor
    auxiliary_std: Tensor

    def __init__(
        self, model: VlaNetwork, auxiliary: float, bf16: bool, weights: Tensor, ground_truth: np.ndarray
    ) -> None:
        """Take the network.

        Args:
            model: The network.
            auxiliary: Weight of the loss on the ground truth.
            bf16: Compute the image encoders in bfloat16.
            weights: Of `VlaNetwork.loss_weights`.
            ground_truth: Shape (S, A); its standard deviation is the unit of the auxiliary loss.
        """
        super().__init__()
        self.model, self._auxiliary, self._bf16 = model, auxiliary, bf16
        mean, std = ground_truth.mean(axis=0), np.maximum(ground_truth.std(axis=0), 1e-3)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("auxiliary_mean", torch.from_numpy(mean), persistent=False)
        self.register_buffer("auxiliary_std", torch.from_numpy(std), persistent=False)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss of a batch, and its parts."""
        with torch.autocast(batch.joints.device.type, torch.bfloat16, enabled=self._bf16):
            context = self.model.encode(batch.images, batch.joints, batch.instructions)
        context = context.float()
        action = self.model.loss(context, batch.joints, batch.labels, self.weights).mean()
        total, parts = action, {"action": action.detach()}
        if self.model.auxiliary is not None:
            target = (batch.ground_truth - self.auxiliary_mean) / self.auxiliary_std
            predicted = self.model.auxiliary(self.model.pooled(context))
            auxiliary = functional.smooth_l1_loss(predicted, target, beta=0.1)
            total = total + self._auxiliary * auxiliary
            parts["auxiliary"] = auxiliary.detach()
        return total, parts


class Learner:
    """A network in training, and the average of its weights that becomes the checkpoint.

    Attributes:
        model: The network.
        average: The network with averaged weights.
        step_count: Optimizer steps so far.
        maker: Source of batches.
        config: The settings.
        distributed: The processes that share the work.
    """

    def __init__(
        self, maker: BatchMaker, config: TrainConfig, seed: int, distributed: SingleProcess | None = None
    ) -> None:
        """Build the network with the statistics of the data.

        Args:
            maker: Source of batches; its data set must not be empty.
            config: The settings.
            seed: Of the weights.
            distributed: The processes that share the work; None for this process alone.

        Raises:
            ConfigError: A batch cannot be shared evenly, or a joint weight is for an unknown joint.
        """
        info = maker.data.info
        if info is None:
            raise ValueError("there are no demonstrations to train on.")
        self.distributed = d = distributed or SingleProcess()
        if config.batch % d.world_size:
            raise ConfigError(
                f"a batch of {config.batch} cannot be shared by {d.world_size} processes; choose a multiple."
            )
        joint_weights = np.array(config.weights_of(info.joints))
        torch.manual_seed(seed)
        auxiliary = len(info.ground_truth_names) if config.auxiliary else 0
        model_config = config.model(info.joints, info.image_size, auxiliary)
        self.config, self.maker = config, maker
        # Channels last is fast on a CPU, but cannot be sharded.
        self.model = VlaNetwork(model_config)
        self.model.to(memory_format=torch.contiguous_format if d.sharded else torch.channels_last)
        self.model.fit_statistics(maker.joints, maker.labels, maker.instructions)
        self.average = VlaNetwork(model_config)
        self.average.load_state_dict(self.model.state_dict())
        self.average.eval().requires_grad_(False)
        weights = self.model.loss_weights(maker.joints, maker.labels, joint_weights, config.late)
        bf16 = config.bf16 == "on" or (config.bf16 == "auto" and (d.device.type == "cuda" or has_bf16()))
        self._objective = Objective(self.model, config.auxiliary, bf16, weights, maker.ground_truth).to(d.device)
        self.average.to(d.device)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._parallel, self._optimizer = d.prepare(self._objective, torch.optim.AdamW(groups, lr=config.lr))
        # Sharded weights cannot be averaged into a network that is not sharded.
        averaged = self.model.parameters() if d.sharded else self.average.parameters()
        self._means = [p.detach().clone() if d.sharded else p for p in averaged]
        if d.world_size > 1:
            torch.manual_seed(seed + 7919 * d.rank)  # noise of each process
        self.step_count = 0

    def rate(self, progress: float) -> float:
        """Learning rate after `progress` (0 to 1) of the run."""
        warm = min(1.0, (self.step_count + 1) / max(1, self.config.warmup))
        return self.config.lr * warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress)))))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Total loss of a batch, and its parts as numbers."""
        total, parts = self._parallel(batch.to(self.distributed.device))
        return total, self.distributed.mean(parts)

    def step(self, progress: float) -> dict[str, float]:
        """One optimizer step on the next batch; `progress` of the run determines the learning rate.

        Returns:
            The parts of the loss.

        Raises:
            ConfigError: The loss or its gradient is NaN or infinite; weights and average are not changed.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate(progress)
        total, parts = self.loss(self.maker.make(self.config.batch))
        self._optimizer.zero_grad(set_to_none=True)
        self.distributed.backward(total)
        norm = self.distributed.clip_gradients(list(self._parallel.parameters()), 1.0)
        if not all(map(math.isfinite, (norm, *parts.values()))):
            raise ConfigError(
                f"step {self.step_count + 1} has a loss of {parts['action']:g} and a gradient norm of {norm:g}; "
                f"training ends. Try a lower lr than {self.config.lr:g} or a longer warmup."
            )
        self._optimizer.step()
        self.step_count += 1
        self._average()
        return parts

    def _average(self) -> None:
        # A shorter average at the beginning, so that it forgets the initial weights.
        decay = min(self.config.ema, (1.0 + self.step_count) / (10.0 + self.step_count))
        with torch.no_grad():
            for mean, value in zip(self._means, self.model.parameters(), strict=True):
                mean.lerp_(value, 1.0 - decay)

    def collect(self) -> None:
        """Update `average` where the weights are sharded; every process must call this."""
        if self.distributed.sharded:
            with torch.no_grad():
                for target, mean in zip(self.average.parameters(), self._means, strict=True):
                    target.copy_(full_tensor(mean))

    # ---- saving and resuming ---------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain data for `restore`; every process must call this.

        Weights, their average, the state of the optimizer, the statistics of the data, the order of the following
        frames, and the states of all random number generators: numpy's, and torch's on the CPU.
        """
        tensors: dict[str, Tensor] = {}
        for key, value, mean in zip(self._names(), self.model.parameters(), self._means, strict=True):
            tensors |= {f"model.{key}": full_tensor(value), f"average.{key}": full_tensor(mean)}
        tensors |= {f"statistics.{key}": value for key, value in self._objective.named_buffers()}
        for number, parameter in enumerate(self._parameters()):
            for key, value in self._optimizer.state[parameter].items():
                tensors[f"optimizer.{number}.{key}"] = full_tensor(value)
        order, rng_state = self.maker.state()
        tensors |= {"order": torch.from_numpy(order), "torch_rng": self.distributed.all_gather(torch.get_rng_state())}
        return tensors, {"step": self.step_count, "rng": rng_state}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Continue from a `state`, with the same data.

        Raises:
            ConfigError: It is incomplete, or belongs to another network.
        """
        try:
            self._restore(tensors)
            self.maker.restore(tensors["order"].numpy(), dict(plain["rng"]))
            self.step_count = int(plain["step"])
            # A copy: torch 2.13 crashes on a row of a larger tensor.
            torch.set_rng_state(tensors["torch_rng"][self.distributed.rank].clone())
        except (KeyError, IndexError, RuntimeError, ValueError) as error:
            text = str(error).splitlines()[0]
            raise ConfigError(f"the state does not fit this network ({text}); --no-resume starts a new run.") from None

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for key, value, mean in zip(self._names(), self.model.parameters(), self._means, strict=True):
                value.copy_(shard_like(tensors[f"model.{key}"], value))
                mean.copy_(shard_like(tensors[f"average.{key}"], mean))
            for key, buffer in self._objective.named_buffers():
                buffer.copy_(tensors[f"statistics.{key}"])
            for key, buffer in self.average.named_buffers():
                buffer.copy_(tensors[f"statistics.model.{key}"])
        for number, parameter in enumerate(self._parameters()):
            prefix = f"optimizer.{number}."
            state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            self._optimizer.state[parameter] = {
                key: value if value.ndim == 0 else shard_like(value, parameter) for key, value in state.items()
            }

    def _names(self) -> list[str]:
        return [name for name, _ in self.model.named_parameters()]

    def _parameters(self) -> list[nn.Parameter]:
        """In the optimizer's order."""
        return [p for group in self._optimizer.param_groups for p in group["params"]]
