"""Demonstrations on disk, one npz file per episode, and in memory.

A file is written atomically. Images are stored at the input size of the network, so a frame of two cameras takes 55 kB
and training decodes no video.
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

FORMAT = 2
"""Version of the files. Version 1 had other key names: `truth`, `auxiliary` and `notes`."""
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DemoInfo:
    """Properties shared by all episodes of a data set.

    Attributes:
        task: Name of the task.
        robot: Name of the robot.
        joints: Joint names in column order (J).
        cameras: Names of the cameras.
        ground_truth_names: Names of the columns of `Episode.ground_truth` (A), which only the auxiliary loss uses.
        image_size: Width and height of the images [px].
        dt_s: Time between the waypoints of a label [s].
        waypoints: Waypoints per label (K).
    """

    task: str
    robot: str
    joints: tuple[str, ...]
    cameras: tuple[str, ...]
    ground_truth_names: tuple[str, ...]
    image_size: int
    dt_s: float
    waypoints: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        lists = {name: list(getattr(self, name)) for name in ("joints", "cameras", "ground_truth_names")}
        return {**vars(self), **lists}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DemoInfo:
        """Inverse of `to_json`; other keys are ignored, and a missing one raises `KeyError`."""
        values: dict[str, Any] = {f.name: data[f.name] for f in fields(cls)}
        values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values)


@dataclass(frozen=True, eq=False)
class Episode:
    """T frames of one episode.

    Attributes:
        images: Camera name to shape (T, S, S, 3) uint8.
        joints: Measured positions, shape (T, J) [rad].
        labels: The expert's absolute waypoints from each frame on, shape (T, K, J) [rad].
        ground_truth: Targets of the auxiliary loss, shape (T, A).
        instruction: The instruction.
        metadata: For example seed, success, and control steps per frame (stride); JSON types.
    """

    images: Mapping[str, Bytes]
    joints: Floats
    labels: Floats
    ground_truth: Floats
    instruction: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.joints)


def check_episode(info: DemoInfo, episode: Episode) -> None:
    """Check the arrays of an episode.

    Raises:
        ConfigError: A shape does not fit the data set, or a value is not finite.
    """
    frames, size = len(episode), info.image_size
    expected = {
        "joints": (episode.joints, (frames, len(info.joints))),
        "labels": (episode.labels, (frames, info.waypoints, len(info.joints))),
        "ground_truth": (episode.ground_truth, (frames, len(info.ground_truth_names))),
        **{f"images of {c}": (episode.images.get(c), (frames, size, size, 3)) for c in info.cameras},
    }
    if frames < 1:
        raise ConfigError("an episode needs at least one frame.")
    for name, (array, shape) in expected.items():
        if array is None or array.shape != shape:
            raise ConfigError(f"{name} of an episode must have shape {shape}; got {getattr(array, 'shape', None)}.")
    for name in ("joints", "labels", "ground_truth"):
        if not np.isfinite(getattr(episode, name)).all():
            raise ConfigError(f"{name} of an episode must be finite.")


class DemoWriter:
    """Writes episodes to a folder; several writers with different prefixes may share it."""

    def __init__(self, folder: Path, info: DemoInfo, prefix: str = "episode") -> None:
        """Create the folder if it does not exist; existing files are kept."""
        self.folder, self.info, self.prefix = folder, info, prefix
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, episode: Episode, number: int) -> Path:
        """Write one episode as `<prefix>_<number>.npz`; after a failure no partial file remains.

        Raises:
            ConfigError: See `check_episode`.
        """
        check_episode(self.info, episode)
        path = self.folder / f"{self.prefix}_{number:06d}.npz"
        part = path.with_suffix(".part")
        header = {
            "format": FORMAT,
            **self.info.to_json(),
            "instruction": episode.instruction,
            "metadata": episode.metadata,
        }
        arrays: dict[str, Any] = {
            n: getattr(episode, n).astype(np.float32) for n in ("joints", "labels", "ground_truth")
        }
        arrays |= {f"image.{c}": episode.images[c] for c in self.info.cameras}
        try:
            with part.open("wb") as file:
                np.savez(file, header=np.array(json.dumps(header)), **arrays)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        return path


def read_episode(path: Path) -> tuple[DemoInfo, Episode]:
    """Read one file without unpickling.

    Raises:
        ConfigError: It is not a demonstration, is damaged, or has another format version.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            # Version 1 called the header "meta".
            header = json.loads(str(data["header" if "header" in data.files else "meta"]))
            arrays = {name: data[name] for name in data.files if name not in ("header", "meta")}
        version = header.get("format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} is not a demonstration ({str(error).splitlines()[0]}).") from None
    if version != FORMAT:
        raise ConfigError(
            f"{path} has demonstration format {version}; this version reads format {FORMAT}: record it again."
        )
    try:
        info = DemoInfo.from_json(header)
        images = {c: arrays[f"image.{c}"] for c in info.cameras}
        joints, labels, ground_truth = (arrays[name] for name in ("joints", "labels", "ground_truth"))
        episode = Episode(images, joints, labels, ground_truth, header["instruction"], dict(header["metadata"]))
        check_episode(info, episode)
    except (KeyError, TypeError, ValueError) as error:
        text = f"missing {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ConfigError(f"{path} is damaged ({text}).") from None
    return info, episode


class DemoDataset:
    """All frames of a folder in memory, in the order of the file names.

    Attributes:
        info: Properties of all episodes; None while the data set is empty.
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
            ConfigError: Its properties differ from those of the episodes before.
        """
        if self.info is not None and self.info.to_json() != info.to_json():
            raise ConfigError(
                "all episodes of a data set must have the same properties; "
                f"got {self.info.to_json()} and {info.to_json()}."
            )
        check_episode(info, episode)
        self.info = info
        rows = np.stack([np.full(len(episode), len(self.episodes)), np.arange(len(episode))], axis=1)
        self.episodes.append(episode)
        self._index = np.concatenate([self._index, rows])

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._index)

    def stacked(self, name: str) -> Floats:
        """Concatenated frames of "joints", "labels" or "ground_truth"."""
        return np.concatenate([getattr(e, name) for e in self.episodes])

    def locate(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Episode index and frame index within it for each global frame index, shape (B, 2)."""
        return self._index[frames]
