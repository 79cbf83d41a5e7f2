"""LeRobotDataset v3.0 on disk, written without LeRobot (`lerobot_read.py` reads it): the layout, nothing of policies.

    meta/info.json  meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet      vectors as lists of float32, images as PNG bytes: no loss, no video encoder
    videos/NAME/chunk-000/file-000.mp4   images as video, where that is asked for: smaller, not without loss

A dataset is written beside its place and renamed when it is whole: a reader finds all of it or none.
`lerobot_demos.py` turns the demonstrations of this package into it and back.
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
from vla_ros.data.lerobot.statistics import Tally

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError:
    raise ConfigError('LeRobot datasets need pyarrow: pip install "vla_ros[lerobot]".') from None

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
FILE_BYTES = 100 * 1024 * 1024
PATH = "{kind}/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
COUNTERS = {"timestamp": "float32", **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Head:
    """What all episodes share.

    Attributes:
        fps: Frames per second; LeRobot wants a whole number.
        robot: Name of the robot.
        vectors: Name of each feature that is numbers ("action") to the names of its columns.
        images: Name of each feature that is an image ("observation.images.front") to its height and width [px].
        extra: Kept in `info.json` under "vla_ros", which LeRobot ignores; plain data.
        videos: Those of `images` that are kept as video.
    """

    fps: int
    robot: str
    vectors: Mapping[str, tuple[str, ...]]
    images: Mapping[str, tuple[int, int]]
    extra: Mapping[str, Any] = field(default_factory=dict)
    videos: tuple[str, ...] = ()

    def features(self) -> dict[str, Any]:
        """As `info.json` has them."""
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
        task: The sentence.
    """

    vectors: Mapping[str, Floats]
    images: Mapping[str, Bytes]
    task: str

    def __len__(self) -> int:
        """Frames."""
        return len(next(iter(self.vectors.values())))


def _check(head: Head, frames: Frames) -> None:
    count = len(frames)
    wanted: dict[str, tuple[Any, tuple[int, ...]]] = {}
    for key, names in head.vectors.items():
        wanted[key] = frames.vectors.get(key), (count, len(names))
    for key, size in head.images.items():
        wanted[key] = frames.images.get(key), (count, *size, 3)
    for key, (array, shape) in wanted.items():
        if array is None or array.shape != shape:
            raise ConfigError(f"{key} of an episode must have shape {shape}; got {getattr(array, 'shape', None)}.")
        if array.dtype != np.uint8 and not np.isfinite(array).all():
            raise ConfigError(f"{key} of an episode must be finite.")
    if not count:
        raise ConfigError("an episode needs at least one frame.")


def _png(image: Bytes) -> bytes:
    done, data = cv2.imencode(".png", image[..., ::-1])
    if not done:
        raise ConfigError("an image could not be written as PNG.")
    return data.tobytes()


def _table(head: Head, frames: Frames, episode: int, start: int, task: int) -> Any:
    """The rows of one episode, in the order of the features."""
    step = np.arange(len(frames))
    columns: dict[str, Any] = {}
    for key in (k for k in head.images if k not in head.videos):
        columns[key] = pa.array([{"bytes": _png(image), "path": None} for image in frames.images[key]], IMAGE)
    for key, names in head.vectors.items():
        flat = pa.array(np.ascontiguousarray(frames.vectors[key], dtype=np.float32).ravel())
        # LeRobot reads a feature of one number as a plain column.
        columns[key] = flat if len(names) == 1 else pa.FixedSizeListArray.from_arrays(flat, len(names))
    columns["timestamp"] = pa.array((step / head.fps).astype(np.float32))
    columns["frame_index"] = pa.array(step)
    columns["episode_index"] = pa.array(np.full(len(frames), episode))
    columns["index"] = pa.array(start + step)
    columns["task_index"] = pa.array(np.full(len(frames), task))
    return pa.table(columns)


