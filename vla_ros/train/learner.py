"""The optimisation: loss, AdamW, warm-up and cosine, averaged weights. No files, no clock, no simulator.

The same on one process and on many (`machines.py`); what decides the steps to come can be taken out and put back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.core.errors import ConfigError
from vla_ros.policy.network.build import Model, make_model
from vla_ros.policy.network.config import ModelConfig
from vla_ros.train.batches import Batch, BatchMaker
from vla_ros.train.config import TrainConfig
from vla_ros.train.distributed import Machines, like, whole


def has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def shape_of(config: TrainConfig, joints: Sequence[str], image_size: int, auxiliary: int = 0) -> ModelConfig:
    """The network that these settings ask for.

    Raises:
        ConfigError: Sizes or names it cannot have.
    """
    rest: dict[str, Any] = {"spline": config.spline, "actor": config.actor, **vars(config.network)}
    return ModelConfig(tuple(joints), config.cameras, image_size, auxiliary=auxiliary, **rest)


class Objective(nn.Module):
    """What is minimised, as one module: DDP and FSDP act in `forward`, and see no other call."""

    weights: Tensor
    truth_mean: Tensor
    truth_std: Tensor

    def __init__(self, model: Model, auxiliary: float, bf16: bool, weights: Tensor, truth: np.ndarray) -> None:
        """`auxiliary` weighs the loss on `truth`, shape (S, A), in units of its spread; `weights` are the model's."""
        super().__init__()
        self.model, self._auxiliary, self._bf16 = model, auxiliary, bf16
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("truth_mean", torch.from_numpy(truth.mean(axis=0)), persistent=False)
        self.register_buffer("truth_std", torch.from_numpy(np.maximum(truth.std(axis=0), 1e-3)), persistent=False)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss of a batch, and its parts."""
        with torch.autocast(batch.joints.device.type, torch.bfloat16, enabled=self._bf16):
            features = self.model.features(batch.images, batch.joints, batch.words)
        features = features.float()
        action = self.model.loss(features, batch.joints, batch.labels, self.weights).mean()
        total, parts = action, {"action": action.detach()}
        if self.model.auxiliary is not None:
            wanted = (batch.truth - self.truth_mean) / self.truth_std
            aside = functional.smooth_l1_loss(self.model.auxiliary(self.model.summary(features)), wanted, beta=0.1)
            total = total + self._auxiliary * aside
            parts["truth"] = aside.detach()
        return total, parts


class Learner:
    """A model under training, and the average of its weights that will be kept."""

    def __init__(self, maker: BatchMaker, config: TrainConfig, seed: int, machines: Machines | None = None) -> None:
        """Build the network from the data's statistics.

        Args:
            maker: Source of batches; its data set must not be empty.
            config: The run.
            seed: Of the weights.
            machines: The processes that share the work; None for this one alone.

        Raises:
            ConfigError: A batch cannot be shared evenly, or a weight is for a joint that is none.
        """
        info = maker.data.info
        if info is None:
            raise ValueError("no demonstrations to learn from.")
        self.machines = m = machines or Machines()
        if config.batch % m.processes:
            raise ConfigError(
                f"a batch of {config.batch} cannot be shared by {m.processes} processes; choose a multiple."
            )
        joint_weights = np.array(config.weights_of(info.joints))
        torch.manual_seed(seed)
        auxiliary = len(info.auxiliary) if config.auxiliary else 0
        shape = shape_of(config, info.joints, info.image_size, auxiliary)
        self.config, self.maker = config, maker
        # What is quick on a CPU cannot be cut up.
        self.model = make_model(shape).to(memory_format=torch.contiguous_format if m.cut else torch.channels_last)
        self.model.set_statistics(maker.joints, maker.labels)
        self.model.hear.fit(maker.words)
        self.average = make_model(shape)
        self.average.load_state_dict(self.model.state_dict())
        self.average.eval().requires_grad_(False)
        weights = self.model.loss_weights(maker.joints, maker.labels, joint_weights, config.late)
        bf16 = config.bf16 == "on" or (config.bf16 == "auto" and (m.device.type == "cuda" or has_bf16()))
        self._objective = Objective(self.model, config.auxiliary, bf16, weights, maker.truth).to(m.device)
        self.average.to(m.device)
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self._whole, self._optimizer = m.prepare(self._objective, torch.optim.AdamW(groups, lr=config.lr))
        # Pieces of weights cannot be averaged into a model that is whole.
        kept = self.model.parameters() if m.cut else self.average.parameters()
        self._means = [p.detach().clone() if m.cut else p for p in kept]
        if m.processes > 1:
            torch.manual_seed(seed + 7919 * m.rank)  # noise of one's own
        self.step_count = 0

    def rate(self, progress: float) -> float:
        """Learning rate after `progress` (0 to 1) of the run."""
        warm = min(1.0, (self.step_count + 1) / max(1, self.config.warmup))
        return self.config.lr * warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress)))))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Total loss of a batch, and its parts for the display."""
        total, parts = self._whole(batch.to(self.machines.device))
        return total, self.machines.mean(parts)

    def step(self, progress: float) -> dict[str, float]:
        """One optimizer step on the next batch; `progress` of the run sets the learning rate.

        Raises:
            ConfigError: The loss or its gradient is NaN or infinite; weights and average are left as they were.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate(progress)
        total, parts = self.loss(self.maker.make(self.config.batch))
        self._optimizer.zero_grad(set_to_none=True)
        self.machines.backward(total)
        norm = self.machines.clip(list(self._whole.parameters()), 1.0)
        if not all(map(math.isfinite, (norm, *parts.values()))):
            raise ConfigError(
                f"step {self.step_count + 1} has a loss of {parts['action']:g} and a gradient of {norm:g}, which "
                f"teaches nothing; training is ended. A lower lr than {self.config.lr:g} or a longer warmup may do."
            )
        self._optimizer.step()
        self.step_count += 1
        self._average()
        return parts

    def _average(self) -> None:
        # Early on the average must not remember the start.
        decay = min(self.config.ema, (1.0 + self.step_count) / (10.0 + self.step_count))
        with torch.no_grad():
            for mean, value in zip(self._means, self.model.parameters(), strict=True):
                mean.lerp_(value, 1.0 - decay)

    def collect(self) -> None:
        """Bring `average` up to date where the weights are cut up; every process must ask."""
        if self.machines.cut:
            with torch.no_grad():
                for target, mean in zip(self.average.parameters(), self._means, strict=True):
                    target.copy_(whole(mean))

    # ---- going on later --------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain data from which `restore` goes on as if nothing had been; every process must ask.

        Weights, their average, the optimizer's memory, the data's statistics, the order of the frames to come, and
        the state of every source of chance: numpy's, and torch's on the CPU.
        """
        tensors: dict[str, Tensor] = {}
        for key, value, mean in zip(self._names(), self.model.parameters(), self._means, strict=True):
            tensors |= {f"model.{key}": whole(value), f"average.{key}": whole(mean)}
        tensors |= {f"statistics.{key}": value for key, value in self._objective.named_buffers()}
        for number, parameter in enumerate(self._parameters()):
            for key, value in self._optimizer.state[parameter].items():
                tensors[f"optimizer.{number}.{key}"] = whole(value)
        order, draws = self.maker.state()
        tensors |= {"order": torch.from_numpy(order), "chance": self.machines.gathered(torch.get_rng_state())}
        return tensors, {"step": self.step_count, "draws": draws}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go on from a `state`, with the data of then.

        Raises:
            ConfigError: It lacks something, or is of another network.
        """
        try:
            self._restore(tensors)
            self.maker.restore(tensors["order"].numpy(), dict(plain["draws"]))
            self.step_count = int(plain["step"])
            # A copy: torch 2.13 crashes on a row of a larger tensor.
            torch.set_rng_state(tensors["chance"][self.machines.rank].clone())
        except (KeyError, IndexError, RuntimeError, ValueError) as error:
            text = str(error).splitlines()[0]
            raise ConfigError(f"the state does not fit this network ({text}); --no-resume begins anew.") from None

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for key, value, mean in zip(self._names(), self.model.parameters(), self._means, strict=True):
                value.copy_(like(tensors[f"model.{key}"], value))
                mean.copy_(like(tensors[f"average.{key}"], mean))
            for key, buffer in self._objective.named_buffers():
                buffer.copy_(tensors[f"statistics.{key}"])
            for key, buffer in self.average.named_buffers():
                buffer.copy_(tensors[f"statistics.model.{key}"])
        for number, parameter in enumerate(self._parameters()):
            prefix = f"optimizer.{number}."
            old = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            self._optimizer.state[parameter] = {
                key: value if value.ndim == 0 else like(value, parameter) for key, value in old.items()
            }

    def _names(self) -> list[str]:
        return [name for name, _ in self.model.named_parameters()]

    def _parameters(self) -> list[nn.Parameter]:
        """In the optimizer's order."""
        return [p for group in self._optimizer.param_groups for p in group["params"]]
