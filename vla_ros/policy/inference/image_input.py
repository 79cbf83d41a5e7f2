"""Camera images to the network's input. On a GPU, uint8 is uploaded, and resized and scaled there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from vla_ros.core.records import Image
from vla_ros.data.images import centre_crop, crop_and_resize


def to_input(images: Tensor) -> Tensor:
    """Images (B, S, S, 3) uint8 to the network's range and layout, (B, 3, S, S) in [-0.5, 0.5]."""
    return (images.permute(0, 3, 1, 2).float() / 255.0 - 0.5).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=16)
def area_weights(side: int, size: int, device: torch.device) -> Tensor:
    """Weights of each of `side` rows in each of `size` rows, shape (size, side): OpenCV applied to unit vectors."""
    rows = cv2.resize(np.eye(side, dtype=np.float32), (side, size), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.asarray(rows)).to(device)


class DeviceImages:
    """Camera images to the network's input, resized and scaled on the device.

    Images are uploaded as uint8 from page-locked memory that is reused in every call, so that a copy does not wait for
    the CPU. The result equals that of `crop_and_resize` and `to_input` within one grey level, 1 / 255, because
    `crop_and_resize` rounds to uint8.
    """

    def __init__(self, size: int, device: torch.device | str = "cpu") -> None:
        """Resize images to `size` x `size`."""
        self._size, self._device = size, torch.device(device)
        self._pinned: dict[int, Tensor] = {}
        self._copied: dict[int, torch.cuda.Event] = {}

    def _upload(self, index: int, square: Image) -> Tensor:
        if self._device.type != "cuda":
            return torch.from_numpy(np.ascontiguousarray(square)).to(self._device)
        pinned = self._pinned.get(index)
        if pinned is None or pinned.shape != square.shape:
            pinned = self._pinned[index] = torch.empty(square.shape, dtype=torch.uint8).pin_memory()
            self._copied[index] = torch.cuda.Event()
        else:
            self._copied[index].synchronize()  # the copy of the previous image may not be complete
        np.copyto(pinned.numpy(), square)
        uploaded = pinned.to(self._device, non_blocking=True)
        self._copied[index].record()
        return uploaded

    def __call__(self, images: Sequence[Image]) -> list[Tensor]:
        """RGB images (H, W, 3) uint8, one per camera, to (1, 3, S, S) each, in [-0.5, 0.5], channels last."""
        inputs = []
        for index, image in enumerate(images):
            raw = self._upload(index, centre_crop(image)).permute(2, 0, 1).float()
            if raw.shape[1] != self._size:
                weights = area_weights(raw.shape[1], self._size, self._device)
                raw = weights @ raw @ weights.T
            inputs.append((raw / 255.0 - 0.5)[None].contiguous(memory_format=torch.channels_last))
        return inputs


def image_input(size: int, device: torch.device) -> Callable[[Sequence[Image]], list[Tensor]]:
    """A function from RGB images to (1, 3, S, S) in [-0.5, 0.5] each; on a CPU it resizes as in training."""
    if device.type != "cpu":
        return DeviceImages(size, device)
    return lambda images: [to_input(torch.from_numpy(crop_and_resize(image, size))[None]) for image in images]
