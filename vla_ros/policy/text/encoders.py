"""Text encoders by name: an instruction to an embedding or to token numbers; results are cached.

| name | output | needs |
|---|---|---|
| `hash` | bag of words by CRC-32: distinguishes instructions, without their meaning | nothing |
| `minilm` | all-MiniLM-L6-v2, frozen, 384 numbers: paraphrases are close to each other | the extra `language` |
| `backbone` | token numbers, for an image encoder that encodes text itself (`backbones.py`) | its tokenizer |

Each instruction is encoded once. A checkpoint carries the embeddings of its training's instructions, so that it needs
no text encoder until a new instruction is given.
"""

from __future__ import annotations

import re
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError
from vla_ros.registry import Registry

Embedding = npt.NDArray[np.float32] | npt.NDArray[np.int64]
"""An instruction as the input of a network: an embedding (W,), or token numbers (W,) padded with -1."""
CACHE_SIZE = 64
"""Instructions kept during operation; the oldest is dropped first, because they come from a topic."""


class TextEncoder(ABC):
    """Encodes instructions; made as `cls(size, weights)`.

    Attributes:
        fixed_size: Size of its output where it cannot be chosen; None where it is the requested size.
        gives_tokens: Whether its output is token numbers, for an image encoder that encodes text itself.
        needs_files: Whether it reads files; a checkpoint then carries the embeddings of its instructions.
    """

    fixed_size: ClassVar[int | None] = None
    gives_tokens: ClassVar[bool] = False
    needs_files: ClassVar[bool] = True

    def __init__(self, size: int, weights: str = "") -> None:
        """Keep the options.

        Args:
            size: Size of the output (W).
            weights: Folder of a backbone's weights, "" for none.
        """
        self.size, self.weights = size, weights

    @abstractmethod
    def __call__(self, instruction: str) -> Embedding:
        """Encode an instruction, shape (W,)."""


text_encoders: Registry[type[TextEncoder]] = Registry("text encoder", builtin={"minilm": "vla_ros.policy.text.minilm"})
"""Classes of text encoders, by name."""


def embedding_size(name: str, size: int) -> int:
    """Size of the output of the encoder `name` where the configuration requests `size`.

    Raises:
        UnknownName: There is no encoder of that name.
    """
    return text_encoders.get(name).fixed_size or size


class InstructionEncoder:
    """Embeddings of instructions, cached; the encoder is made at the first unknown instruction."""

    def __init__(
        self,
        name: str,
        size: int,
        weights: str = "",
        known: Mapping[str, Embedding] | None = None,
        max_cached: float = CACHE_SIZE,
    ) -> None:
        """Choose the encoder.

        Args:
            name: In the registry.
            size: Requested size.
            weights: Folder of a backbone, for encoders that read its tokenizer.
            known: Embeddings of instructions that need not be encoded again; never dropped.
            max_cached: How many others are kept. Infinite in training, whose checkpoint carries all of them.

        Raises:
            UnknownName: There is no encoder of that name.
        """
        self._name, self._weights, self._max_cached = name, weights, max_cached
        self._size = embedding_size(name, size)
        self._known = dict(known or {})
        self._cached: OrderedDict[str, Embedding] = OrderedDict()
        self._encoder: TextEncoder | None = None

    def __call__(self, instruction: str) -> Embedding:
        """Embedding of an instruction; must not be written to.

        Raises:
            ConfigError: The instruction is new, and its encoder is not installed.
        """
        found = self._known.get(instruction)
        if found is None:
            found = self._cached.get(instruction)
        if found is None:
            if self._encoder is None:
                self._encoder = text_encoders.get(self._name)(self._size, self._weights)
            found = self._cached[instruction] = self._encoder(instruction)
            if len(self._cached) > self._max_cached:
                self._cached.popitem(last=False)
        return found

    def embeddings(self) -> dict[str, Embedding]:
        """Instructions and embeddings to put into a checkpoint; none where the encoder is always available."""
        return {**self._known, **self._cached} if text_encoders.get(self._name).needs_files else {}


def split_words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, in order."""
    return re.findall(r"[a-z0-9]+", text.lower())


def hash_embedding(instruction: str, size: int) -> npt.NDArray[np.float32]:
    """Unit vector of signed word counts, shape (size,); zero for an empty instruction.

    CRC-32 and not `hash()`, which differs between processes.
    """
    vector = np.zeros(size, dtype=np.float32)
    for word in split_words(instruction):
        code = zlib.crc32(word.encode("ascii"))
        vector[code % size] += 1.0 if (code >> 16) & 1 else -1.0
    norm = float(np.linalg.norm(vector))
    return vector / np.float32(norm) if norm > 0.0 else vector


@text_encoders.register("hash")
class HashEncoder(TextEncoder):
    """See `hash_embedding`."""

    needs_files: ClassVar[bool] = False

    def __call__(self, instruction: str) -> Embedding:
        """See `TextEncoder`."""
        return hash_embedding(instruction, self.size)


@text_encoders.register("backbone")
class BackboneTokens(TextEncoder):
    """Token numbers by the `tokenizer.json` beside a backbone's weights, at most `size`, padded with -1.

    Without weights the tokens are the bytes of the instruction.
    """

    gives_tokens: ClassVar[bool] = True

    def __init__(self, size: int, weights: str = "") -> None:
        """Read the tokenizer.

        Raises:
            ConfigError: There is no such file, or no library to read it.
        """
        super().__init__(size, weights)
        self._tokenizer: Any = None
        if not weights:
            return
        path = Path(weights).expanduser() / "tokenizer.json"
        if not path.is_file():
            raise ConfigError(f"a backbone needs its tokenizer for a new instruction; there is no {path}.")
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ConfigError(
                f'reading {path} needs the library tokenizers: pip install "vla_ros[backbones]".'
            ) from None
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __call__(self, instruction: str) -> Embedding:
        """See `TextEncoder`."""
        encoded = (
            list(instruction.encode()) if self._tokenizer is None else list(self._tokenizer.encode(instruction).ids)
        )
        return np.array([*encoded[: self.size], *[-1] * (self.size - len(encoded))], dtype=np.int64)
