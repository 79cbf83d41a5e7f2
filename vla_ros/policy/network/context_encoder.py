"""Encodes what a policy observes: cameras, joints and instruction to context tokens.

image per camera -> image encoder -> tokens ───┐
joints (normalised) -> MLP -> token ───────────┼─ self-attention -> context (B, P, width)
instruction (embedding) -> linear -> token ────┘
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_ros.core.errors import ConfigError
from vla_ros.policy.encoders.base import image_encoders, make_image_encoders
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.network.transformer import Transformer
from vla_ros.policy.text.encoders import text_encoders
from vla_ros.policy.text.normaliser import InstructionNormaliser


class ContextEncoder(nn.Module):
    """See the module's text for the structure.

    An image encoder with one feature vector per image gives `transformer.image_tokens` tokens per camera; the tokens of
    a backbone are used one to one. Each token has a learned position embedding: one per image token, joints and
    instruction; for a backbone one per camera.

    Attributes:
        joint_mean: Saved with the weights, shape (J,) [rad].
        joint_std: The same.
    """

    joint_mean: Tensor
    joint_std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Build with unit statistics.

        Raises:
            ConfigError: The image encoder is to encode the instruction and cannot.
        """
        super().__init__()
        network, transformer = config.network, config.network.transformer
        width, joints, embedding = transformer.width, len(config.joints), network.embedding_size
        cls, own_text = image_encoders.get(network.encoder), text_encoders.get(network.language).gives_tokens
        if own_text and not cls.encodes_text:
            raise ConfigError(
                f'network.language is "{network.language}", but the image encoder "{network.encoder}" does not '
                "encode text."
            )
        self._every_camera, self._width = cls.every_camera, width
        self.register_buffer("joint_mean", torch.zeros(joints))
        self.register_buffer("joint_std", torch.ones(joints))
        self.encoders = make_image_encoders(config)
        per_image = 1 if cls.every_camera else transformer.image_tokens
        self.image_tokens = nn.ModuleList([nn.Linear(int(e.features), per_image * width) for e in self.encoders])
        self.joint_token = nn.Sequential(nn.Linear(joints, width), nn.GELU(), nn.Linear(width, width))
        self.instruction_normaliser = InstructionNormaliser(embedding)
        self.instruction_token = None if own_text else nn.Linear(embedding, width)
        self.positions = nn.Parameter(0.02 * torch.randn(len(config.cameras) * per_image + 2, width))
        self.transformer = Transformer(width, transformer.context_layers, transformer.attention_heads, context=False)

    def forward(self, images: list[Tensor], joints: Tensor, instruction: Tensor) -> Tensor:
        """Encode an observation.

        Args:
            images: One batch per camera, in the order of `ModelConfig.cameras`, (B, 3, S, S) in [-0.5, 0.5].
            joints: Measured positions, shape (B, J) [rad].
            instruction: Embeddings (B, W), or token numbers (B, W).

        Returns:
            Context tokens, shape (B, P, width).
        """
        instruction = self.instruction_normaliser(instruction)
        tokens, index = self._visual_tokens(images, instruction)
        # Only the image encoders gain from half precision; coordinates and joints would lose by it.
        with torch.autocast(joints.device.type, enabled=False):
            rows = [tokens, self.joint_token((joints - self.joint_mean) / self.joint_std)[:, None]]
            if self.instruction_token is not None:
                rows.append(self.instruction_token(instruction)[:, None])
            count = len(self.positions)
            own = torch.arange(count - 2, count, device=index.device)[: len(rows) - 1]
            index = torch.cat([index, own])
            return self.transformer(torch.cat(rows, dim=1) + self.positions[index])

    def _visual_tokens(self, images: list[Tensor], instruction: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the image encoders (B, P, width), text tokens included, and their position indices (P,)."""
        if not self._every_camera:
            features = [encoder(image, instruction) for encoder, image in zip(self.encoders, images, strict=True)]
            with torch.autocast(instruction.device.type, enabled=False):
                pairs = zip(self.image_tokens, features, strict=True)
                rows = [layer(x.float()).unflatten(1, (-1, self._width)) for layer, x in pairs]
            tokens = torch.cat(rows, dim=1)
            return tokens, torch.arange(tokens.shape[1], device=tokens.device)
        tokens, text = self.encoders[0](images, None if instruction.is_floating_point() else instruction)
        count, each = len(images), tokens.shape[1] // len(images)
        index = torch.arange(count, device=tokens.device).repeat_interleave(each)
        if text is not None:
            tokens = torch.cat([tokens, text], dim=1)
            index = torch.cat([index, index.new_full((text.shape[1],), count + 1)])
        with torch.autocast(instruction.device.type, enabled=False):
            return self.image_tokens[0](tokens.float()), index
