"""Demonstrations of this package written as a LeRobotDataset v3.0, and read back without loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import DemoDataset, DemoInfo, Episode, check_episode
from vla_ros.data.lerobot.reader import read_dataset, read_header
from vla_ros.data.lerobot.training_data import ACTION, CAMERA, STATE
from vla_ros.data.lerobot.writer import DatasetHeader, Frames, write_dataset

LABELS, GROUND_TRUTH = "labels", "ground_truth"  # not "action..." or "observation...": LeRobot ignores other names


def save_demos(folder: Path, info: DemoInfo, episodes: Iterable[Episode], fps: int, video: bool = False) -> None:
    """Write demonstrations as a LeRobot dataset, atomically.

    `observation.state` is the measured position [rad] and `action` the expert's target one frame later [rad]. The
    complete labels and the ground truth are additional features, which LeRobot's policies ignore.

    Args:
        folder: Folder of the dataset; must not exist.
        info: Properties of the episodes.
        episodes: The episodes; read one at a time.
        fps: Frames per second, 1 / (time between waypoints x stride of the recording) [Hz].
        video: Store the images as video: smaller, but lossy; needs PyAV.

    Raises:
        ConfigError: The frame period is not a multiple of the waypoint period, or an episode does not fit.
    """
    stride = round(1.0 / (fps * info.dt_s)) if fps >= 1 else 0
    if not (1 <= stride <= info.waypoints and abs(stride * info.dt_s * fps - 1.0) < 1e-6):
        raise ConfigError(
            f"the period of {fps} frames per second is not a multiple of the waypoint period {info.dt_s} s."
        )
    vectors = {
        STATE: info.joints,
        ACTION: info.joints,
        LABELS: tuple(f"{joint}+{k + 1}" for k in range(info.waypoints) for joint in info.joints),
    }
    if info.ground_truth_names:
        vectors[GROUND_TRUTH] = info.ground_truth_names
    images = {CAMERA + name: (info.image_size, info.image_size) for name in info.cameras}
    metadata: list[dict[str, Any]] = []

    def frames() -> Iterator[Frames]:
        for episode in episodes:
            check_episode(info, episode)
            metadata.append(episode.metadata)
            labels = episode.labels
            values = {STATE: episode.joints, ACTION: labels[:, stride - 1], LABELS: labels.reshape(len(labels), -1)}
            if info.ground_truth_names:
                values[GROUND_TRUTH] = episode.ground_truth
            images_of_episode = {CAMERA + name: episode.images[name] for name in info.cameras}
            yield Frames(values, images_of_episode, episode.instruction)

    # The header is written last, when the list of metadata is complete.
    extra = {"demonstrations": info.to_json(), "metadata": metadata}
    header = DatasetHeader(fps, info.robot, vectors, images, extra, tuple(images) if video else ())
    write_dataset(folder, header, frames())


def load_demos(folder: Path) -> DemoDataset:
    """Read what `save_demos` wrote.

    Raises:
        ConfigError: Not a dataset, damaged, or not a dataset of demonstrations.
    """
    header, dataset_info = read_header(folder)
    try:
        info = DemoInfo.from_json(header.extra["demonstrations"])
        metadata = list(header.extra["metadata"])
    except (KeyError, TypeError):
        raise ConfigError(
            f"{folder} is a LeRobot dataset, but not one of demonstrations of this version of the package."
        ) from None
    required = {
        STATE,
        LABELS,
        *([GROUND_TRUTH] if info.ground_truth_names else []),
        *(CAMERA + name for name in info.cameras),
    }
    missing = sorted(required - {*header.vectors, *header.images})
    label_size = info.waypoints * len(info.joints)
    if missing or len(header.vectors[LABELS]) != label_size or len(metadata) != dataset_info["total_episodes"]:
        raise ConfigError(f"{folder} does not match its info.json (missing or wrong size: {missing or 'sizes'}).")
    data = DemoDataset()
    for number, frames in enumerate(read_dataset(folder)):
        labels = frames.vectors[LABELS].reshape(len(frames), info.waypoints, len(info.joints))
        ground_truth = frames.vectors.get(GROUND_TRUTH, np.zeros((len(frames), 0), dtype=np.float32))
        images = {name: frames.images[CAMERA + name] for name in info.cameras}
        data.add(info, Episode(images, frames.vectors[STATE], labels, ground_truth, frames.task, metadata[number]))
    return data
