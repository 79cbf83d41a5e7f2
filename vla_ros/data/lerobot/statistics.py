"""Statistics of a feature in LeRobot's terms, exact: over an episode, or over all frames whatever their episodes."""

from __future__ import annotations

from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


class Tally:
    """Takes a feature's values, as they come or from other tallies.

    Of images it keeps one histogram per channel, from which everything follows; of vectors the values.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._rows: list[np.ndarray] = []
        self._levels = np.zeros((3, 256), dtype=np.int64)
        self._images = 0

    def add(self, values: np.ndarray) -> None:
        """Images (T, H, W, 3) uint8, or numbers (T, n) or (T,)."""
        if values.dtype == np.uint8:
            self._images += len(values)
            self._levels += np.stack([np.bincount(values[..., c].ravel(), minlength=256) for c in range(3)])
        else:
            self._rows.append(values.reshape(len(values), -1))

    def merge(self, other: Tally) -> None:
        """All that `other` has taken."""
        self._images += other._images
        self._levels += other._levels
        self._rows += other._rows

    def result(self) -> dict[str, Any]:
        """min, max, mean, std, count and quantiles as nested lists; of images per channel, 0 to 1, shape (3, 1, 1)."""
        if self._images:
            per_channel = [self._of(np.arange(256) / 255.0, weights) for weights in self._levels]
            nested = {key: [[[row[key]]] for row in per_channel] for key in per_channel[0]}
            return {**nested, "count": [self._images]}
        whole = np.concatenate(self._rows)  # of whole numbers the least and the greatest are whole, too
        data = whole.astype(np.float64)
        stats = {"min": whole.min(axis=0), "max": whole.max(axis=0), "mean": data.mean(axis=0), "std": data.std(axis=0)}
        stats |= dict(zip(QUANTILES, np.quantile(data, list(QUANTILES.values()), axis=0), strict=True))
        return {**{key: value.tolist() for key, value in stats.items()}, "count": [len(data)]}

    @staticmethod
    def _of(levels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
        total, seen = weights.sum(), np.flatnonzero(weights)
        mean = float(levels @ weights / total)
        stats = {"min": float(levels[seen[0]]), "max": float(levels[seen[-1]]), "mean": mean}
        stats["std"] = float(np.sqrt(np.maximum((levels - mean) ** 2 @ weights / total, 0.0)))
        below = np.cumsum(weights)
        return stats | {key: float(levels[np.searchsorted(below, q * total)]) for key, q in QUANTILES.items()}
