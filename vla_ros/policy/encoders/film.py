"""The keypoint encoder with feature-wise modulation by the instruction (FiLM)."""

from __future__ import annotations

from torch import Tensor, nn

from vla_ros.policy.encoders.base import image_encoders
from vla_ros.policy.encoders.keypoint import KeypointEncoder
from vla_ros.policy.network.config import ModelConfig


@image_encoders.register("keypoint_film")
class FilmEncoder(KeypointEncoder):
    """Scales and shifts the feature maps by the instruction, so that keypoints depend on it.

    FiLM lets the instruction select the object in the feature map; without it, later layers must choose among the
    keypoints. FiLM (Perez et al., arXiv:1709.07871), as in BC-Z and RT-1. It starts equal to the encoder without FiLM.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build; see `KeypointEncoder`."""
        super().__init__(config)
        self.film = nn.Linear(config.network.embedding_size, 4 * config.network.channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, images: Tensor, instruction: Tensor) -> Tensor:
        """Images (B, 3, S, S), about unit scale, and normalised instruction (B, W) to features (B, F)."""
        scale, shift = self.film(instruction)[:, :, None, None].chunk(2, dim=1)
        return self.read_maps(self.stem(images) * (1.0 + scale) + shift)
