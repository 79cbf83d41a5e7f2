"""The file of a tokenizer: JSON with its configuration and its bounds, exact to the last bit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from vla_ros.beast.config import BeastConfig
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import Array

FORMAT = "vla_ros beast 1"


def write_state(path: Path, config: BeastConfig, lower: Array, upper: Array) -> None:
    """Write the file atomically; bounds have shape (N, D)."""
    # Python writes the shortest decimal that reads back as the same double.
    state = {"format": FORMAT, "config": config.to_json(), "lower": lower.tolist(), "upper": upper.tolist()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(state, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_state(path: Path) -> tuple[BeastConfig, Array, Array]:
    """Read configuration, lower and upper bounds (N, D); the caller checks the bounds.

    Raises:
        ConfigError: The file is missing, damaged or of another format.
    """
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(f"there is no tokenizer at {path}.") from None
    except ValueError:
        raise ConfigError(f"{path.name} is not JSON.") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ConfigError(f'{path.name} is not a tokenizer of this version ("{FORMAT}").')
    try:
        config = BeastConfig(**state["config"])
        lower, upper = (np.array(state[name], dtype=np.float64) for name in ("lower", "upper"))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path.name} does not describe a tokenizer ({error}).") from None
    return config, lower, upper
