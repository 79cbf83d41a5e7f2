"""Camera images to the network's input, where it computes: uint8 goes there, and is made small and scaled there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from vla_ros.core.records import Image
from vla_ros.policy.inference.images import centre, shrink
from vla_ros.policy.network.config import to_input


@lru_cache(maxsize=16)
def area_weights(side: int, size: int, device: torch.device) -> Tensor:
    """The share of each of `side` rows in each of `size`, shape (size, side): what OpenCV makes of unit vectors."""
    rows = cv2.resize(np.eye(side, dtype=np.float32), (side, size), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.asarray(rows)).to(device)


class DeviceImages:
    """Camera images to the network's input, resized and scaled on the device that computes.

    What goes over the bus is uint8, out of page-locked memory that is kept from call to call, so that a copy need not
    wait for the CPU. The result is that of `shrink` and `to_input` within one grey level, 1 / 255: `shrink` rounds to
    uint8, this does not.
    """

    def __init__(self, size: int, device: torch.device | str = "cpu") -> None:
        """Images become `size` x `size`."""
        self._size, self._device = size, torch.device(device)
        self._held: dict[int, Tensor] = {}
        self._copied: dict[int, torch.cuda.Event] = {}

    def _upload(self, place: int, square: Image) -> Tensor:
        if self._device.type != "cuda":
            return torch.from_numpy(np.ascontiguousarray(square)).to(self._device)
        held = self._held.get(place)
        if held is None or held.shape != square.shape:
            held = self._held[place] = torch.empty(square.shape, dtype=torch.uint8).pin_memory()
            self._copied[place] = torch.cuda.Event()
        else:
            self._copied[place].synchronize()  # the former picture may still be on its way
        np.copyto(held.numpy(), square)
        sent = held.to(self._device, non_blocking=True)
        self._copied[place].record()
        return sent

    def __call__(self, images: Sequence[Image]) -> list[Tensor]:
        """RGB images (H, W, 3) uint8, one per camera, to (1, 3, S, S) each, in [-0.5, 0.5], channels last."""
        made = []
        for place, image in enumerate(images):
            raw = self._upload(place, centre(image)).permute(2, 0, 1).float()
            if raw.shape[1] != self._size:
                weights = area_weights(raw.shape[1], self._size, self._device)
                raw = weights @ raw @ weights.T
            made.append((raw / 255.0 - 0.5)[None].contiguous(memory_format=torch.channels_last))
        return made


def image_input(size: int, device: torch.device) -> Callable[[Sequence[Image]], list[Tensor]]:
    """What makes (1, 3, S, S) in [-0.5, 0.5] of each RGB image: a GPU itself, a CPU by `shrink`, as in training."""
    if device.type != "cpu":
        return DeviceImages(size, device)
    return lambda images: [to_input(torch.from_numpy(shrink(image, size))[None]) for image in images]
