"""One file per policy: weights and statistics as safetensors, everything else as JSON in its header.

Nothing is ever unpickled. A file that does not fit is refused with one sentence, before it can move
anything.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from vla_ros.config import from_mapping
from vla_ros.core.errors import ConfigError
from vla_ros.policy.network.build import Model, make_model
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.text.encoders import Words

FORMAT = 1
KEY = "vla_ros"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself.

    Attributes:
        robot: Name of the robot it was trained for.
        instruction: The sentence it was trained with.
        model: The network's shape, names and grid.
        command: The command that made it.
        seed: The seed given to it.
        sentences: What sentences of training came to, so that running them needs no sentence encoder.
        notes: Figures worth keeping (steps, frames, success); never read by code.
    """

    robot: str
    instruction: str
    model: ModelConfig
    command: str = ""
    seed: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    sentences: Mapping[str, Words] = field(default_factory=dict)


def write_whole(path: Path, data: bytes) -> None:
    """Replace the file at `path`; killed at any moment, even by a loss of power, it is the old or the new one.

    Raises:
        ConfigError: It cannot be written; nothing is left of the attempt.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise ConfigError(f"{path} ({len(data) / 1e6:.1f} MB) cannot be written: {error.strerror}.") from None
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_checkpoint(path: Path, model: Model, info: CheckpointInfo) -> None:
    """Write the file whole or not at all; weights in half precision, statistics in single.

    Raises:
        ConfigError: A value is NaN or infinite, or too great for half precision; such a file would not be read again.
    """
    header = {
        "format": FORMAT,
        "robot": info.robot,
        "instruction": info.instruction,
        "model": info.model.to_json(),
        "command": info.command,
        "seed": info.seed,
        "notes": info.notes,
        # Nine digits are a float32, whole.
        "sentences": {k: [float(f"{v:.9g}") for v in row.tolist()] for k, row in info.sentences.items()},
    }
    statistics = dict(model.named_buffers())
    tensors = {
        name: (value.float() if name in statistics else value.half()).contiguous().clone()
        for name, value in model.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ConfigError(f"{path.name} is not written: {name} has values that are NaN, or above 65504.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(tensors, metadata={KEY: json.dumps(header, sort_keys=True)}))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise ConfigError(f"there is no checkpoint at {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ConfigError(f"{path.name} is not a safetensors file ({str(error).splitlines()[0]}).") from None
    if header is None:
        raise ConfigError(f"{path.name} is a safetensors file, but not a checkpoint of vla_ros.")
    try:
        data = json.loads(header)
    except json.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise ConfigError(f"the header of {path.name} is damaged.")
    return data, tensors


def _sentences(data: Any, config: ModelConfig, name: str) -> dict[str, Words]:
    rows: dict[str, Words] = {}
    try:
        for sentence, row in dict(data or {}).items():
            numbers = np.array(row, dtype=np.float64)
            whole = config.language == "backbone"
            rows[str(sentence)] = numbers.astype(np.int64) if whole else numbers.astype(np.float32)
    except (TypeError, ValueError):
        raise ConfigError(f"the sentences in {name} are not numbers.") from None
    if not all(row.shape == (config.sentence,) and np.isfinite(row).all() for row in rows.values()):
        raise ConfigError(f"the sentences in {name} are not {config.sentence} finite numbers each.")
    return rows


def load_checkpoint(
    path: Path | str, robot: str | None = None, joints: Sequence[str] | None = None
) -> tuple[Model, CheckpointInfo]:
    """Read a checkpoint into a model ready for inference.

    Args:
        path: The file.
        robot: Name of the robot at hand, or None to take any.
        joints: Its joints, or None to take any; their order does not matter.

    Raises:
        ConfigError: Not there, not safetensors, another format version, another robot, or tensors missing,
            extra, of the wrong shape or not finite.
    """
    path = Path(path)
    data, tensors = _read(path)
    if data.get("format") != FORMAT:
        raise ConfigError(f"{path.name} has checkpoint format {data.get('format')}; this version reads {FORMAT}.")
    if not isinstance(data.get("model"), dict) or not isinstance(data.get("robot"), str):
        raise ConfigError(f"the header of {path.name} lacks its robot or its model.")
    seed, notes = data.get("seed", 0), data.get("notes") or {}
    if type(seed) is not int or not isinstance(notes, dict):
        raise ConfigError(f"the header of {path.name} has a seed that is no whole number, or notes without names.")
    if robot is not None and data["robot"] != robot:
        raise ConfigError(f'{path.name} was trained for robot "{data["robot"]}", not for "{robot}".')
    config = from_mapping(ModelConfig, {**data["model"], "auxiliary": 0}, path.name)
    if joints is not None and set(joints) != set(config.joints):
        raise ConfigError(f"{path.name} moves {', '.join(config.joints)}; the robot has {', '.join(joints)}.")
    # All weights are in the file: those a backbone began with are not looked for.
    model = make_model(replace(config, backbone=replace(config.backbone, weights="")))
    wanted = model.state_dict()
    heard = {name: value for name, value in wanted.items() if name.startswith("hear.")}
    if not heard.keys() & tensors.keys():
        tensors |= heard  # an older file: its network took sentences as they are, and so does one that is new
    missing, extra = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or extra:
        what = f"lacks tensor {missing[0]}" if missing else f"has unknown tensor {extra[0]}"
        raise ConfigError(f"{path.name} {what} ({len(missing)} missing, {len(extra)} unknown).")
    for name, value in tensors.items():
        if value.shape != wanted[name].shape:
            raise ConfigError(f"tensor {name} of {path.name} is {tuple(value.shape)}, not {tuple(wanted[name].shape)}.")
        if not torch.isfinite(value).all():
            raise ConfigError(f"tensor {name} of {path.name} has values that are NaN or infinite.")
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    model.to(memory_format=torch.channels_last).eval()  # as images come
    info = CheckpointInfo(
        robot=data["robot"],
        instruction=str(data.get("instruction", "")),
        model=config,
        command=str(data.get("command", "")),
        seed=seed,
        notes=notes,
        sentences=_sentences(data.get("sentences"), config, path.name),
    )
    return model, info
