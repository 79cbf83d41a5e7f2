"""Image encoders: the contract and the registry.

Add one by deriving from `ImageEncoder` and decorating the class with `@image_encoders.register("name")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from vla_ros.policy.network.config import ModelConfig
from vla_ros.registry import Registry


class ImageEncoder(nn.Module):
    """Images to features; built as `cls(config)`.

    An encoder with `every_camera` False is built once per camera: `forward(images, instruction)` maps images
    (B, 3, S, S) in [-0.5, 0.5] and instruction embeddings (B, W) to one feature vector per image, (B, features).
    An encoder with `every_camera` True is built once for all cameras, see `backbones.Backbone.forward`.

    Attributes:
        features: Size of a feature vector, or of a token.
        every_camera: Whether one instance encodes all cameras, into several tokens per image.
        encodes_text: Whether it encodes the instruction itself, with language "backbone".
    """

    every_camera: ClassVar[bool] = False
    encodes_text: ClassVar[bool] = False
    features: int

    @classmethod
    def backbone_shape(cls, config: ModelConfig) -> Mapping[str, Any]:
        """The `config.json` of a pretrained backbone as plain data; empty for encoders without one."""
        return {}


image_encoders: Registry[type[ImageEncoder]] = Registry(
    "image encoder",
    builtin={
        "keypoint": "vla_ros.policy.encoders.keypoint",
        "keypoint_film": "vla_ros.policy.encoders.film",
        **dict.fromkeys(("siglip", "dinov2", "florence2", "smolvlm"), "vla_ros.policy.encoders.backbones"),
    },
)
"""Classes of image encoders, by name."""


def make_image_encoders(config: ModelConfig) -> nn.ModuleList:
    """One encoder per camera, or a single one for all cameras (`every_camera`).

    Raises:
        UnknownName: There is no encoder of the name in the configuration.
    """
    cls = image_encoders.get(config.network.encoder)
    return nn.ModuleList([cls(config) for _ in range(1 if cls.every_camera else len(config.cameras))])
