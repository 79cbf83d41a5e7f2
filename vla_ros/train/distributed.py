"""Training on one process, or on several through Hugging Face accelerate: all operations that differ.

`torchrun` and `accelerate launch` set environment variables that select several processes; otherwise accelerate is not
imported. Data parallelism needs no settings; sharded weights (FSDP) are selected in accelerate's configuration, with
`fsdp_version: 2`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vla_ros.core.errors import ConfigError


class SingleProcess:
    """Operations of a training run on one process.

    Attributes:
        rank: Index of this process; rank 0 records, evaluates and writes files.
        world_size: Number of processes.
        device: Device of this process.
        kind: Distributed type in accelerate's terms.
        sharded: Whether each process holds only a shard of every weight.
    """

    kind, sharded = "NO", False

    def __init__(self) -> None:
        """Use the CPU."""
        self.rank, self.world_size, self.device = 0, 1, torch.device("cpu")

    def prepare(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Any]:
        """Wrap module and optimizer; use the returned ones from then on."""
        return module, optimizer

    def backward(self, loss: Tensor) -> None:
        """Compute gradients of the mean loss of all processes."""
        loss.backward()

    def clip_gradients(self, parameters: Sequence[nn.Parameter], max_norm: float) -> float:
        """Clip the norm of all gradients together; returns the norm before clipping."""
        return float(nn.utils.clip_grad_norm_(parameters, max_norm))

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """The values of rank 0, on every process."""
        return list(values)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean of each value over all processes."""
        return {name: float(value) for name, value in values.items()}

    def all_gather(self, value: Tensor) -> Tensor:
        """The values (n,) of all processes, shape (world_size, n)."""
        return value[None]

    def barrier(self) -> None:
        """Wait for all processes."""

    def shut_down(self) -> None:
        """Wait for all processes and leave the process group."""


class MultiProcess(SingleProcess):
    """Operations of one of several processes, or of a process that accelerate started."""

    def __init__(self) -> None:
        """Join the process group.

        Raises:
            ConfigError: accelerate is not installed, or cannot shard weights on this device.
        """
        try:
            from accelerate import Accelerator, InitProcessGroupKwargs
        except ModuleNotFoundError:
            raise ConfigError(
                'training on several processes needs accelerate: pip install "vla_ros[distributed]".'
            ) from None
        # Rank 0 records while the others wait, which may take an hour.
        timeout = InitProcessGroupKwargs(timeout=timedelta(hours=6))
        self._accelerator = a = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[timeout])
        self.rank, self.world_size, self.device = a.process_index, a.num_processes, a.device
        self.kind = a.distributed_type.value
        self.sharded = self.kind == "FSDP"
        if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and not self.sharded:
            raise ConfigError(f"accelerate cannot shard weights (FSDP) on {self.device.type} with {self.kind}.")

    def prepare(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Any]:
        """See `SingleProcess`; wraps for DDP, or for FSDP if accelerate's configuration selects it."""
        module, optimizer = self._accelerator.prepare(module, optimizer)
        return module, optimizer

    def backward(self, loss: Tensor) -> None:
        """See `SingleProcess`."""
        self._accelerator.backward(loss)

    def clip_gradients(self, parameters: Sequence[nn.Parameter], max_norm: float) -> float:
        """See `SingleProcess`."""
        return float(full_tensor(self._accelerator.clip_grad_norm_(parameters, max_norm)))

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """See `SingleProcess`."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(tensor, 0)
        return [float(x) for x in tensor]

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """See `SingleProcess`."""
        local = torch.stack([value.float() for value in values.values()])
        return dict(zip(values, self.all_gather(local).mean(dim=0).tolist(), strict=True))

    def all_gather(self, value: Tensor) -> Tensor:
        """See `SingleProcess`."""
        if self.world_size == 1:
            return value[None]
        local = value.to(self.device)
        gathered = [torch.empty_like(local) for _ in range(self.world_size)]
        torch.distributed.all_gather(gathered, local)
        return torch.stack(gathered).cpu()

    def barrier(self) -> None:
        """See `SingleProcess`."""
        self._accelerator.wait_for_everyone()

    def shut_down(self) -> None:
        """See `SingleProcess`. Without it, a thread of torch that still runs may abort the exiting process."""
        if self.world_size > 1:
            self.barrier()
            torch.distributed.destroy_process_group()


def connect_processes() -> SingleProcess:
    """`MultiProcess` if `torchrun` or `accelerate launch` started this process, otherwise `SingleProcess`."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 or any(k.startswith("ACCELERATE_") for k in os.environ)
    return MultiProcess() if several else SingleProcess()


def full_tensor(value: Tensor) -> Tensor:
    """The complete tensor of which each process may hold a shard; for a sharded tensor all processes must call it."""
    gather = getattr(value, "full_tensor", None)
    return (value if gather is None else gather()).detach()


def shard_like(value: Tensor, pattern: Tensor) -> Tensor:
    """`value` sharded over the processes as `pattern` is."""
    value = value.to(pattern.device)
    mesh = getattr(pattern, "device_mesh", None)
    if mesh is None or value.ndim == 0:
        return value
    from torch.distributed.tensor import distribute_tensor

    # Every process has the complete tensor and takes its own shard; nothing is sent.
    return distribute_tensor(value, mesh, pattern.placements, src_data_rank=None)  # type: ignore[attr-defined]
