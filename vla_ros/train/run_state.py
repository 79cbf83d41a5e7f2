"""State of an unfinished run on disk: everything that determines how it continues; read without unpickling.

The state is one safetensors file, written atomically; values that are not tensors are JSON in its header.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from vla_ros.core.errors import ConfigError
from vla_ros.policy.network.checkpoint import write_atomic
from vla_ros.train.config import TrainConfig

FORMAT = 2
"""Version of the state. Version 1 had other key names."""
KEY = "vla_ros_training"
_FREE_SETTINGS = ("evaluate", "demos.processes", "track.save_s", "track.tensorboard", "track.wandb")
"""Settings that may change when a run is resumed, because they do not affect what is learned."""


def write_state(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    """Replace the state at `path` atomically."""
    text = json.dumps({"format": FORMAT, **header}, sort_keys=True, allow_nan=False)
    data = save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, {KEY: text})
    write_atomic(path, data)


def read_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header.

    Raises:
        ConfigError: It is not the state of a run, or has another format version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{path} is not the state of a run ({str(error).splitlines()[0]}); --no-resume starts again."
        ) from None
    if header.get("format") != FORMAT:
        raise ConfigError(
            f"{path} has state format {header.get('format')}; this version reads format {FORMAT}; --no-resume starts "
            "again."
        )
    return tensors, header


def resume_settings(config: TrainConfig, seed: int, world_size: int) -> dict[str, Any]:
    """Settings that must be equal for a run to be resumed: dotted names to JSON values."""
    flat: dict[str, Any] = {"seed": seed, "world_size": world_size}

    def add(prefix: str, data: Mapping[str, Any]) -> None:
        for key, value in data.items():
            if isinstance(value, Mapping):
                add(f"{prefix}{key}.", value)
            elif prefix + key not in _FREE_SETTINGS:
                flat[prefix + key] = value

    add("", asdict(config))
    plain: dict[str, Any] = json.loads(json.dumps(flat, default=str))
    return plain


def check_settings(path: Path, saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Compare the settings of an unfinished run with the current ones.

    Raises:
        ConfigError: They differ; the text names the first difference.
    """
    for key in sorted({*saved, *current}):
        if saved.get(key) != current.get(key):
            raise ConfigError(
                f"{path.parent} has an unfinished run with {key} {saved.get(key)}, not {current.get(key)}; use the "
                "same settings, another --out, or --no-resume to start again."
            )


@contextlib.contextmanager
def defer_interrupts() -> Iterator[None]:
    """Delay `KeyboardInterrupt` until the end of the context, so that its content is executed completely.

    This applies to Ctrl-C, and to SIGTERM if its handler raises `KeyboardInterrupt`. An ignored signal stays ignored.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    deferred = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if main_thread and signal.getsignal(number) is signal.default_int_handler
    ]
    received: list[int] = []
    for number in deferred:
        signal.signal(number, lambda number, _frame: received.append(number))
    try:
        yield
    finally:
        for number in deferred:
            signal.signal(number, signal.default_int_handler)
    if received:
        raise KeyboardInterrupt
