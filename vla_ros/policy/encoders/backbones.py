"""Pretrained Hugging Face backbones as image encoders: `siglip`, `dinov2`, `florence2`, `smolvlm`.

They use the model code of `transformers` (the extra `backbones`). All cameras are one batch with one set of weights.
Their output goes to the action transformer token by token. The two vision-language models can also encode the
instruction (`language: backbone`); images and instruction then pass through the language model together.

Weights are read from a local folder, as safetensors only: nothing is unpickled, no code of a model repository is
executed, and no hub is contacted.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vla_ros.core.errors import ConfigError
from vla_ros.policy.encoders.base import ImageEncoder, image_encoders
from vla_ros.policy.network.config import ModelConfig

EXTRA = 'pip install "vla_ros[backbones]"'
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _library(name: str) -> Any:
    """The module `transformers`, in offline mode."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise ConfigError(f'the encoder "{name}" needs the library transformers: {EXTRA}.') from None


def _folder(weights: str) -> Path:
    """The folder of weights, checked before anything is read from it."""
    folder = Path(weights).expanduser()
    if not (folder / "config.json").is_file():
        raise ConfigError(f"the folder of the backbone's weights, {folder}, has no config.json.")
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(f"there are no safetensors in {folder}; weights in other formats are not read.")
    return folder


