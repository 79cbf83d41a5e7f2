"""The same training on one process, or on many through Hugging Face accelerate: what differs, and nothing else.

`torchrun` and `accelerate launch` say through the environment that there are many (or that accelerate is to be used);
without that, accelerate is not even imported. Plain data parallelism needs no settings; sharded weights (FSDP) are
asked for in accelerate's own configuration, with `fsdp_version: 2`.
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


class Machines:
    """One process alone.

    Attributes:
        rank: Number of this process; 0 records, evaluates and writes.
        processes: How many there are.
        device: Where this one computes.
        kind: How the work is shared, in accelerate's words.
        cut: Whether each holds but a piece of every weight.
    """

    kind, cut = "NO", False

    def __init__(self) -> None:
        """One process, on the CPU."""
        self.rank, self.processes, self.device = 0, 1, torch.device("cpu")

    def prepare(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Any]:
        """Both as they are to be used from now on."""
        return module, optimizer

    def backward(self, loss: Tensor) -> None:
        """Gradients of the mean over all processes."""
        loss.backward()

    def clip(self, parameters: Sequence[nn.Parameter], most: float) -> float:
        """Bound the norm of all gradients together; answers what it was."""
        return float(nn.utils.clip_grad_norm_(parameters, most))

    def told(self, values: Sequence[float]) -> list[float]:
        """What process 0 says, to all: clocks differ."""
        return list(values)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Of each value, over all processes."""
        return {name: float(value) for name, value in values.items()}

    def gathered(self, value: Tensor) -> Tensor:
        """The values (n,) of all processes, shape (processes, n)."""
        return value[None]

    def wait(self) -> None:
        """Until all are here."""

    def part(self) -> None:
        """Leave the others, once all are here; nothing can be shared afterwards."""


class ManyMachines(Machines):
    """One process of several, or one that accelerate started."""

    def __init__(self) -> None:
        """Meet the others.

        Raises:
            ConfigError: accelerate is not installed, or cannot cut up weights on these devices.
        """
        try:
            from accelerate import Accelerator, InitProcessGroupKwargs
        except ModuleNotFoundError:
            raise ConfigError('many processes need accelerate: pip install "vla_ros[machines]".') from None
        # Process 0 records while the others wait, which may take an hour.
        patience = InitProcessGroupKwargs(timeout=timedelta(hours=6))
        self._accelerator = a = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[patience])
        self.rank, self.processes, self.device = a.process_index, a.num_processes, a.device
        self.kind = a.distributed_type.value
        self.cut = self.kind == "FSDP"
        if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and not self.cut:
            raise ConfigError(f"accelerate does not cut up weights (FSDP) on {self.device.type} with {self.kind}.")

    def prepare(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Any]:
        """See `Machines`; DDP, or FSDP where accelerate's configuration says so."""
        module, optimizer = self._accelerator.prepare(module, optimizer)
        return module, optimizer

    def backward(self, loss: Tensor) -> None:
        """See `Machines`."""
        self._accelerator.backward(loss)

    def clip(self, parameters: Sequence[nn.Parameter], most: float) -> float:
        """See `Machines`."""
        return float(whole(self._accelerator.clip_grad_norm_(parameters, most)))

    def told(self, values: Sequence[float]) -> list[float]:
        """See `Machines`."""
        if self.processes == 1:
            return list(values)
        said = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(said, 0)
        return [float(x) for x in said]

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """See `Machines`."""
        here = torch.stack([value.float() for value in values.values()])
        return dict(zip(values, self.gathered(here).mean(dim=0).tolist(), strict=True))

    def gathered(self, value: Tensor) -> Tensor:
        """See `Machines`."""
        if self.processes == 1:
            return value[None]
        here = value.to(self.device)
        all_of_them = [torch.empty_like(here) for _ in range(self.processes)]
        torch.distributed.all_gather(all_of_them, here)
        return torch.stack(all_of_them).cpu()

    def wait(self) -> None:
        """See `Machines`."""
        self._accelerator.wait_for_everyone()

    def part(self) -> None:
        """See `Machines`. A process that ends without it may be aborted by a thread of torch's that still runs."""
        if self.processes > 1:
            self.wait()
            torch.distributed.destroy_process_group()


def find_machines() -> Machines:
    """Many where `torchrun` or `accelerate launch` started this process, else one."""
    many = int(os.environ.get("WORLD_SIZE", "1")) > 1 or any(k.startswith("ACCELERATE_") for k in os.environ)
    return ManyMachines() if many else Machines()


def whole(value: Tensor) -> Tensor:
    """All of a tensor of which each process may hold a piece; where it does, every process must ask."""
    full = getattr(value, "full_tensor", None)
    return (value if full is None else full()).detach()


def like(value: Tensor, pattern: Tensor) -> Tensor:
    """`value`, cut up over the processes as `pattern` is."""
    value = value.to(pattern.device)
    mesh = getattr(pattern, "device_mesh", None)
    if mesh is None or value.ndim == 0:
        return value
    from torch.distributed.tensor import distribute_tensor

    # Every process has the whole and takes its own piece: nothing is sent.
    return distribute_tensor(value, mesh, pattern.placements, src_data_rank=None)  # type: ignore[attr-defined]
