"""Hugging Face backbones as encoders, by name: `siglip`, `dinov2`, `florence2`, `smolvlm`.

Their own code out of `transformers` (the extra `backbones`), all cameras in one batch, one set of weights for all. What
they say goes to the action transformer token by token. The two that know language may read the sentence themselves
(`language: backbone`): then images and sentence go through the language part together.

Weights come from a folder, safetensors only; nothing is unpickled, no code of a model's own is run, no hub is asked.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vla_ros.core.errors import ConfigError
from vla_ros.policy.encoders.keypoint import encoder

if TYPE_CHECKING:
    from vla_ros.policy.network.config import ModelConfig

EXTRA = 'pip install "vla_ros[backbones]"'
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _library(name: str) -> Any:
    """The module `transformers`, which is never to ask a hub for anything."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise ConfigError(f'the encoder "{name}" needs the library transformers: {EXTRA}.') from None


def _folder(weights: str) -> Path:
    """The folder of weights, looked at before anything is read from it."""
    folder = Path(weights).expanduser()
    if not (folder / "config.json").is_file():
        raise ConfigError(f"there is no config.json in the folder of a backbone's weights, {folder}.")
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(f"there are no safetensors in {folder}; weights in other formats are not read.")
    return folder


class Backbone(nn.Module):
    """What all of them have in common; built as `cls(config)`.

    Attributes:
        features: Numbers per token.
        reads: Whether it can read the sentence.
    """

    every_camera = True
    reads = False
    classes = ("", "")
    """Of configuration and model, in `transformers`."""
    colours = _HALF
    """Mean and deviation its images are normalised with."""
    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Build, with the weights of the folder where one is given.

        Raises:
            ConfigError: No library, no such weights, weights that lack something, or another size of images.
        """
        super().__init__()
        library, settings = _library(config.encoder), config.backbone
        shape_class, model_class = (getattr(library, name) for name in self.classes)
        shape = self.adjust(shape_class.from_dict(self.shape_of(config)))
        self.check_size(shape, config.image_size)
        if settings.weights:
            model, told = model_class.from_pretrained(
                _folder(settings.weights),
                config=shape,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
            if told["missing_keys"]:
                raise ConfigError(
                    f"the weights in {settings.weights} lack {min(told['missing_keys'])} "
                    f"({len(told['missing_keys'])} missing)."
                )
        else:
            model = model_class(shape)
        for name, values in zip(("mean", "std"), self.colours, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.features = self.take(model)
        self.frozen = settings.frozen
        if self.frozen:
            self.requires_grad_(False)
        self.train()

    @classmethod
    def shape_of(cls, config: ModelConfig) -> dict[str, Any]:
        """What `config.json` says, as plain data; from the folder where the configuration does not hold it."""
        settings = config.backbone
        if settings.shape or not settings.weights:
            return dict(settings.shape)
        read = getattr(_library(config.encoder), cls.classes[0]).from_pretrained(
            _folder(settings.weights), local_files_only=True
        )
        return json.loads(read.to_json_string(use_diff=False))

    def adjust(self, shape: Any) -> Any:
        """Leave out what is not used."""
        return shape

    def check_size(self, shape: Any, size: int) -> None:
        """Refuse images of a size it was not made for."""
        raise NotImplementedError

    def take(self, model: Any) -> int:
        """Keep the parts that are used; answers how many numbers a token has."""
        raise NotImplementedError

    def look(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) to tokens (B, T, F), or what `read` takes."""
        raise NotImplementedError

    def read(self, seen: Tensor, numbers: Tensor) -> Tensor:
        """Tokens of images (B, P, F) and of the sentence (B, W), -1 where none, to tokens (B, P + W, F)."""
        raise ConfigError("this backbone reads no sentences.")

    def train(self, mode: bool = True) -> Backbone:
        """A frozen backbone is always at work, never in training."""
        return super().train(mode and not self.frozen)

    def forward(self, images: list[Tensor], numbers: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What is seen, and what is read.

        Args:
            images: One batch per camera, (B, 3, S, S) in [-0.5, 0.5].
            numbers: Token numbers of the sentence (B, W), -1 where there are none; None where it is not read here.

        Returns:
            Tokens (B, cameras T, F), camera by camera, and (B, W, F), 0 where there was no word.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            batch = len(images[0])
            stack = (torch.cat(images) + 0.5 - self.mean) / self.std
            seen = self.look(stack)
            seen = seen.unflatten(0, (len(images), batch)).transpose(0, 1).flatten(1, 2)
            if not self.reads:
                return seen, None
            if numbers is None:
                numbers = torch.full((batch, 0), -1, device=seen.device)
            said = self.read(seen, numbers)
            seen, text = said[:, : seen.shape[1]], said[:, seen.shape[1] :]
            return seen, text.masked_fill((numbers < 0)[..., None], 0.0) if numbers.shape[1] else None


def _square(size: int, wanted: int, name: str) -> None:
    if size != wanted:
        raise ConfigError(f"this {name} sees images of {wanted} px; image_size is {size}.")


def _multiple(size: int, of: int, name: str) -> None:
    if size % of:
        raise ConfigError(f"{name} sees images whose side is a multiple of {of} px; image_size is {size}.")


@encoder("siglip")
class Siglip(Backbone):
    """The vision half of SigLIP: the tokens before its pooling."""

    classes = ("SiglipVisionConfig", "SiglipVisionModel")

    def adjust(self, shape: Any) -> Any:
        """See `Backbone.adjust`."""
        shape.vision_use_head = False
        return shape

    def check_size(self, shape: Any, size: int) -> None:
        """See `Backbone.check_size`."""
        _square(size, shape.image_size, "SigLIP")

    def take(self, model: Any) -> int:
        """See `Backbone.take`."""
        self.model = model
        return int(model.config.hidden_size)

    def look(self, images: Tensor) -> Tensor:
        """See `Backbone.look`."""
        return self.model(pixel_values=images).last_hidden_state


@encoder("dinov2")
class Dinov2(Backbone):
    """DINOv2: its class token, then the patches."""

    classes = ("Dinov2Config", "Dinov2Model")
    colours = _IMAGENET

    def check_size(self, shape: Any, size: int) -> None:
        """See `Backbone.check_size`."""
        _multiple(size, shape.patch_size, "DINOv2")

    def take(self, model: Any) -> int:
        """See `Backbone.take`."""
        self.model = model
        # Of no use without masked patches; a weight without a gradient is waited for by data-parallel training.
        model.embeddings.mask_token.requires_grad_(False)
        return int(model.config.hidden_size)

    def look(self, images: Tensor) -> Tensor:
        """See `Backbone.look`."""
        return self.model(pixel_values=images).last_hidden_state


@encoder("florence2")
class Florence2(Backbone):
    """Florence-2: DaViT, the projection, and the encoder half of its BART; the decoder is left out."""

    classes = ("Florence2Config", "Florence2Model")
    colours = _IMAGENET
    reads = True

    def check_size(self, shape: Any, size: int) -> None:
        """See `Backbone.check_size`."""
        _multiple(size, int(np.prod(shape.vision_config.patch_stride)), "Florence-2")

    def take(self, model: Any) -> int:
        """See `Backbone.take`."""
        self.eye, self.bridge, self.model = (
            model.vision_tower,
            model.multi_modal_projector,
            model.language_model.encoder,
        )
        return int(model.config.text_config.d_model)

    def look(self, images: Tensor) -> Tensor:
        """See `Backbone.look`."""
        return self.bridge(self.eye(images).last_hidden_state)

    def read(self, seen: Tensor, numbers: Tensor) -> Tensor:
        """See `Backbone.read`."""
        text = self.model.embed_tokens(numbers.clamp_min(0))
        mask = torch.cat([numbers.new_ones(seen.shape[:2]), (numbers >= 0).long()], dim=1)
        return self.model(inputs_embeds=torch.cat([seen, text], dim=1), attention_mask=mask).last_hidden_state


@encoder("smolvlm")
class SmolVlm(Backbone):
    """SmolVLM: its vision model, the connector, and its language model, which is causal: images first."""

    classes = ("SmolVLMConfig", "SmolVLMModel")
    reads = True

    def check_size(self, shape: Any, size: int) -> None:
        """See `Backbone.check_size`."""
        _square(size, shape.vision_config.image_size, "SmolVLM")

    def take(self, model: Any) -> int:
        """See `Backbone.take`."""
        self.eye, self.bridge, self.model = model.vision_model, model.connector, model.text_model
        self._patch = int(model.config.vision_config.patch_size)
        return int(model.config.text_config.hidden_size)

    def look(self, images: Tensor) -> Tensor:
        """See `Backbone.look`."""
        side = images.shape[-1] // self._patch
        whole = torch.ones(len(images), side, side, dtype=torch.bool, device=images.device)
        return self.bridge(self.eye(pixel_values=images, patch_attention_mask=whole).last_hidden_state)

    def read(self, seen: Tensor, numbers: Tensor) -> Tensor:
        """See `Backbone.read`."""
        text = self.model.embed_tokens(numbers.clamp_min(0))
        mask = torch.cat([numbers.new_ones(seen.shape[:2]), (numbers >= 0).long()], dim=1)
        inputs = torch.cat([seen, text], dim=1)
        return self.model(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