class Backbone(ImageEncoder):
    """Base class of the backbones; one instance encodes all cameras.

    Attributes:
        classes: Names of the classes of configuration and model, in `transformers`.
        colours: Mean and standard deviation that images are normalised with, per colour channel.
    """

    every_camera: ClassVar[bool] = True
    classes: ClassVar[tuple[str, str]] = ("", "")
    colours: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]] = _HALF
    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        """Build, with the weights of the folder where one is given.

        Raises:
            ConfigError: The library or the weights are missing, the weights are incomplete, or the size of images does
                not fit.
        """
        super().__init__()
        library, settings = _library(config.network.encoder), config.network.backbone
        shape_class, model_class = (getattr(library, name) for name in self.classes)
        shape = self.adjust(shape_class.from_dict(self.backbone_shape(config)))
        self.check_size(shape, config.image_size)
        if settings.weights:
            model, loading = model_class.from_pretrained(
                _folder(settings.weights),
                config=shape,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
            if loading["missing_keys"]:
                raise ConfigError(
                    f"the weights in {settings.weights} lack {min(loading['missing_keys'])} "
                    f"({len(loading['missing_keys'])} missing)."
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
    def backbone_shape(cls, config: ModelConfig) -> Mapping[str, Any]:
        """See `ImageEncoder.backbone_shape`; read from the folder where the configuration does not hold it."""
        settings = config.network.backbone
        if settings.shape or not settings.weights:
            return dict(settings.shape)
        loaded = getattr(_library(config.network.encoder), cls.classes[0]).from_pretrained(
            _folder(settings.weights), local_files_only=True
        )
        return json.loads(loaded.to_json_string(use_diff=False))

    def adjust(self, shape: Any) -> Any:
        """Switch off the parts that are not used."""
        return shape

    def check_size(self, shape: Any, size: int) -> None:
        """Refuse a size of images that the backbone does not support."""
        raise NotImplementedError

    def take(self, model: Any) -> int:
        """Keep the parts that are used.

        Returns:
            Size of a token.
        """
        raise NotImplementedError

    def encode_images(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) to tokens (B, T, F)."""
        raise NotImplementedError

    def encode_text(self, image_tokens: Tensor, text: Tensor) -> Tensor:
        """Image tokens (B, P, F) and token numbers (B, W), padded with -1, to tokens (B, P + W, F)."""
        raise ConfigError("this backbone does not encode text.")

    def train(self, mode: bool = True) -> Backbone:
        """Set the training mode; a frozen backbone stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def forward(self, images: list[Tensor], text: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Encode all cameras, and the instruction where the backbone encodes text.

        Args:
            images: One batch per camera, (B, 3, S, S) in [-0.5, 0.5].
            text: Token numbers of the instruction (B, W), padded with -1; None where another encoder encodes it.

        Returns:
            Image tokens (B, cameras T, F), camera by camera, and text tokens (B, W, F), 0 at the padding.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            batch = len(images[0])
            stack = (torch.cat(images) + 0.5 - self.mean) / self.std
            tokens = self.encode_images(stack)
            tokens = tokens.unflatten(0, (len(images), batch)).transpose(0, 1).flatten(1, 2)
            if not self.encodes_text:
                return tokens, None
            if text is None:
                text = torch.full((batch, 0), -1, device=tokens.device)
            encoded = self.encode_text(tokens, text)
            tokens, text_tokens = encoded[:, : tokens.shape[1]], encoded[:, tokens.shape[1] :]
            return tokens, text_tokens.masked_fill((text < 0)[..., None], 0.0) if text.shape[1] else None


def _require_size(size: int, required: int, name: str) -> None:
    if size != required:
        raise ConfigError(f"this {name} needs images of {required} px; image_size is {size}.")


def _require_multiple(size: int, step: int, name: str) -> None:
    if size % step:
        raise ConfigError(f"{name} needs images whose side is a multiple of {step} px; image_size is {size}.")


@image_encoders.register("siglip")
class Siglip(Backbone):
    """The vision tower of SigLIP: the tokens before its pooling."""

    classes = ("SiglipVisionConfig", "SiglipVisionModel")

    def adjust(self, shape: Any) -> Any:
        """See `Backbone.adjust`."""
        shape.vision_use_head = False
        return shape

    def check_size(self, shape: Any, size: int) -> None:
        """See `Backbone.check_size`."""
        _require_size(size, shape.image_size, "SigLIP")

    def take(self, model: Any) -> int:
        """See `Backbone.take`."""
        self.model = model
        return int(model.config.hidden_size)

    def encode_images(self, images: Tensor) -> Tensor:
        """See `Backbone.encode_images`."""
        return self.model(pixel_values=images).last_hidden_state


@image_encoders.register("dinov2")
class Dinov2(Backbone):
    """DINOv2: its class token, then the patch tokens."""

    classes = ("Dinov2Config", "Dinov2Model")
    colours = _IMAGENET

    def check_size(self, shape: Any, size: int) -> None:
        """See `Backbone.check_size`."""
        _require_multiple(size, shape.patch_size, "DINOv2")

    def take(self, model: Any) -> int:
        """See `Backbone.take`."""
        self.model = model
        # Unused without masked patches; data-parallel training would wait for its gradient.
        model.embeddings.mask_token.requires_grad_(False)
        return int(model.config.hidden_size)

    def encode_images(self, images: Tensor) -> Tensor:
        """See `Backbone.encode_images`."""
        return self.model(pixel_values=images).last_hidden_state


@image_encoders.register("florence2")
class Florence2(Backbone):
    """Florence-2: DaViT, the projection and the encoder of its BART; the decoder is left out."""

    classes = ("Florence2Config", "Florence2Model")
    colours = _IMAGENET
    encodes_text = True

    def check_size(self, shape: Any, size: int) -> None:
        """See `Backbone.check_size`."""
        _require_multiple(size, int(np.prod(shape.vision_config.patch_stride)), "Florence-2")

    def take(self, model: Any) -> int:
        """See `Backbone.take`."""
        self.vision, self.projection, self.model = (
            model.vision_tower,
            model.multi_modal_projector,
            model.language_model.encoder,
        )
        return int(model.config.text_config.d_model)

    def encode_images(self, images: Tensor) -> Tensor:
        """See `Backbone.encode_images`."""
        return self.projection(self.vision(images).last_hidden_state)

    def encode_text(self, image_tokens: Tensor, text: Tensor) -> Tensor:
        """See `Backbone.encode_text`."""
        embedded = self.model.embed_tokens(text.clamp_min(0))
        mask = torch.cat([text.new_ones(image_tokens.shape[:2]), (text >= 0).long()], dim=1)
        return self.model(
            inputs_embeds=torch.cat([image_tokens, embedded], dim=1), attention_mask=mask
        ).last_hidden_state


@image_encoders.register("smolvlm")
class SmolVlm(Backbone):
    """SmolVLM: its vision model, the connector and its language model, which is causal: image tokens come first."""

    classes = ("SmolVLMConfig", "SmolVLMModel")
    encodes_text = True

    def check_size(self, shape: Any, size: int) -> None:
        """See `Backbone.check_size`."""
        _require_size(size, shape.vision_config.image_size, "SmolVLM")

    def take(self, model: Any) -> int:
        """See `Backbone.take`."""
        self.vision, self.projection, self.model = model.vision_model, model.connector, model.text_model
        self._patch = int(model.config.vision_config.patch_size)
        return int(model.config.text_config.hidden_size)

    def encode_images(self, images: Tensor) -> Tensor:
        """See `Backbone.encode_images`."""
        side = images.shape[-1] // self._patch
        mask = torch.ones(len(images), side, side, dtype=torch.bool, device=images.device)
        return self.projection(self.vision(pixel_values=images, patch_attention_mask=mask).last_hidden_state)

    def encode_text(self, image_tokens: Tensor, text: Tensor) -> Tensor:
        """See `Backbone.encode_text`."""
        embedded = self.model.embed_tokens(text.clamp_min(0))
        mask = torch.cat([text.new_ones(image_tokens.shape[:2]), (text >= 0).long()], dim=1)
        inputs = torch.cat([image_tokens, embedded], dim=1)
        return self.model(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
