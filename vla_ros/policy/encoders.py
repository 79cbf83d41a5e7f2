"""Image encoders, by name: an RGB batch to one feature vector per image.

Add one by writing a module with `features: int` and decorating it with `@encoder("name")`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UnknownName

E = TypeVar("E", bound="type[nn.Module]")
_ENCODERS: dict[str, type[nn.Module]] = {}


def encoder(name: str) -> Callable[[E], E]:
    """Register an encoder class under `name`; it is built as `cls(channels, keypoints, size)`."""

    def add(cls: E) -> E:
        _ENCODERS[name] = cls
        return cls

    return add


def make_encoder(name: str, channels: int, keypoints: int, size: int) -> nn.Module:
    """Build the encoder called `name` for images of `size` x `size` pixels.

    Raises:
        UnknownName: There is none of that name.
    """
    if name not in _ENCODERS:
        raise UnknownName("encoder", name, _ENCODERS)
    return _ENCODERS[name](channels, keypoints, size)


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU(inplace=True))


class SpatialSoftmax(nn.Module):
    """The expected image coordinates of each feature map.

    A coordinate is what a reaching policy needs, and taking it as an expectation gives fractions of a
    pixel with no fully connected layer over the map.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        """Build the coordinate grid, x to the right and y down, each in [-1, 1]."""
        super().__init__()
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        self.register_buffer("grid", torch.stack([x.flatten(), y.flatten()], dim=1), persistent=False)
        self.sharpness = nn.Parameter(torch.ones(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to coordinates (B, 2 C)."""
        # In half precision a coordinate would be rounded to a fifth of a pixel.
        with torch.autocast(maps.device.type, enabled=False):
            scores = maps.flatten(2).float() * self.sharpness[None, :, None]
            return (scores.softmax(dim=2) @ self.grid).flatten(1)


@encoder("keypoint")
class KeypointEncoder(nn.Module):
    """A small convolutional network with two outlets: where things are, and what the picture is like.

    Keypoints are read from a map at a quarter of the image size; a coarse map (1/16), flattened, adds
    what has no single place: is the cube between the fingers, is the hand open.
    """

    def __init__(self, channels: int, keypoints: int, size: int) -> None:
        """Build for `size` x `size` RGB images; `channels` is the width of the finest map."""
        super().__init__()
        c = channels
        self.stem = nn.Sequential(
            _conv(3, c, 5, 2), _conv(c, 2 * c, 3, 2), _conv(2 * c, 2 * c, 3, 1), _conv(2 * c, 2 * c, 3, 1)
        )
        self.points = nn.Conv2d(2 * c, keypoints, 1)
        self.coarse = nn.Sequential(_conv(2 * c, 3 * c, 3, 2), _conv(3 * c, 2 * c, 3, 2))
        quarter, sixteenth = (size + 3) // 4, (size + 15) // 16
        self.softmax = SpatialSoftmax(keypoints, quarter, quarter)
        self.describe = nn.Sequential(nn.Linear(2 * c * sixteenth**2, 96), nn.ReLU(inplace=True))
        self.features = 2 * keypoints + 96

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S), about unit scale, to features (B, F)."""
        maps = self.stem(images)
        return torch.cat([self.softmax(self.points(maps)), self.describe(self.coarse(maps).flatten(1)).float()], dim=1)
