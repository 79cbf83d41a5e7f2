"""LeRobotDataset v3.0 read from disk, ours or LeRobot's own, without LeRobot."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_ros.core.errors import ConfigError
from vla_ros.data.lerobot import video as lerobot_video
from vla_ros.data.lerobot.writer import COUNTERS, VERSION, Bytes, Frames, Head


def read_head(folder: Path) -> tuple[Head, dict[str, Any]]:
    """The head of a dataset, ours or LeRobot's own, and all of its `info.json`.

    Raises:
        ConfigError: Not a dataset of v3.0.
    """
    try:
        info = json.loads((folder / "meta" / "info.json").read_text(encoding="utf-8"))
        version, features = info["codebase_version"], info["features"]
        videos = tuple(key for key, f in features.items() if f["dtype"] == "video")
        vectors = {
            key: _columns_of(f)
            for key, f in features.items()
            if len(f["shape"]) == 1 and key not in COUNTERS and f["dtype"] not in ("video", "image", "string")
        }
        seen = {key: f for key, f in features.items() if f["dtype"] in ("image", "video")}
        images = {key: (f["shape"][0], f["shape"][1]) for key, f in seen.items()}
        head = Head(int(info["fps"]), str(info["robot_type"]), vectors, images, info.get("vla_ros", {}), videos)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder} is not a LeRobot dataset ({error!r}).") from None
    if version != VERSION:
        raise ConfigError(
            f"{folder} is a LeRobot dataset {version}; this version reads {VERSION}, which LeRobot makes of older ones "
            "(convert_dataset_v21_to_v30)."
        )
    if head.fps != info["fps"] or head.fps < 1:
        raise ConfigError(
            f"{folder} has {info['fps']} frames per second; a LeRobot dataset has a whole number of them."
        )
    return head, info


def _columns_of(feature: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a vector's columns; a list, or, in converted datasets, a list under one key ("motors"); else numbers."""
    names, count = feature["names"], feature["shape"][0]
    if isinstance(names, dict) and len(names) == 1:
        (names,) = names.values()
    fits = isinstance(names, list) and len(names) == count
    return tuple(map(str, names if fits else range(count)))


def read_dataset(folder: Path, images: Collection[str] | None = None) -> Iterator[Frames]:
    """The episodes of a dataset, ours or LeRobot's own, in order, one at a time.

    Args:
        folder: The dataset.
        images: Those to decode; None for all.

    Raises:
        ConfigError: See `read_head`; or files are damaged, or hold other than what `info.json` says.
    """
    head, info = read_head(folder)
    wanted = [key for key in head.images if images is None or key in images]
    frames = 0
    try:
        about = pq.read_table(folder / "meta" / "episodes") if set(wanted) & set(head.videos) else pa.table({})
        places = about.select([name for name in about.column_names if not name.startswith("stats/")]).to_pylist()
        episodes = {row["episode_index"]: row for row in places}
        table = pq.read_table(folder / "meta" / "tasks.parquet")
        name = "task" if "task" in table.column_names else "__index_level_0__"
        tasks = dict(zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True))
        for path in sorted((folder / "data").glob("*/*.parquet")):
            whole = pq.read_table(path, columns=_columns(path, head, wanted))
            numbers = whole["episode_index"].to_numpy()
            cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
            for first, last in itertools.pairwise(cuts):
                rows = whole.slice(first, last - first)
                frames += len(rows)
                seen = _videos(
                    folder, head, wanted, info, episodes.get(rows["episode_index"][0].as_py(), {}), len(rows)
                )
                yield _frames(head, rows, wanted, seen, tasks[rows["task_index"][0].as_py()])
    except ConfigError:
        raise
    except (OSError, KeyError, IndexError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"{folder} is damaged ({str(error).splitlines()[0]}).") from None
    if frames != info.get("total_frames"):
        raise ConfigError(f"{folder} holds {frames} frames; its info.json says {info.get('total_frames')}.")


def _columns(path: Path, head: Head, wanted: Collection[str]) -> list[str]:
    """All of the file's but the images nobody asked for."""
    return [name for name in pq.read_schema(path).names if name not in head.images or name in wanted]


def _videos(
    folder: Path, head: Head, wanted: Collection[str], info: Mapping[str, Any], episode: Mapping[str, Any], count: int
) -> dict[str, Bytes]:
    seen = {}
    for key in (k for k in head.videos if k in wanted):
        path, start = lerobot_video.place(folder, key, episode, info["video_path"])
        seen[key] = lerobot_video.read_video(path, start, count, head.fps)
    return seen


def _frames(head: Head, rows: Any, wanted: Collection[str], videos: dict[str, Bytes], task: str) -> Frames:
    vectors, images = {}, dict(videos)
    for key, names in head.vectors.items():
        values = np.array(rows[key].to_pylist(), dtype=np.float32).reshape(len(rows), -1)
        if values.shape[1] != len(names):
            raise ConfigError(f"{key} has {values.shape[1]} numbers per frame; info.json says {len(names)}.")
        vectors[key] = values
    for key in (k for k in wanted if k not in videos):
        coded = [cell["bytes"] for cell in rows[key].to_pylist()]
        if not all(coded):
            raise ConfigError(f"{key} keeps its images outside the data files, which is not read.")
        decoded: list[Any] = [cv2.imdecode(np.frombuffer(cell, dtype=np.uint8), cv2.IMREAD_COLOR) for cell in coded]
        if any(image is None for image in decoded):
            raise ConfigError(f"an image of {key} cannot be decoded.")
        images[key] = np.stack(decoded)[..., ::-1].copy()
    return Frames(vectors, images, task)
