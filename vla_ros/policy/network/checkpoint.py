"""Checkpoint files: weights and statistics as safetensors, everything else as JSON in the header.

Nothing is unpickled. A file that does not fit is refused with one sentence, before it can command a robot.
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
from vla_ros.policy.network.config import ModelConfig
from vla_ros.policy.network.model import VlaNetwork
from vla_ros.policy.network.resolve import resolve
from vla_ros.policy.text.encoders import Embedding, text_encoders

FORMAT = 2
KEY = "vla_ros"


@dataclass(frozen=True)
class CheckpointInfo:
    """The header of a checkpoint.

    Attributes:
        robot: Name of the robot it was trained for.
        instruction: The first instruction of its training data, used where an observation has none.
        model: The configuration of the network.
        command: The command that made it.
        seed: The seed of that command.
        notes: Figures for the record (steps, frames, success); not read by code.
        instructions: Embeddings of the training's instructions, so that they need no text encoder.
    """

    robot: str
    instruction: str
    model: ModelConfig
    command: str = ""
    seed: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    instructions: Mapping[str, Embedding] = field(default_factory=dict)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace the file at `path` atomically: after an interruption or a loss of power it is the old or the new one.

    Raises:
        ConfigError: It cannot be written; no partial file remains.
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


def save_checkpoint(path: Path, model: VlaNetwork, info: CheckpointInfo) -> None:
    """Write the file atomically; weights in half precision, statistics in single precision.

    Raises:
        ConfigError: A value is NaN, infinite or out of the range of half precision; nothing is written.
    """
    header = {
        "format": FORMAT,
        "robot": info.robot,
        "instruction": info.instruction,
        "model": resolve(info.model).to_json(),
        "command": info.command,
        "seed": info.seed,
        "notes": info.notes,
        # Nine digits represent a float32 exactly.
        "instructions": {k: [float(f"{v:.9g}") for v in row.tolist()] for k, row in info.instructions.items()},
    }
    statistics = dict(model.named_buffers())
    tensors = {
        name: (value.float() if name in statistics else value.half()).contiguous().clone()
        for name, value in model.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ConfigError(f"{path.name} is not written: {name} has values that are NaN or above 65504.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, save(tensors, metadata={KEY: json.dumps(header, sort_keys=True)}))


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


def _embeddings(data: Any, config: ModelConfig, name: str) -> dict[str, Embedding]:
    rows: dict[str, Embedding] = {}
    tokens, size = text_encoders.get(config.network.language).gives_tokens, config.network.embedding_size
    try:
        for instruction, row in dict(data or {}).items():
            values = np.array(row, dtype=np.float64)
            rows[str(instruction)] = values.astype(np.int64) if tokens else values.astype(np.float32)
    except (TypeError, ValueError):
        raise ConfigError(f"the instructions in {name} are not numbers.") from None
    if not all(row.shape == (size,) and np.isfinite(row).all() for row in rows.values()):
        raise ConfigError(f"the instructions in {name} are not {size} finite numbers each.")
    return rows


def load_checkpoint(
    path: Path | str, robot: str | None = None, joints: Sequence[str] | None = None
) -> tuple[VlaNetwork, CheckpointInfo]:
    """Read a checkpoint into a network ready for inference.

    Args:
        path: The file.
        robot: Name of the robot, or None to accept any.
        joints: Its joints, or None to accept any; their order does not matter.

    Raises:
        ConfigError: The file is missing, not safetensors, of another format version or for another robot, or tensors
            are missing, unknown, of the wrong shape or not finite.
    """
    path = Path(path)
    data, tensors = _read(path)
    if data.get("format") != FORMAT:
        raise ConfigError(
            f"{path.name} has checkpoint format {data.get('format')}; this version reads "
            f"{FORMAT}. Train the policy again, or use the version that wrote it."
        )
    if not isinstance(data.get("model"), dict) or not isinstance(data.get("robot"), str):
        raise ConfigError(f"the header of {path.name} lacks its robot or its model.")
    seed, notes = data.get("seed", 0), data.get("notes") or {}
    if type(seed) is not int or not isinstance(notes, dict):
        raise ConfigError(
            f"the header of {path.name} has a seed that is not an integer, or notes that are not a mapping."
        )
    if robot is not None and data["robot"] != robot:
        raise ConfigError(f'{path.name} was trained for robot "{data["robot"]}", not for "{robot}".')
    config = from_mapping(ModelConfig, {**data["model"], "auxiliary": 0}, path.name)
    if joints is not None and set(joints) != set(config.joints):
        raise ConfigError(f"{path.name} moves {', '.join(config.joints)}; the robot has {', '.join(joints)}.")
    # All weights are in the file: the folder of a backbone's weights is not read.
    network = replace(config.network, backbone=replace(config.network.backbone, weights=""))
    model = VlaNetwork(replace(config, network=network))
    expected = model.state_dict()
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        what = f"lacks tensor {missing[0]}" if missing else f"has unknown tensor {extra[0]}"
        raise ConfigError(f"{path.name} {what} ({len(missing)} missing, {len(extra)} unknown).")
    for name, value in tensors.items():
        if value.shape != expected[name].shape:
            raise ConfigError(
                f"tensor {name} of {path.name} is {tuple(value.shape)}, not {tuple(expected[name].shape)}."
            )
        if not torch.isfinite(value).all():
            raise ConfigError(f"tensor {name} of {path.name} has values that are NaN or infinite.")
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    model.to(memory_format=torch.channels_last).eval()  # the layout of images
    info = CheckpointInfo(
        robot=data["robot"],
        instruction=str(data.get("instruction", "")),
        model=config,
        command=str(data.get("command", "")),
        seed=seed,
        notes=notes,
        instructions=_embeddings(data.get("instructions"), config, path.name),
    )
    return model, info
