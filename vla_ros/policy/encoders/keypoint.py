"""Image encoders, by name: an RGB batch, and the sentence, to one feature vector per image.

Add one by writing a module with `features: int` and decorating it with `@encoder("name")`. Pretrained backbones,
which give many tokens per image, are in `backbones.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from vla_ros.core.errors import UnknownName

if TYPE_CHECKING:
    from vla_ros.policy.network.config import ModelConfig

E = TypeVar("E", bound="type[nn.Module]")
_ENCODERS: dict[str, type[nn.Module]] = {}


def encoder(name: str) -> Callable[[E], E]:
    """Register an encoder class under `name`; it is built as `cls(config)` of a `ModelConfig`."""

    def add(cls: E) -> E:
        _ENCODERS[name] = cls
        return cls

    return add


def find_encoder(name: str) -> type[nn.Module]:
    """The class of the encoder called `name`.

    Raises:
        UnknownName: There is none of that name.
    """
    if name not in _ENCODERS:
        raise UnknownName("encoder", name, _ENCODERS)
    return _ENCODERS[name]


def make_encoders(config: ModelConfig) -> nn.ModuleList:
    """One encoder per camera, or a single one that sees for all (`every_camera`).

    Raises:
        UnknownName: There is none of the name the configuration gives.
    """
    cls = find_encoder(config.encoder)
    count = 1 if getattr(cls, "every_camera", False) else len(config.cameras)
    return nn.ModuleList([cls(config) for _ in range(count)])


NORMS = ("none", "group")
"""Of the maps of an encoder that is trained from nothing; see `ModelConfig.norm`."""
_GROUPS = 8


def _conv(inputs: int, outputs: int, kernel: int, stride: int, norm: str) -> nn.Sequential:
    if norm == "none":
        return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU(inplace=True))
    # The norm shifts by itself; a bias before it would have no gradient but rounding.
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(math.gcd(_GROUPS, outputs), outputs), nn.ReLU(inplace=True))


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

    def __init__(self, config: ModelConfig) -> None:
        """Build for square RGB images of `image_size`; `channels` is the width of the finest map."""
        super().__init__()
        c, keypoints, size, norm = config.channels, config.keypoints, config.image_size, config.norm
        layers = ((3, c, 5, 2), (c, 2 * c, 3, 2), (2 * c, 2 * c, 3, 1), (2 * c, 2 * c, 3, 1))
        self.stem = nn.Sequential(*[_conv(*layer, norm) for layer in layers])
        self.points = nn.Conv2d(2 * c, keypoints, 1)
        self.coarse = nn.Sequential(_conv(2 * c, 3 * c, 3, 2, norm), _conv(3 * c, 2 * c, 3, 2, norm))
        quarter, sixteenth = (size + 3) // 4, (size + 15) // 16
        self.softmax = SpatialSoftmax(keypoints, quarter, quarter)
        self.describe = nn.Sequential(nn.Linear(2 * c * sixteenth**2, 96), nn.ReLU(inplace=True))
        self.features = 2 * keypoints + 96

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        """Images (B, 3, S, S), about unit scale, to features (B, F); sentences (B, W) are not listened to."""
        return self.read(self.stem(images))

    def read(self, maps: Tensor) -> Tensor:
        """Maps of the stem (B, C, H, W) to features (B, F)."""
        return torch.cat([self.softmax(self.points(maps)), self.describe(self.coarse(maps).flatten(1)).float()], dim=1)


@encoder("keypoint_film")
class FilmEncoder(KeypointEncoder):
    """The same, its maps scaled and shifted by the sentence, so that keypoints are of what is asked for.

    Where a sentence chooses between things, mixing it in after the keypoints asks the layers behind to pick one of
    several places; here the map itself is picked. FiLM (Perez et al., arXiv:1709.07871), as in BC-Z and RT-1. It begins
    as the encoder without.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build; see `KeypointEncoder`."""
        super().__init__(config)
        self.film = nn.Linear(config.sentence, 4 * config.channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        """Images (B, 3, S, S), about unit scale, and sentences (B, W), of unit size, to features (B, F)."""
        scale, shift = self.film(words)[:, :, None, None].chunk(2, dim=1)
        return self.read(self.stem(images) * (1.0 + scale) + shift)
