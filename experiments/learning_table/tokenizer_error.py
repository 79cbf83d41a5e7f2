"""Reconstruction error of the demonstrations' chunks: BEAST tokens against as many bins, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments.learning_table.suites import Suite
from vla_ros.beast.config import BeastConfig
from vla_ros.beast.tokenizer import BeastTokenizer
from vla_ros.data.episodes import read_episode

TOKENS = (5, 6, 8, 10)
"""Tokens per joint and chunk."""


def relative_error(config: BeastConfig, chunks: np.ndarray) -> float:
    """Squared error of encoding and decoding `chunks` (n, K, J), over their variance."""
    tokenizer = BeastTokenizer(config).fit(chunks)
    error = np.asarray(tokenizer.decode(tokenizer.encode(chunks))) - chunks
    return float((error**2).sum() / ((chunks - chunks.mean(axis=0)) ** 2).sum())


def tokenizer_errors(folder: Path, suite: Suite) -> list[dict[str, Any]]:
    """Errors of the arm's chunks relative to the measured joints: a row per number of tokens per joint."""
    paths = sorted(folder.glob("*.npz"))
    files = [np.load(path, allow_pickle=False) for path in paths]  # reads no images
    grippers = suite.config.network.grippers
    labels = np.concatenate([f["labels"] for f in files]).astype(float)
    joints = np.concatenate([f["joints"] for f in files]).astype(float)
    names = read_episode(paths[0])[0].joints
    arm = [k for k, name in enumerate(names) if name not in grippers]
    chunks, s = (labels - joints[:, None])[..., arm], suite.config.spline
    dofs, rows = tuple(names[k] for k in arm), []
    for n in TOKENS:
        beast = BeastConfig(dofs, s.waypoints, s.dt_s, control_points=n, degree=min(s.degree, n - 1))
        bins = BeastConfig(dofs, s.waypoints, s.dt_s, control_points=n, degree=0, steps=dofs)
        errors = {
            "beast": round(relative_error(beast, chunks), 7),
            "bins": round(relative_error(bins, chunks), 7),
        }
        rows.append({"tokens": n, **errors})
    return rows
