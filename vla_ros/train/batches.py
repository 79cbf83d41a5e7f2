"""Frames of demonstrations to tensors: shuffled, augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vla_ros.core.errors import ConfigError
from vla_ros.data.augmentation import Changes, change, draw
from vla_ros.data.episodes import DemoDataset
from vla_ros.policy.network.config import to_input
from vla_ros.policy.text.encoders import Sentences
from vla_ros.train.config import TrainConfig


@dataclass(frozen=True)
class Batch:
    """B frames.

    Attributes:
        images: One (B, 3, S, S) per camera.
        joints: Measured (with noise), shape (B, J) [rad].
        words: Sentences, shape (B, W).
        labels: Absolute targets, shape (B, K, J) [rad].
        truth: Shape (B, A).
    """

    images: list[Tensor]
    joints: Tensor
    words: Tensor
    labels: Tensor
    truth: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        rest = (x.to(device) for x in (self.joints, self.words, self.labels, self.truth))
        return Batch([image.to(device) for image in self.images], *rest)


class BatchMaker:
    """Draws batches from a data set that may grow between calls.

    Of several processes each draws the same and makes its own share: together they see what one would see alone.
    """

    def __init__(self, data: DemoDataset, config: TrainConfig, seed: int, rank: int = 0, processes: int = 1) -> None:
        """Take in what is there; this is process `rank` of `processes`."""
        self.data, self.config = data, config
        self._rank, self._processes = rank, processes
        self._rng = np.random.default_rng(seed)
        self._order = np.zeros(0, dtype=np.int64)
        n = config.network
        self.sentences = Sentences(n.language, n.words, n.backbone.weights, most=np.inf)
        self.update()

    def update(self) -> None:
        """Take in episodes added to the data set since the last call."""
        self.joints = self.data.stacked("joints")
        self.labels = self._begin_of_labels()
        self.truth = self.data.stacked("truth")
        self.words = np.stack([self.sentences(e.instruction) for e in self.data.episodes])
        self._order = np.zeros(0, dtype=np.int64)

    def _begin_of_labels(self) -> np.ndarray:
        """As many waypoints as the policy has."""
        labels, count = self.data.stacked("labels"), self.config.spline.waypoints
        if labels.shape[1] < count:
            raise ConfigError(
                f"the demonstrations have {labels.shape[1]} waypoints a frame, spline.waypoints asks for {count}; "
                f"record longer ones, or ask for no more than {labels.shape[1]}."
            )
        return labels[:, :count]

    def state(self) -> tuple[np.ndarray, dict[str, Any]]:
        """What decides the batches to come: frames left of this epoch, shape (F,), and the state of the draws."""
        return self._order, dict(self._rng.bit_generator.state)

    def restore(self, order: np.ndarray, draws: dict[str, Any]) -> None:
        """Go on from a `state`, with the data of then."""
        self._order, self._rng.bit_generator.state = order, draws

    def _draw(self, count: int) -> np.ndarray:
        while len(self._order) < count:
            self._order = np.concatenate([self._order, self._rng.permutation(len(self.data))])
        chosen, self._order = self._order[:count], self._order[count:]
        return chosen

    def make(self, count: int) -> Batch:
        """This process's share of the next `count` frames; every frame once before any comes twice."""
        frames = self._draw(count)
        each = count // self._processes
        mine = slice(self._rank * each, (self._rank + 1) * each)
        changes = [draw(count, self._rng, self.config.augment).part(mine) for _ in self.config.cameras]
        noise = self._rng.normal(0.0, self.config.joint_noise_rad, self.joints[frames].shape)[mine]
        return self._gather(frames[mine], noise, changes)

    def plain(self, frames: np.ndarray) -> Batch:
        """The frames of these numbers as they are: neither noise nor augmentation."""
        return self._gather(frames, np.zeros(1), None)

    def _gather(self, frames: np.ndarray, noise: np.ndarray, changes: list[Changes] | None) -> Batch:
        rows = self.data.locate(frames)
        images = []
        for number, camera in enumerate(self.config.cameras):
            raw = np.stack([self.data.episodes[e].images[camera][t] for e, t in rows])
            if changes is not None:
                raw = change(raw, changes[number], self.config.augment)
            images.append(to_input(torch.from_numpy(raw)))
        joints = (self.joints[frames] + noise).astype(np.float32)
        return Batch(
            images,
            torch.from_numpy(joints),
            torch.from_numpy(self.words[rows[:, 0]]),
            torch.from_numpy(self.labels[frames]),
            torch.from_numpy(self.truth[frames]),
        )
