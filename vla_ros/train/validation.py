"""Open-loop validation: error of predicted chunks on episodes that are not trained on."""

from __future__ import annotations

import numpy as np
import torch

from vla_ros.policy.network.model import VlaNetwork
from vla_ros.train.batches import BatchMaker


def open_loop_error(model: VlaNetwork, batches: BatchMaker, frames: int = 256, batch: int = 64) -> dict[str, float]:
    """Mean absolute error of the waypoints over joints, frames and time [rad], and of the first and last waypoint.

    Args:
        model: The network in evaluation mode.
        batches: Of the validation episodes; frames are selected at equal intervals from all of them.
        frames: Maximum number of frames.
        batch: Frames per forward pass.

    Returns:
        `open_loop_rad`, `open_loop_first_rad`, `open_loop_last_rad`.
    """
    count = min(frames, len(batches.data))
    selected = np.linspace(0, len(batches.data) - 1, count).round().astype(np.int64)
    device = next(model.parameters()).device
    errors = []
    with torch.inference_mode():
        for first in range(0, count, batch):
            data = batches.without_augmentation(selected[first : first + batch]).to(device)
            # An explicit seed, because validation must not change the random numbers of training.
            waypoints = model.predict(data.images, data.joints, data.instructions, seed=first).waypoints
            errors.append((waypoints - data.labels).abs().mean(dim=2).double().cpu())
    by_time = torch.cat(errors).mean(dim=0)
    return {
        "open_loop_rad": float(by_time.mean()),
        "open_loop_first_rad": float(by_time[0]),
        "open_loop_last_rad": float(by_time[-1]),
    }
