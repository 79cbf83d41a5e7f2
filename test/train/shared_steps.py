"""A few steps on synthetic data, run by torchrun or as one process; rank 0 writes the result to OUT.

python shared_steps.py OUT [sharded] [key=value ...]

With "sharded" the weights are sharded by FSDP2 directly, because accelerate does it on GPUs only.
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
from vla_ros.train.distributed import MultiProcess, connect_processes, full_tensor
from vla_ros.train.trainer import Trainer, TrainingRequest

SETTINGS = (
    "cameras=[front]",
    "image_size=32",
    "batch=8",
    "steps=6",
    "warmup=2",
    "lr=1e-2",
    "bf16=off",
    "evaluate=0",
    "joint_weights={}",
    "network={channels: 4, keypoints: 4, language: hash, head: regression, grippers: [], mixture: {horizons: []}, "
    "transformer: {width: 16, layers: 1, attention_heads: 2}}",
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
        arrays = (rng.normal(size=(6, *shape)).astype(np.float32) for shape in ((2,), (32, 2), (1,)))
        writer.write(Episode({"front": images}, *arrays, "do"), number)


class Sharded(MultiProcess):
    """As accelerate with FSDP2 on GPUs: every parameter becomes a shard, and the optimizer gets the shards."""

    def __init__(self) -> None:
        super().__init__()
        self.sharded = True

    def prepare(self, module: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Any]:
        names = {p: name for name, p in module.named_parameters()}
        groups = [{**g, "params": [names[p] for p in g["params"]]} for g in optimizer.param_groups]
        fully_shard(module, mesh=init_device_mesh("cpu", (self.world_size,)))
        shards = dict(module.named_parameters())
        return module, torch.optim.AdamW([{**g, "params": [shards[name] for name in g["params"]]} for g in groups])


def main(out: Path, *more: str) -> None:
    """Train in `out`; rank 0 writes the final tensors to OUT/end.safetensors, and every process creates a file."""
    torch.set_num_threads(1)
    sharded = "sharded" in more
    distributed = Sharded() if sharded else connect_processes()
    settings = [*SETTINGS, *(m for m in more if "=" in m)]
    trainer = Trainer(TrainingRequest(load_config(None, settings), 0, 60.0, out, "train"), distributed)
    trainer.run()
    learner = trainer._current_learner()
    assert not sharded or any(full_tensor(p).shape != p.to_local().shape for p in learner.model.parameters())
    tensors, plain = learner.state()
    learner.restore(tensors, plain)  # from complete tensors back to shards, and again to complete tensors
    again, _ = learner.state()
    assert all(torch.equal(again[name], value) for name, value in tensors.items())
    if distributed.rank == 0:
        save_file({name: value.contiguous().clone() for name, value in tensors.items()}, out / "end.safetensors")
    distributed.shut_down()
    (out / f"rank{distributed.rank}-{distributed.world_size}-{distributed.kind}").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
