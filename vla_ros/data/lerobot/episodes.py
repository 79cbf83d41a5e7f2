"""Demonstrations of this package as a LeRobotDataset v3.0, and back without loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import DemoDataset, DemoInfo, Episode, check_episode
from vla_ros.data.lerobot.reader import read_dataset, read_head
from vla_ros.data.lerobot.training_data import ACTION, CAMERA, STATE
from vla_ros.data.lerobot.writer import Frames, Head, write_dataset

LABELS, TRUTH = "labels", "truth"  # not "action…" or "observation…": LeRobot's policies are to leave them alone


def save_demos(folder: Path, info: DemoInfo, episodes: Iterable[Episode], fps: int, video: bool = False) -> None:
    """Write demonstrations as a LeRobot dataset, whole or not at all.

    `observation.state` is the measured position [rad] and `action` the expert's target one frame later [rad]. The
    whole labels and the truth go along as features of their own, which LeRobot's policies do not look at.

    Args:
        folder: The dataset; must not be there.
        info: What the episodes share.
        episodes: Taken one at a time.
        fps: Frames per second of the episodes: one over the time between waypoints, over the stride of recording.
        video: Keep the images as video: smaller, and not without loss; needs PyAV.

    Raises:
        ConfigError: A frame is not a whole number of waypoints, or an episode does not fit.
    """
    stride = round(1.0 / (fps * info.dt_s)) if fps >= 1 else 0
    if not (1 <= stride <= info.waypoints and abs(stride * info.dt_s * fps - 1.0) < 1e-6):
        raise ConfigError(f"{fps} frames per second are not a whole number of waypoints of {info.dt_s} s apart.")
    vectors = {
        STATE: info.joints,
        ACTION: info.joints,
        LABELS: tuple(f"{joint}+{k + 1}" for k in range(info.waypoints) for joint in info.joints),
    }
    if info.auxiliary:
        vectors[TRUTH] = info.auxiliary
    images = {CAMERA + name: (info.image_size, info.image_size) for name in info.cameras}
    notes: list[dict[str, Any]] = []

    def frames() -> Iterator[Frames]:
        for episode in episodes:
            check_episode(info, episode)
            notes.append(episode.notes)
            labels = episode.labels
            numbers = {STATE: episode.joints, ACTION: labels[:, stride - 1], LABELS: labels.reshape(len(labels), -1)}
            if info.auxiliary:
                numbers[TRUTH] = episode.truth
            seen = {CAMERA + name: episode.images[name] for name in info.cameras}
            yield Frames(numbers, seen, episode.instruction)

    # The notes are complete when the head is written, which comes last.
    extra = {"demos": info.to_json(), "notes": notes}
    head = Head(fps, info.robot, vectors, images, extra, tuple(images) if video else ())
    write_dataset(folder, head, frames())


def load_demos(folder: Path) -> DemoDataset:
    """Read what `save_demos` wrote.

    Raises:
        ConfigError: Not a dataset, damaged, or not one of demonstrations.
    """
    head, about = read_head(folder)
    try:
        info = DemoInfo.from_json(head.extra["demos"])
        notes = list(head.extra["notes"])
    except (KeyError, TypeError):
        raise ConfigError(f"{folder} is a LeRobot dataset, but not of demonstrations of this package.") from None
    needed = {STATE, LABELS, *([TRUTH] if info.auxiliary else []), *(CAMERA + name for name in info.cameras)}
    lacks = sorted(needed - {*head.vectors, *head.images})
    if lacks or len(head.vectors[LABELS]) != info.waypoints * len(info.joints) or len(notes) != about["total_episodes"]:
        raise ConfigError(
            f"{folder} does not hold the demonstrations that its info.json speaks of ({lacks or 'sizes'})."
        )
    data = DemoDataset()
    for number, frames in enumerate(read_dataset(folder)):
        labels = frames.vectors[LABELS].reshape(len(frames), info.waypoints, len(info.joints))
        truth = frames.vectors.get(TRUTH, np.zeros((len(frames), 0), dtype=np.float32))
        images = {name: frames.images[CAMERA + name] for name in info.cameras}
        data.add(info, Episode(images, frames.vectors[STATE], labels, truth, frames.task, notes[number]))
    return data
