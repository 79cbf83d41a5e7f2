"""The task sentence as numbers: a hashed bag of words.

This is the seam where a real sentence encoder goes. One task needs only to be told from others, and a
hash needs no vocabulary file, no download, and gives the same numbers on every machine.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
import numpy.typing as npt


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
