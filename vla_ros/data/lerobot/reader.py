"""Reader of LeRobotDataset v3.0, written by this package or by LeRobot; LeRobot is not needed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vla_ros.core.errors import ConfigError
from vla_ros.data.lerobot import video as lerobot_video
from vla_ros.data.lerobot.arrow import pa, pq
from vla_ros.data.lerobot.writer import COUNTERS, VERSION, Bytes, DatasetHeader, Frames


def read_header(folder: Path) -> tuple[DatasetHeader, dict[str, Any]]:
    """The header of a dataset, and the complete content of its `info.json`.

    Raises:
        ConfigError: Not a dataset of version 3.0.
    """
    try:
        info = json.loads((folder / "meta" / "info.json").read_text(encoding="utf-8"))
        version, features = info["codebase_version"], info["features"]
        videos = tuple(key for key, f in features.items() if f["dtype"] == "video")
        vectors = {
            key: _column_names(f)
            for key, f in features.items()
            if len(f["shape"]) == 1 and key not in COUNTERS and f["dtype"] not in ("video", "image", "string")
        }
        image_features = {key: f for key, f in features.items() if f["dtype"] in ("image", "video")}
        images = {key: (f["shape"][0], f["shape"][1]) for key, f in image_features.items()}
        header = DatasetHeader(
            int(info["fps"]), str(info["robot_type"]), vectors, images, info.get("vla_ros", {}), videos
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder} is not a LeRobot dataset ({error!r}).") from None
    if version != VERSION:
        raise ConfigError(
            f"{folder} is a LeRobot dataset {version}; this version reads {VERSION}: convert it with LeRobot's "
            "convert_dataset_v21_to_v30."
        )
    if header.fps != info["fps"] or header.fps < 1:
        raise ConfigError(f"{folder} has {info['fps']} frames per second; the number must be an integer of at least 1.")
    return header, info


def _column_names(feature: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a vector's columns: a list, or a list under one key ("motors") in converted datasets; else indices."""
    names, count = feature["names"], feature["shape"][0]
    if isinstance(names, dict) and len(names) == 1:
        (names,) = names.values()
    fits = isinstance(names, list) and len(names) == count
    return tuple(map(str, names if fits else range(count)))


def read_dataset(folder: Path, images: Collection[str] | None = None) -> Iterator[Frames]:
    """Yield the episodes of a dataset in order.

    Args:
        folder: Folder of the dataset.
        images: Image features to decode; None: all.

    Raises:
        ConfigError: See `read_header`; or files are damaged or do not match `info.json`.
    """
    header, info = read_header(folder)
    selected = [key for key in header.images if images is None or key in images]
    frames = 0
    try:
        meta = pq.read_table(folder / "meta" / "episodes") if set(selected) & set(header.videos) else pa.table({})
        rows_of_meta = meta.select([name for name in meta.column_names if not name.startswith("stats/")]).to_pylist()
        episodes = {row["episode_index"]: row for row in rows_of_meta}
        table = pq.read_table(folder / "meta" / "tasks.parquet")
        name = "task" if "task" in table.column_names else "__index_level_0__"
        tasks = dict(zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True))
        for path in sorted((folder / "data").glob("*/*.parquet")):
            file_table = pq.read_table(path, columns=_selected_columns(path, header, selected))
            indices = file_table["episode_index"].to_numpy()
            bounds = [0, *(np.flatnonzero(np.diff(indices)) + 1).tolist(), len(indices)]
            for first, last in itertools.pairwise(bounds):
                rows = file_table.slice(first, last - first)
                frames += len(rows)
                videos = _read_videos(
                    folder, header, selected, info, episodes.get(rows["episode_index"][0].as_py(), {}), len(rows)
                )
                yield _frames(header, rows, selected, videos, tasks[rows["task_index"][0].as_py()])
    except ConfigError:
        raise
    except (OSError, KeyError, IndexError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"{folder} is damaged ({str(error).splitlines()[0]}).") from None
    if frames != info.get("total_frames"):
        raise ConfigError(f"{folder} has {frames} frames; its info.json declares {info.get('total_frames')}.")


def _selected_columns(path: Path, header: DatasetHeader, selected: Collection[str]) -> list[str]:
    """All columns of the file except image features that are not selected."""
    return [name for name in pq.read_schema(path).names if name not in header.images or name in selected]


def _read_videos(
    folder: Path,
    header: DatasetHeader,
    selected: Collection[str],
    info: Mapping[str, Any],
    episode: Mapping[str, Any],
    count: int,
) -> dict[str, Bytes]:
    images = {}
    for key in (k for k in header.videos if k in selected):
        path, start_s = lerobot_video.locate(folder, key, episode, info["video_path"])
        images[key] = lerobot_video.read_video(path, start_s, count, header.fps)
    return images


def _frames(header: DatasetHeader, rows: Any, selected: Collection[str], videos: dict[str, Bytes], task: str) -> Frames:
    vectors, images = {}, dict(videos)
    for key, names in header.vectors.items():
        values = np.array(rows[key].to_pylist(), dtype=np.float32).reshape(len(rows), -1)
        if values.shape[1] != len(names):
            raise ConfigError(f"{key} has {values.shape[1]} values per frame; info.json declares {len(names)}.")
        vectors[key] = values
    for key in (k for k in selected if k not in videos):
        encoded = [row["bytes"] for row in rows[key].to_pylist()]
        if not all(encoded):
            raise ConfigError(f"{key} stores its images outside the data files, which is not supported.")
        decoded: list[Any] = [cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) for data in encoded]
        if any(image is None for image in decoded):
            raise ConfigError(f"an image of {key} cannot be decoded.")
        images[key] = np.stack(decoded)[..., ::-1].copy()
    return Frames(vectors, images, task)
