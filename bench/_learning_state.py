"""Batches that depend on seed and step alone, and the state of a training on disk: a cut leaves no trace."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save

from vla_ros.core.errors import ConfigError
from vla_ros.train.batches import Batch, BatchMaker
from vla_ros.train.learner import Learner

KEY = "learning_table"


class StepBatches(BatchMaker):
    """Frames, augmentation and noise of step n come from (seed, n), so that nothing of a generator has to be kept.

    Attributes:
        step: Of the next batch.
        seed: Of all.
    """

    step = 0
    seed = 0

    def make(self, count: int) -> Batch:
        """See `BatchMaker.make`; also seeds torch, for heads that draw noise."""
        self._rng = np.random.default_rng([self.seed, 0, self.step])
        torch.manual_seed(1_000_003 * self.seed + self.step)
        batch = super().make(count)
        self.step += 1
        return batch

    def _draw(self, count: int) -> np.ndarray:
        places = np.arange(self.step * count, (self.step + 1) * count)
        epochs, rests = np.divmod(places, len(self.data))
        orders = {e: np.random.default_rng([self.seed, 1, e]).permutation(len(self.data)) for e in np.unique(epochs)}
        return np.array([orders[e][r] for e, r in zip(epochs, rests, strict=True)])


def save_state(path: Path, learner: Learner, notes: dict[str, Any]) -> None:
    """Write weights, averages and the optimizer's memory, whole or not at all; `notes` is plain data."""
    optimizer = learner._optimizer.state_dict()["state"]
    tensors = {f"model.{k}": v for k, v in learner.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in learner.average.state_dict().items()}
    tensors |= {f"optimizer.{n}.{k}": torch.as_tensor(v) for n, row in optimizer.items() for k, v in row.items()}
    # One tensor may not share memory with another.
    tensors = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(save(tensors, metadata={KEY: json.dumps({**notes, "step": learner.step_count})}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load_state(path: Path, learner: Learner, batches: StepBatches) -> dict[str, Any]:
    """Take up what `save_state` wrote; returns its notes.

    Raises:
        ConfigError: The file is of another network.
    """
    with safe_open(path, framework="pt") as file:
        notes = json.loads((file.metadata() or {}).get(KEY, "{}"))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        for name, net in (("model", learner.model), ("average", learner.average)):
            net.load_state_dict({k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")})
    except RuntimeError as error:
        raise ConfigError(f"{path} is the state of another network ({str(error).splitlines()[0]}).") from None
    rows: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            rows.setdefault(int(number), {})[key] = value
    learner._optimizer.load_state_dict({**learner._optimizer.state_dict(), "state": rows})
    learner.step_count = batches.step = int(notes["step"])
    return notes
