"""Exact statistics of a feature in LeRobot's format, over one episode or over all frames of a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


class FeatureStatistics:
    """Accumulates the values of a feature.

    Images are kept as one histogram per channel, which determines all statistics; vectors are kept as values.
    """

    def __init__(self) -> None:
        """Start without values."""
        self._rows: list[np.ndarray] = []
        self._histograms = np.zeros((3, 256), dtype=np.int64)
        self._image_count = 0

    def add(self, values: np.ndarray) -> None:
        """Add images, shape (T, H, W, 3) uint8, or values, shape (T, n) or (T,)."""
        if values.dtype == np.uint8:
            self._image_count += len(values)
            self._histograms += np.stack([np.bincount(values[..., c].ravel(), minlength=256) for c in range(3)])
        else:
            self._rows.append(values.reshape(len(values), -1))

    def merge(self, other: FeatureStatistics) -> None:
        """Add all values of `other`."""
        self._image_count += other._image_count
        self._histograms += other._histograms
        self._rows += other._rows

    def result(self) -> dict[str, Any]:
        """min, max, mean, std, count and quantiles as nested lists; for images per channel, 0 to 1, shape (3, 1, 1)."""
        if self._image_count:
            per_channel = [self._from_histogram(np.arange(256) / 255.0, weights) for weights in self._histograms]
            nested = {key: [[[row[key]]] for row in per_channel] for key in per_channel[0]}
            return {**nested, "count": [self._image_count]}
        values = np.concatenate(self._rows)  # minimum and maximum of integers stay integers
        data = values.astype(np.float64)
        stats = {
            "min": values.min(axis=0),
            "max": values.max(axis=0),
            "mean": data.mean(axis=0),
            "std": data.std(axis=0),
        }
        stats |= dict(zip(QUANTILES, np.quantile(data, list(QUANTILES.values()), axis=0), strict=True))
        return {**{key: value.tolist() for key, value in stats.items()}, "count": [len(data)]}

    @staticmethod
    def _from_histogram(levels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
        total, present = weights.sum(), np.flatnonzero(weights)
        mean = float(levels @ weights / total)
        stats = {"min": float(levels[present[0]]), "max": float(levels[present[-1]]), "mean": mean}
        stats["std"] = float(np.sqrt(np.maximum((levels - mean) ** 2 @ weights / total, 0.0)))
        cumulative = np.cumsum(weights)
        return stats | {key: float(levels[np.searchsorted(cumulative, q * total)]) for key, q in QUANTILES.items()}
