"""The keypoint encoder: a small convolutional network, trained from scratch, with a spatial softmax."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vla_ros.policy.encoders.base import ImageEncoder, image_encoders
from vla_ros.policy.network.config import ModelConfig

GROUPS = 8
"""Maximum number of groups of a group normalisation."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int, norm: str) -> nn.Sequential:
    if norm == "none":
        return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU(inplace=True))
    # Group normalisation has a bias of its own; one before it would have no gradient but rounding errors.
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(math.gcd(GROUPS, outputs), outputs), nn.ReLU(inplace=True))


class SpatialSoftmax(nn.Module):
    """The expected image coordinates of each feature map (Finn et al., arXiv:1509.06113).

    A reaching policy needs coordinates, and an expectation resolves fractions of a pixel without a fully connected
    layer over the map.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        """Build the coordinate grid, x to the right and y down, each in [-1, 1]."""
        super().__init__()
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        self.register_buffer("grid", torch.stack([x.flatten(), y.flatten()], dim=1), persistent=False)
        self.inverse_temperature = nn.Parameter(torch.ones(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to coordinates (B, 2 C)."""
        # In half precision a coordinate would be rounded to a fifth of a pixel.
        with torch.autocast(maps.device.type, enabled=False):
            scores = maps.flatten(2).float() * self.inverse_temperature[None, :, None]
            return (scores.softmax(dim=2) @ self.grid).flatten(1)


@image_encoders.register("keypoint")
class KeypointEncoder(ImageEncoder):
    """A convolutional network with two outputs: keypoints, and a descriptor of the complete image.

    Keypoints come from a map at a quarter of the image size. The descriptor comes from a coarse map (1/16), flattened;
    it represents what has no single position, for example whether the gripper is open.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build for square RGB images of `image_size`; `channels` is the width of the finest map."""
        super().__init__()
        n, size = config.network, config.image_size
        c, keypoints, norm = n.channels, n.keypoints, n.norm
        layers = ((3, c, 5, 2), (c, 2 * c, 3, 2), (2 * c, 2 * c, 3, 1), (2 * c, 2 * c, 3, 1))
        self.stem = nn.Sequential(*[_conv(*layer, norm) for layer in layers])
        self.keypoints = nn.Conv2d(2 * c, keypoints, 1)
        self.coarse = nn.Sequential(_conv(2 * c, 3 * c, 3, 2, norm), _conv(3 * c, 2 * c, 3, 2, norm))
        quarter, sixteenth = (size + 3) // 4, (size + 15) // 16
        self.softmax = SpatialSoftmax(keypoints, quarter, quarter)
        self.descriptor = nn.Sequential(nn.Linear(2 * c * sixteenth**2, 96), nn.ReLU(inplace=True))
        self.features = 2 * keypoints + 96

    def forward(self, images: Tensor, instruction: Tensor) -> Tensor:
        """Images (B, 3, S, S), about unit scale, to features (B, F); the instruction (B, W) is not used."""
        return self.read_maps(self.stem(images))

    def read_maps(self, maps: Tensor) -> Tensor:
        """Maps of the stem (B, C, H, W) to features (B, F)."""
        descriptor = self.descriptor(self.coarse(maps).flatten(1)).float()
        return torch.cat([self.softmax(self.keypoints(maps)), descriptor], dim=1)
