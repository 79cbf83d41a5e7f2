"""Seeded motions of known bandwidth, the inputs of the reference figures in the tests of the tokenizer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_ros.beast import BeastConfig, BeastTokenizer

Motion = Callable[[np.ndarray], np.ndarray]


def motion(band_hz: float, count: int = 600, seed: int = 0, second: float = 1.0) -> Motion:
    """`count` sums of 12 sines below `band_hz`, each at most 1 within `second`; times (T,) to (count, T, 1)."""
    rng = np.random.default_rng(seed)
    hz = rng.uniform(0.0, band_hz, (12, count))
    phase = rng.uniform(0.0, 2.0 * np.pi, (12, count))
    size = rng.normal(size=(12, count))

    def raw(t: np.ndarray) -> np.ndarray:
        out = np.zeros((count, len(t)))
        for f, p, a in zip(hz, phase, size, strict=True):
            out += a[:, None] * np.sin(2.0 * np.pi * f[:, None] * t + p[:, None])
        return out

    scale = np.abs(raw(np.linspace(0.0, second, 201))).max(axis=1)
    return lambda t: (raw(np.asarray(t)) / scale[:, None])[..., None]


def one_second(control_points: int, samples: int = 50, grid: str = "ends", **more) -> BeastTokenizer:
    """A tokenizer of one degree of freedom whose chunk lasts one second."""
    period = 1.0 / (samples - 1 if grid == "ends" else samples)
    return BeastTokenizer(
        BeastConfig(1, samples=samples, period_s=period, control_points=control_points, grid=grid, **more)
    )


def times(tokenizer: BeastTokenizer) -> np.ndarray:
    """Times of the actions, shape (T,) [s]."""
    return tokenizer.config.times * tokenizer.config.duration_s


def error(tokenizer: BeastTokenizer, actions: np.ndarray) -> float:
    """Mean squared error of the fit."""
    return float(np.mean((tokenizer.evaluate(tokenizer.control_points(actions)) - actions) ** 2))
