"""Frames of demonstrations to tensors: shuffled, augmented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vla_ros.data.augment import augment
from vla_ros.data.demos import DemoDataset
from vla_ros.policy.instruction import Sentences
from vla_ros.policy.model import to_input
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


class BatchMaker:
    """Draws batches from a data set that may grow between calls."""

    def __init__(self, data: DemoDataset, config: TrainConfig, seed: int) -> None:
        """Take in what is there."""
        self.data, self.config = data, config
        self._rng = np.random.default_rng(seed)
        self._order: Iterator[int] = iter(())
        n = config.network
        self.sentences = Sentences(n.language, n.words, n.backbone.weights)
        self.update()

    def update(self) -> None:
        """Take in episodes added to the data set since the last call."""
        self.joints = self.data.stacked("joints")
        self.labels = self.data.stacked("labels")
        self.truth = self.data.stacked("truth")
        self.words = np.stack([self.sentences(e.instruction) for e in self.data.episodes])
        self._order = iter(())

    def _draw(self, count: int) -> np.ndarray:
        chosen: list[int] = []
        while len(chosen) < count:
            nxt = next(self._order, None)
            if nxt is None:
                self._order = iter(self._rng.permutation(len(self.data)).tolist())
            else:
                chosen.append(nxt)
        return np.array(chosen)

    def make(self, count: int) -> Batch:
        """The next `count` frames; every frame once before any comes twice."""
        frames = self._draw(count)
        rows = self.data.locate(frames)
        images = []
        for camera in self.config.cameras:
            raw = np.stack([self.data.episodes[e].images[camera][t] for e, t in rows])
            images.append(to_input(torch.from_numpy(augment(raw, self._rng, self.config.augment))))
        noise = self._rng.normal(0.0, self.config.joint_noise_rad, self.joints[frames].shape)
        joints = (self.joints[frames] + noise).astype(np.float32)
        return Batch(
            images,
            torch.from_numpy(joints),
            torch.from_numpy(self.words[rows[:, 0]]),
            torch.from_numpy(self.labels[frames]),
            torch.from_numpy(self.truth[frames]),
        )
