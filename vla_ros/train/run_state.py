"""An unfinished run on disk: everything that decides how it goes on, written whole or not at all, never unpickled.

One safetensors file; its header holds what are not tensors, as JSON.
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
from vla_ros.policy.network.checkpoint import write_whole
from vla_ros.train.config import TrainConfig

FORMAT = 1
KEY = "vla_ros_training"
_FREE = ("evaluate", "demos.processes", "track.save_s", "track.tensorboard", "track.wandb")
"""Settings that may differ when a run goes on, for they do not decide what is learned."""


def write_state(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    """Replace the state at `path`, as `write_whole` does."""
    text = json.dumps({"format": FORMAT, **header}, sort_keys=True, allow_nan=False)
    data = save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, {KEY: text})
    write_whole(path, data)


def read_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header.

    Raises:
        ConfigError: It is not the state of a run, or one of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{path} is not the state of a run ({str(error).splitlines()[0]}); --no-resume begins anew."
        ) from None
    if header.get("format") != FORMAT:
        raise ConfigError(
            f"{path} has state format {header.get('format')}; this version reads {FORMAT}; --no-resume begins anew."
        )
    return tensors, header


def settings(config: TrainConfig, seed: int, processes: int) -> dict[str, Any]:
    """What must be the same for a run to go on: dotted names to plain values."""
    flat: dict[str, Any] = {"seed": seed, "processes": processes}

    def walk(prefix: str, data: Mapping[str, Any]) -> None:
        for key, value in data.items():
            if isinstance(value, Mapping):
                walk(f"{prefix}{key}.", value)
            elif prefix + key not in _FREE:
                flat[prefix + key] = value

    walk("", asdict(config))
    plain: dict[str, Any] = json.loads(json.dumps(flat, default=str))
    return plain


def check_same(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings.

    Raises:
        ConfigError: They differ; the text names the first.
    """
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            raise ConfigError(
                f"{path.parent} holds an unfinished run with {key} {then.get(key)}, not {now.get(key)}; give the same "
                "settings, another --out, or --no-resume to begin anew."
            )


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """What would raise KeyboardInterrupt waits for the end of what is done within, or half of it would be kept.

    That is Ctrl-C, and SIGTERM where a command takes it for one. A signal that is ignored stays ignored.
    """
    both = (signal.SIGINT, signal.SIGTERM)
    here = threading.current_thread() is threading.main_thread()
    held = [n for n in both if here and signal.getsignal(n) is signal.default_int_handler]
    asked: list[int] = []
    for number in held:
        signal.signal(number, lambda number, _frame: asked.append(number))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, signal.default_int_handler)
    if asked:
        raise KeyboardInterrupt
