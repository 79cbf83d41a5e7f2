"""Writer of LeRobotDataset v3.0; LeRobot is not needed.

    meta/info.json  meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet      vectors as lists of float32, images as PNG bytes (lossless)
    videos/NAME/chunk-000/file-000.mp4   images as video, on request (smaller, lossy)

A dataset is written to a temporary folder and renamed when it is complete. `episodes.py` converts the
demonstrations of this package.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError
from vla_ros.data.lerobot import video as lerobot_video
from vla_ros.data.lerobot.arrow import pa, pq
from vla_ros.data.lerobot.statistics import FeatureStatistics

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
FILE_BYTES = 100 * 1024 * 1024
PATH = "{kind}/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
COUNTERS = {"timestamp": "float32", **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DatasetHeader:
    """Properties shared by all episodes.

    Attributes:
        fps: Frames per second; an integer.
        robot: Name of the robot.
        vectors: Name of each vector feature ("action") to the names of its columns.
        images: Name of each image feature ("observation.images.front") to its height and width [px].
        extra: Stored in `info.json` under "vla_ros", which LeRobot ignores; JSON types.
        videos: Names of the image features that are stored as video.
    """

    fps: int
    robot: str
    vectors: Mapping[str, tuple[str, ...]]
    images: Mapping[str, tuple[int, int]]
    extra: Mapping[str, Any] = field(default_factory=dict)
    videos: tuple[str, ...] = ()

    def features(self) -> dict[str, Any]:
        """The features in the format of `info.json`."""
        rows: dict[str, Any] = {}
        for key, (height, width) in self.images.items():
            shape = [height, width, 3]
            kind = "video" if key in self.videos else "image"
            rows[key] = {"dtype": kind, "shape": shape, "names": ["height", "width", "channels"]}
        for key, names in self.vectors.items():
            rows[key] = {"dtype": "float32", "shape": [len(names)], "names": list(names)}
        return rows | {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in COUNTERS.items()}


@dataclass(frozen=True, eq=False)
class Frames:
    """One episode of T frames.

    Attributes:
        vectors: Shape (T, n) float32 each.
        images: Shape (T, H, W, 3) uint8, RGB, each.
        task: The instruction.
    """

    vectors: Mapping[str, Floats]
    images: Mapping[str, Bytes]
    task: str

    def __len__(self) -> int:
        """Number of frames."""
        return len(next(iter(self.vectors.values())))


def _check(header: DatasetHeader, frames: Frames) -> None:
    count = len(frames)
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {}
    for key, names in header.vectors.items():
        expected[key] = frames.vectors.get(key), (count, len(names))
    for key, size in header.images.items():
        expected[key] = frames.images.get(key), (count, *size, 3)
    for key, (array, shape) in expected.items():
        if array is None or array.shape != shape:
            raise ConfigError(f"{key} of an episode must have shape {shape}; got {getattr(array, 'shape', None)}.")
        if array.dtype != np.uint8 and not np.isfinite(array).all():
            raise ConfigError(f"{key} of an episode must be finite.")
    if not count:
        raise ConfigError("an episode needs at least one frame.")


def _png(image: Bytes) -> bytes:
    done, data = cv2.imencode(".png", image[..., ::-1])
    if not done:
        raise ConfigError("an image cannot be encoded as PNG.")
    return data.tobytes()


def _table(header: DatasetHeader, frames: Frames, episode: int, start: int, task: int) -> Any:
    """The rows of one episode, in the order of the features."""
    step = np.arange(len(frames))
    columns: dict[str, Any] = {}
    for key in (k for k in header.images if k not in header.videos):
        columns[key] = pa.array([{"bytes": _png(image), "path": None} for image in frames.images[key]], IMAGE)
    for key, names in header.vectors.items():
        flat = pa.array(np.ascontiguousarray(frames.vectors[key], dtype=np.float32).ravel())
        # LeRobot reads a feature with one value as a scalar column.
        columns[key] = flat if len(names) == 1 else pa.FixedSizeListArray.from_arrays(flat, len(names))
    columns["timestamp"] = pa.array((step / header.fps).astype(np.float32))
    columns["frame_index"] = pa.array(step)
    columns["episode_index"] = pa.array(np.full(len(frames), episode))
    columns["index"] = pa.array(start + step)
    columns["task_index"] = pa.array(np.full(len(frames), task))
    return pa.table(columns)


def write_dataset(folder: Path, header: DatasetHeader, episodes: Iterable[Frames]) -> None:
    """Write a dataset atomically; episodes are read one at a time.

    Raises:
        ConfigError: `folder` exists, a feature has an invalid name, or an episode does not fit the header.
    """
    bad = [k for k in (*header.vectors, *header.images) if "/" in k or k in COUNTERS]
    if bad or not header.vectors or type(header.fps) is not int or header.fps < 1:
        raise ConfigError(
            "a LeRobot dataset needs an integer number of frames per second, at least one vector feature, and feature "
            f"names without slash that are not reserved; got {header.fps}, {', '.join(bad) or 'valid names'}."
        )
    if folder.exists():
        raise ConfigError(f"{folder} already exists; choose a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        part.chmod(0o755)
        _write(part, header, episodes)
        os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(root: Path, header: DatasetHeader, episodes: Iterable[Frames]) -> None:
    statistics = {key: FeatureStatistics() for key in (*header.images, *header.vectors, *COUNTERS)}
    tasks: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    writer, number, size, start = None, -1, FILE_BYTES, 0
    try:
        for episode, frames in enumerate(episodes):
            _check(header, frames)
            task = tasks.setdefault(frames.task, len(tasks))
            table = _table(header, frames, episode, start, task)
            if writer is None or size + table.nbytes > FILE_BYTES:
                if writer is not None:
                    writer.close()
                number, size = number + 1, 0
                writer = pq.ParquetWriter(_file_path(root, "data", number), table.schema)
            writer.write_table(table)  # one row group per episode
            size += table.nbytes
            stats = _episode_statistics(frames, table, statistics)
            file_columns = {"data/chunk_index": number // FILES_PER_CHUNK, "data/file_index": number % FILES_PER_CHUNK}
            range_columns = {"dataset_from_index": start, "dataset_to_index": start + len(frames)}
            meta_columns = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
            description = {"episode_index": episode, "tasks": [frames.task], "length": len(frames)}
            video_columns = _write_videos(root, header, frames, episode)
            rows.append({**description, **file_columns, **range_columns, **meta_columns, **video_columns, **stats})
            start += len(frames)
    finally:
        if writer is not None:
            writer.close()
    if not rows:
        raise ConfigError("a dataset needs at least one episode.")
    pq.write_table(pa.Table.from_pylist(rows), _file_path(root, "meta/episodes", 0))
    pq.write_table(_task_table(tasks), root / "meta" / "tasks.parquet")
    info = {
        "codebase_version": VERSION,
        "robot_type": header.robot,
        "fps": header.fps,
        "total_episodes": len(rows),
        "total_frames": start,
        "total_tasks": len(tasks),
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": PATH.replace("{kind}", "data"),
        "video_path": lerobot_video.PATH if header.videos else None,
        "splits": {"train": f"0:{len(rows)}"},
        "features": header.features(),
        "vla_ros": dict(header.extra),
    }
    for name, data in (("stats", {key: values.result() for key, values in statistics.items()}), ("info", info)):
        (root / "meta" / f"{name}.json").write_text(json.dumps(data, indent=4, allow_nan=False), encoding="utf-8")


def _episode_statistics(frames: Frames, table: Any, dataset: Mapping[str, FeatureStatistics]) -> dict[str, Any]:
    """Statistics of one episode as columns of `meta/episodes`; its values are added to those of the dataset."""
    row: dict[str, Any] = {}
    for key, total in dataset.items():
        column = frames.images.get(key, frames.vectors.get(key))
        own = FeatureStatistics()
        own.add(np.asarray(table[key]) if column is None else column)
        total.merge(own)
        row |= {f"stats/{key}/{name}": value for name, value in own.result().items()}
    return row


def _write_videos(root: Path, header: DatasetHeader, frames: Frames, episode: int) -> dict[str, Any]:
    """Write one file per camera; returns their columns of `meta/episodes`."""
    row: dict[str, Any] = {}
    chunk, file = divmod(episode, FILES_PER_CHUNK)
    for key in header.videos:
        columns = {
            "chunk_index": chunk,
            "file_index": file,
            "from_timestamp": 0.0,
            "to_timestamp": len(frames) / header.fps,
        }
        row |= {f"videos/{key}/{name}": value for name, value in columns.items()}
        path, _ = lerobot_video.locate(root, key, row, lerobot_video.PATH)
        lerobot_video.write_video(path, frames.images[key], header.fps)
    return row


def _file_path(root: Path, kind: str, number: int) -> Path:
    chunk, file = divmod(number, FILES_PER_CHUNK)
    path = root / PATH.format(kind=kind, chunk_index=chunk, file_index=file)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _task_table(tasks: Mapping[str, int]) -> Any:
    """Instructions and their indices; LeRobot reads it with pandas and expects the instruction as index."""
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": pa.array(list(tasks))})
    columns = [
        {"name": n, "field_name": n, "pandas_type": p, "numpy_type": d, "metadata": None}
        for n, p, d in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas_metadata = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({b"pandas": json.dumps(pandas_metadata).encode()})
