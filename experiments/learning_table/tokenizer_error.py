"""How much of the demonstrations' motion a code loses: BEAST tokens against bins of the same number, no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.learning_table.suites import Block
from vla_ros.beast.config import BeastConfig
from vla_ros.beast.tokenizer import BeastTokenizer

TOKENS = (5, 6, 8, 10)
"""Per joint and chunk."""


def lost(config: BeastConfig, chunks: np.ndarray) -> float:
    """Squared error of encoding and decoding `chunks` (n, K, J), as a share of their variance."""
    tokenizer = BeastTokenizer(config).fit(chunks)
    error = np.asarray(tokenizer.decode(tokenizer.encode(chunks))) - chunks
    return float((error**2).sum() / ((chunks - chunks.mean(axis=0)) ** 2).sum())


def codes(folder: Path, block: Block) -> list[dict[str, Any]]:
    """What is lost of the arm's chunks, relative to the measured joints: a row per number of tokens per joint."""
    files = [np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npz"))]
    names = block.config.actor.gripper if block.config.actor else ()
    labels = np.concatenate([f["labels"] for f in files]).astype(float)
    joints = np.concatenate([f["joints"] for f in files]).astype(float)
    order = columns(files[0])
    arm = [k for k, name in enumerate(order) if name not in names]
    chunks, s = (labels - joints[:, None])[..., arm], block.config.spline
    dofs, rows = tuple(order[k] for k in arm), []
    for n in TOKENS:
        spline = BeastConfig(dofs, s.waypoints, s.dt_s, control_points=n, degree=min(s.degree, n - 1))
        held = BeastConfig(dofs, s.waypoints, s.dt_s, control_points=n, degree=0, steps=dofs)
        rows.append({"tokens": n, "beast": round(lost(spline, chunks), 7), "bins": round(lost(held, chunks), 7)})
    return rows


def columns(file: Any) -> list[str]:
    """Names of the columns of a demonstration."""
    return list(json.loads(str(file["meta"]))["joints"])
