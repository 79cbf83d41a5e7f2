"""Run by torchrun or as one process: a few steps on made-up data; what came of it goes to OUT, written by process 0.

python shared_steps.py OUT [cut] [key=value ...]

With "cut" the weights are cut up by FSDP2 itself: accelerate asks it to on GPUs only, and what we do then is to be
tested without one.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer

from vla_ros.data.episodes import DemoInfo, DemoWriter, Episode
from vla_ros.train.config import load_config
from vla_ros.train.distributed import ManyMachines, find_machines, whole
from vla_ros.train.trainer import Run, Trainer

SETTINGS = (
    "cameras=[front]",
    "image_size=32",
    "batch=8",
    "steps=6",
    "warmup=2",
    "lr=1e-2",
    "bf16=off",
    "evaluate=0",
    "network={channels: 4, keypoints: 4, trunk: 16, blocks: 1, language: hash}",
    "demos={episodes: 4, rounds: 0}",
    "track={every: 1, held_out: 4, validate: 3, save_s: 0.0}",
)
INFO = DemoInfo("pick_place", "so101", ("a", "b"), ("front",), ("x",), 32, 0.05, 32)


def demonstrations(out: Path) -> None:
    """Four small episodes."""
    writer = DemoWriter(out / "demos", INFO, "expert")
    for number in range(4):
        rng = np.random.default_rng(number)
        images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
        numbers = (rng.normal(size=(6, *shape)).astype(np.float32) for shape in ((2,), (32, 2), (1,)))
        writer.write(Episode({"front": images}, *numbers, "do"), number)


class Cut(ManyMachines):
    """As accelerate does with FSDP2 on GPUs: every parameter becomes a piece, and the optimizer is given the pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = True

    def prepare(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Any]:
        names = {p: name for name, p in module.named_parameters()}
        kept = [{**g, "params": [names[p] for p in g["params"]]} for g in optimizer.param_groups]
        fully_shard(module, mesh=init_device_mesh("cpu", (self.processes,)))
        pieces = dict(module.named_parameters())
        return module, torch.optim.AdamW([{**g, "params": [pieces[name] for name in g["params"]]} for g in kept])


def main(out: Path, *more: str) -> None:
    """Train in `out`; all tensors of the end go to OUT/end.safetensors, and every process leaves its name."""
    torch.set_num_threads(1)
    cut = "cut" in more
    machines = Cut() if cut else find_machines()
    settings = [*SETTINGS, *(m for m in more if "=" in m)]
    trainer = Trainer(Run(load_config(None, settings), 0, 60.0, out, "train"), machines)
    trainer.run()
    learner = trainer._need()
    assert not cut or any(whole(p).shape != p.to_local().shape for p in learner.model.parameters())
    tensors, plain = learner.state()
    learner.restore(tensors, plain)  # from whole tensors back into pieces, and out again
    again, _ = learner.state()
    assert all(torch.equal(again[name], value) for name, value in tensors.items())
    if machines.rank == 0:
        save_file({name: value.contiguous().clone() for name, value in tensors.items()}, out / "end.safetensors")
    machines.part()
    (out / f"rank{machines.rank}-{machines.processes}-{machines.kind}").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
