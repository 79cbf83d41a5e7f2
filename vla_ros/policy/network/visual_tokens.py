"""Cameras and sentence to tokens of the action transformer, whichever encoder sees."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import vla_ros.policy.encoders.backbones  # noqa: F401  (each registers itself)
from vla_ros.core.errors import ConfigError
from vla_ros.policy.encoders.keypoint import make_encoders
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.network.transformer_config import ActorConfig


def make_sight(config: ModelConfig, actor: ActorConfig) -> tuple[nn.ModuleList, nn.ModuleList, int]:
    """Encoders, the layers that turn what they say into tokens, and how many places tokens have.

    An encoder of one vector per image makes `image_tokens` of it; a backbone's tokens are taken as they are.

    Raises:
        ConfigError: The sentence is to be read by an encoder that cannot.
    """
    encoders = make_encoders(config)
    own = config.language == "backbone"
    if own and not getattr(encoders[0], "reads", False):
        raise ConfigError(f'language is "backbone", but the encoder "{config.encoder}" reads no sentences.')
    if getattr(encoders[0], "every_camera", False):
        return encoders, nn.ModuleList([nn.Linear(int(encoders[0].features), actor.width)]), len(config.cameras) + 2
    readers = [nn.Linear(int(e.features), actor.image_tokens * actor.width) for e in encoders]
    return encoders, nn.ModuleList(readers), len(config.cameras) * actor.image_tokens + 2


def look(
    encoders: nn.ModuleList, readers: nn.ModuleList, images: list[Tensor], words: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Tokens (B, P, width) of what is seen, and of a sentence that the encoder reads; and the place of each (P,).

    Args:
        encoders: Of `make_sight`.
        readers: Of `make_sight`.
        images: One batch per camera, (B, 3, S, S) in [-0.5, 0.5].
        words: As vectors (B, W), or as token numbers (B, W).
        width: Of a token.
    """
    if not getattr(encoders[0], "every_camera", False):
        seen = [net(image, words) for net, image in zip(encoders, images, strict=True)]
        # Only the encoders gain from half precision; coordinates would lose by it.
        with torch.autocast(words.device.type, enabled=False):
            rows = [net(x.float()).unflatten(1, (-1, width)) for net, x in zip(readers, seen, strict=True)]
        tokens = torch.cat(rows, dim=1)
        return tokens, torch.arange(tokens.shape[1], device=tokens.device)
    sight, said = encoders[0](images, None if words.is_floating_point() else words)
    count, each = len(images), sight.shape[1] // len(images)
    places = torch.arange(count, device=sight.device).repeat_interleave(each)
    if said is not None:
        sight = torch.cat([sight, said], dim=1)
        places = torch.cat([places, places.new_full((said.shape[1],), count + 1)])
    with torch.autocast(words.device.type, enabled=False):
        return readers[0](sight.float()), places
