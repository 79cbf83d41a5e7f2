"""Run by torchrun or as one process: a few steps on made-up data; what came of it goes to OUT, written by process 0.

python shared_steps.py OUT BATCH
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from vla_ros.data.demos import DemoInfo, DemoWriter, Episode
from vla_ros.train.config import load_config
from vla_ros.train.machines import find_machines
from vla_ros.train.run import Run, Trainer

SETTINGS = (
    "cameras=[front]",
    "image_size=32",
    "batch=8",
    "steps=6",
    "warmup=2",
    "lr=1e-2",
    "bf16=off",
    "evaluate=0",
    "network={channels: 4, keypoints: 4, trunk: 16, blocks: 1}",
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


def main(out: Path, *more: str) -> None:
    """Train in `out`; all tensors of the end as OUT/end.safetensors, and who wrote as OUT/writer-RANK."""
    torch.set_num_threads(1)
    machines = find_machines()
    trainer = Trainer(Run(load_config(None, [*SETTINGS, *more]), 0, 60.0, out, "train"), machines)
    trainer.run()
    learner = trainer._need()
    tensors, _ = learner.state()
    if machines.rank == 0:
        assert learner._sharded == ("FSDP" in machines.kind)
        save_file({name: value.contiguous().clone() for name, value in tensors.items()}, out / "end.safetensors")
    (out / f"rank{machines.rank}-{machines.processes}-{machines.kind}").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
