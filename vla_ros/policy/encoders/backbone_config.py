"""Which pretrained backbone sees for the action transformer, and where its weights are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class BackboneConfig:
    """A Hugging Face backbone; which one says `encoder` of the model.

    Attributes:
        weights: Folder with `config.json` and safetensors (and `tokenizer.json` where the backbone reads the
            sentence); empty for random weights. A checkpoint holds all weights and never needs the folder again.
        shape: What `config.json` of such a model says; read from `weights` where that is given.
        frozen: Whether training leaves the backbone as it is.
    """

    weights: str = ""
    shape: Mapping[str, Any] = field(default_factory=dict)
    frozen: bool = True
