"""Demonstrations on disk: one file per episode, written whole or not at all.

The interface is `DemoWriter.write(episode)` and `DemoDataset(folder)`; what lies between is free to
change. Images are stored at the network's size, so a frame of two cameras is 55 kB and training reads
no video.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError

FORMAT = 1
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DemoInfo:
    """What all episodes of a data set share.

    Attributes:
        task: Name of the task.
        robot: Name of the robot.
        joints: Names, in column order (J).
        cameras: Names.
        auxiliary: Names of the columns of truth (A), for losses at training only.
        image_size: Side of the square images [px].
        dt_s: Time between the waypoints of a label [s].
        waypoints: Waypoints per label (K).
    """

    task: str
    robot: str
    joints: tuple[str, ...]
    cameras: tuple[str, ...]
    auxiliary: tuple[str, ...]
    image_size: int
    dt_s: float
    waypoints: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), **{n: list(getattr(self, n)) for n in ("joints", "cameras", "auxiliary")}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DemoInfo:
        """What `to_json` gave, in whatever else there is; a KeyError where something is not."""
        plain: dict[str, Any] = {f.name: data[f.name] for f in fields(cls)}
        plain |= {name: tuple(value) for name, value in plain.items() if isinstance(value, list)}
        return cls(**plain)


@dataclass(frozen=True, eq=False)
class Episode:
    """T frames of one try.

    Attributes:
        images: Camera name to shape (T, S, S, 3) uint8.
        joints: Measured positions, shape (T, J) [rad].
        labels: The expert's waypoints from each frame on, absolute, shape (T, K, J) [rad].
        truth: Shape (T, A).
        instruction: The task, as a sentence.
        notes: Seed, success, control steps per frame (stride): whatever is worth knowing later.
    """

    images: Mapping[str, Bytes]
    joints: Floats
    labels: Floats
    truth: Floats
    instruction: str
    notes: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Frames."""
        return len(self.joints)


def check_episode(info: DemoInfo, episode: Episode) -> None:
    """Refuse an episode that does not fit the data set with a `ConfigError`."""
    frames, size = len(episode), info.image_size
    wanted = {
        "joints": (episode.joints, (frames, len(info.joints))),
        "labels": (episode.labels, (frames, info.waypoints, len(info.joints))),
        "truth": (episode.truth, (frames, len(info.auxiliary))),
        **{f"images of {c}": (episode.images.get(c), (frames, size, size, 3)) for c in info.cameras},
    }
    if frames < 1:
        raise ConfigError("an episode needs at least one frame.")
    for what, (array, shape) in wanted.items():
        if array is None or array.shape != shape:
            raise ConfigError(f"{what} of an episode must have shape {shape}; got {getattr(array, 'shape', None)}.")
    for what in ("joints", "labels", "truth"):
        if not np.isfinite(getattr(episode, what)).all():
            raise ConfigError(f"{what} of an episode must be finite.")


class DemoWriter:
    """Adds episodes to a folder; several writers with different `prefix` may share one."""

    def __init__(self, folder: Path, info: DemoInfo, prefix: str = "episode") -> None:
        """Make the folder if it is not there; never touch what is in it."""
        self.folder, self.info, self.prefix = folder, info, prefix
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, episode: Episode, number: int) -> Path:
        """Write one episode as `<prefix>_<number>.npz`; on any failure nothing of it remains.

        Raises:
            ConfigError: Its arrays do not fit the data set.
        """
        check_episode(self.info, episode)
        path = self.folder / f"{self.prefix}_{number:06d}.npz"
        part = path.with_suffix(".part")
        meta = {"format": FORMAT, **self.info.to_json(), "instruction": episode.instruction, "notes": episode.notes}
        arrays: dict[str, Any] = {n: getattr(episode, n).astype(np.float32) for n in ("joints", "labels", "truth")}
        arrays |= {f"image.{c}": episode.images[c] for c in self.info.cameras}
        try:
            with part.open("wb") as file:
                np.savez(file, meta=np.array(json.dumps(meta)), **arrays)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        return path


def read_episode(path: Path) -> tuple[DemoInfo, Episode]:
    """Read one file; never unpickles.

    Raises:
        ConfigError: It is not a demonstration of this version.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            meta = json.loads(str(data["meta"]))
            arrays = {name: data[name] for name in data.files if name != "meta"}
        version = meta.get("format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} is not a demonstration ({str(error).splitlines()[0]}).") from None
    if version != FORMAT:
        raise ConfigError(f"{path} has demonstration format {version}; this version reads {FORMAT}.")
    try:
        info = DemoInfo.from_json(meta)
        images = {c: arrays[f"image.{c}"] for c in info.cameras}
        joints, labels, truth = (arrays[name] for name in ("joints", "labels", "truth"))
        episode = Episode(images, joints, labels, truth, meta["instruction"], dict(meta["notes"]))
        check_episode(info, episode)
    except (KeyError, TypeError, ValueError) as error:
        text = f"it lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ConfigError(f"{path} is damaged ({text}).") from None
    return info, episode


class DemoDataset:
    """All frames of a folder in memory, in the order of the file names.

    Attributes:
        info: What the episodes share; None while empty.
        episodes: The episodes.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Read every episode in `folder`, if given."""
        self.info: DemoInfo | None = None
        self.episodes: list[Episode] = []
        self._index = np.zeros((0, 2), dtype=np.int64)
        for path in sorted(folder.glob("*.npz")) if folder is not None else ():
            self.add(*read_episode(path))

    def add(self, info: DemoInfo, episode: Episode) -> None:
        """Append one episode.

        Raises:
            ConfigError: It is of another robot, camera, size or grid than the ones before.
        """
        if self.info is not None and self.info.to_json() != info.to_json():
            raise ConfigError(f"episodes of different kinds in one data set: {self.info.to_json()}, {info.to_json()}.")
        check_episode(info, episode)
        self.info = info
        rows = np.stack([np.full(len(episode), len(self.episodes)), np.arange(len(episode))], axis=1)
        self.episodes.append(episode)
        self._index = np.concatenate([self._index, rows])

    def __len__(self) -> int:
        """Frames."""
        return len(self._index)

    def stacked(self, name: str) -> Floats:
        """All frames of "joints", "labels" or "truth", one after another."""
        return np.concatenate([getattr(e, name) for e in self.episodes])

    def locate(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Episode number and frame within it of each global frame number, shape (B, 2)."""
        return self._index[frames]