def write_dataset(folder: Path, head: Head, episodes: Iterable[Frames]) -> None:
    """Write a dataset whole, or leave nothing; episodes are taken one at a time.

    Raises:
        ConfigError: `folder` is there, a name cannot be a feature, or an episode does not fit the head.
    """
    bad = [k for k in (*head.vectors, *head.images) if "/" in k or k in COUNTERS]
    if bad or not head.vectors or type(head.fps) is not int or head.fps < 1:
        raise ConfigError(
            "a LeRobot dataset needs whole frames per second, numbers, and names that are not its own and "
            f"have no slash; got {head.fps}, {', '.join(bad) or 'no bad name'}."
        )
    if folder.exists():
        raise ConfigError(f"{folder} is there already; a dataset is written as a whole.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        part.chmod(0o755)
        _write(part, head, episodes)
        os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(root: Path, head: Head, episodes: Iterable[Frames]) -> None:
    tallies = {key: Tally() for key in (*head.images, *head.vectors, *COUNTERS)}
    tasks: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    writer, number, size, start = None, -1, FILE_BYTES, 0
    try:
        for episode, frames in enumerate(episodes):
            _check(head, frames)
            task = tasks.setdefault(frames.task, len(tasks))
            table = _table(head, frames, episode, start, task)
            if writer is None or size + table.nbytes > FILE_BYTES:
                if writer is not None:
                    writer.close()
                number, size = number + 1, 0
                writer = pq.ParquetWriter(_place(root, "data", number), table.schema)
            writer.write_table(table)  # one row group per episode
            size += table.nbytes
            stats = _statistics(frames, table, tallies)
            where = {"data/chunk_index": number // FILES_PER_CHUNK, "data/file_index": number % FILES_PER_CHUNK}
            span = {"dataset_from_index": start, "dataset_to_index": start + len(frames)}
            place = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
            about = {"episode_index": episode, "tasks": [frames.task], "length": len(frames)}
            films = _write_videos(root, head, frames, episode)
            rows.append({**about, **where, **span, **place, **films, **stats})
            start += len(frames)
    finally:
        if writer is not None:
            writer.close()
    if not rows:
        raise ConfigError("a dataset needs at least one episode.")
    pq.write_table(pa.Table.from_pylist(rows), _place(root, "meta/episodes", 0))
    pq.write_table(_task_table(tasks), root / "meta" / "tasks.parquet")
    info = {
        "codebase_version": VERSION,
        "robot_type": head.robot,
        "fps": head.fps,
        "total_episodes": len(rows),
        "total_frames": start,
        "total_tasks": len(tasks),
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": PATH.replace("{kind}", "data"),
        "video_path": lerobot_video.PATH if head.videos else None,
        "splits": {"train": f"0:{len(rows)}"},
        "features": head.features(),
        "vla_ros": dict(head.extra),
    }
    for name, data in (("stats", {key: tally.result() for key, tally in tallies.items()}), ("info", info)):
        (root / "meta" / f"{name}.json").write_text(json.dumps(data, indent=4, allow_nan=False), encoding="utf-8")


def _statistics(frames: Frames, table: Any, tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """Those of one episode, as `meta/episodes` has them; what they are made of goes on to the tallies of all."""
    row: dict[str, Any] = {}
    for key, whole in tallies.items():
        column = frames.images.get(key, frames.vectors.get(key))
        own = Tally()
        own.add(np.asarray(table[key]) if column is None else column)
        whole.merge(own)
        row |= {f"stats/{key}/{name}": value for name, value in own.result().items()}
    return row


def _write_videos(root: Path, head: Head, frames: Frames, episode: int) -> dict[str, Any]:
    """One file per episode and camera; what `meta/episodes` says of them."""
    row: dict[str, Any] = {}
    chunk, file = divmod(episode, FILES_PER_CHUNK)
    for key in head.videos:
        about = {
            "chunk_index": chunk,
            "file_index": file,
            "from_timestamp": 0.0,
            "to_timestamp": len(frames) / head.fps,
        }
        row |= {f"videos/{key}/{name}": value for name, value in about.items()}
        path, _ = lerobot_video.place(root, key, row, lerobot_video.PATH)
        lerobot_video.write_video(path, frames.images[key], head.fps)
    return row


def _place(root: Path, kind: str, number: int) -> Path:
    chunk, file = divmod(number, FILES_PER_CHUNK)
    path = root / PATH.format(kind=kind, chunk_index=chunk, file_index=file)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _task_table(tasks: Mapping[str, int]) -> Any:
    """Sentences and their numbers; LeRobot reads it with pandas and wants the sentence as the frame's index."""
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": pa.array(list(tasks))})
    columns = [
        {"name": n, "field_name": n, "pandas_type": p, "numpy_type": d, "metadata": None}
        for n, p, d in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    note = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({b"pandas": json.dumps(note).encode()})
