"""How good a network is on episodes it has not learned from, without driving: its chunks beside the labels."""

from __future__ import annotations

import numpy as np
import torch

from vla_ros.policy.network.build import Model
from vla_ros.train.batches import BatchMaker


def open_loop(model: Model, maker: BatchMaker, frames: int = 256, batch: int = 64) -> dict[str, float]:
    """Mean absolute error of the waypoints over joints, samples and time [rad], of the first and of the last.

    Args:
        model: As it would drive.
        maker: Of the episodes held out; frames are taken evenly from all of them.
        frames: How many, at most.
        batch: How many at once.

    Returns:
        `open_loop_rad`, `open_loop_first_rad`, `open_loop_last_rad`.
    """
    count = min(frames, len(maker.data))
    chosen = np.linspace(0, len(maker.data) - 1, count).round().astype(np.int64)
    device = next(model.parameters()).device
    errors = []
    with torch.inference_mode():
        for first in range(0, count, batch):
            seen = maker.plain(chosen[first : first + batch]).to(device)
            # A seed of its own: validating must not change what is learned next.
            said = model.act(seen.images, seen.joints, seen.words, seed=first).waypoints
            errors.append((said - seen.labels).abs().mean(dim=2).double().cpu())
    by_time = torch.cat(errors).mean(dim=0)
    return {
        "open_loop_rad": float(by_time.mean()),
        "open_loop_first_rad": float(by_time[0]),
        "open_loop_last_rad": float(by_time[-1]),
    }
