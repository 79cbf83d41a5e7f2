"""Batches of tensors from demonstrations: shuffled and augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vla_ros.core.errors import ConfigError
from vla_ros.data.augmentation import AugmentParameters, augment, sample_parameters
from vla_ros.data.episodes import DemoDataset
from vla_ros.policy.inference.image_input import to_input
from vla_ros.policy.text.encoders import InstructionEncoder
from vla_ros.train.config import TrainConfig


@dataclass(frozen=True)
class Batch:
    """B frames.

    Attributes:
        images: One tensor (B, 3, S, S) per camera.
        joints: Measured positions with noise, shape (B, J) [rad].
        instructions: Embeddings of the instructions, shape (B, W).
        labels: Absolute waypoints, shape (B, K, J) [rad].
        ground_truth: Targets of the auxiliary loss, shape (B, A).
    """

    images: list[Tensor]
    joints: Tensor
    instructions: Tensor
    labels: Tensor
    ground_truth: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`."""
        rest = (x.to(device) for x in (self.joints, self.instructions, self.labels, self.ground_truth))
        return Batch([image.to(device) for image in self.images], *rest)


class BatchMaker:
    """Draws batches from a data set that may grow between calls.

    Every process draws the same frames and prepares its own share, so that all shares together are the batch of a
    single process.

    Attributes:
        data: The data set.
        joints: Measured positions of all frames, shape (F, J) [rad].
        labels: Absolute waypoints of all frames, shape (F, K, J) [rad].
        ground_truth: Targets of the auxiliary loss of all frames, shape (F, A).
        instructions: Embedding of the instruction of each episode, shape (E, W).
        instruction_encoder: Computes these embeddings.
    """

    def __init__(self, data: DemoDataset, config: TrainConfig, seed: int, rank: int = 0, world_size: int = 1) -> None:
        """Read the data set; this is process `rank` of `world_size`."""
        self.data, self.config = data, config
        self._rank, self._world_size = rank, world_size
        self._rng = np.random.default_rng(seed)
        self._order = np.zeros(0, dtype=np.int64)
        n = config.network
        self.instruction_encoder = InstructionEncoder(
            n.language, n.instruction_size, n.backbone.weights, max_cached=np.inf
        )
        self.update()

    def update(self) -> None:
        """Read the data set again after episodes were added; a new epoch starts."""
        self.joints = self.data.stacked("joints")
        self.labels = self._truncated_labels()
        self.ground_truth = self.data.stacked("ground_truth")
        self.instructions = np.stack([self.instruction_encoder(e.instruction) for e in self.data.episodes])
        self._order = np.zeros(0, dtype=np.int64)

    def _truncated_labels(self) -> np.ndarray:
        """The first waypoints of the labels, as many as the policy has."""
        labels, count = self.data.stacked("labels"), self.config.spline.waypoints
        if labels.shape[1] < count:
            raise ConfigError(
                f"the demonstrations have {labels.shape[1]} waypoints per frame, spline.waypoints is {count}; record "
                f"longer labels, or set spline.waypoints to at most {labels.shape[1]}."
            )
        return labels[:, :count]

    def state(self) -> tuple[np.ndarray, dict[str, Any]]:
        """What determines the following batches: remaining frames of this epoch, shape (F,), and the RNG state."""
        return self._order, dict(self._rng.bit_generator.state)

    def restore(self, order: np.ndarray, rng_state: dict[str, Any]) -> None:
        """Continue from a `state` with the same data."""
        self._order, self._rng.bit_generator.state = order, rng_state

    def _next_frames(self, count: int) -> np.ndarray:
        while len(self._order) < count:
            self._order = np.concatenate([self._order, self._rng.permutation(len(self.data))])
        frames, self._order = self._order[:count], self._order[count:]
        return frames

    def make(self, count: int) -> Batch:
        """This process's share of the next `count` frames; no frame repeats within an epoch."""
        frames = self._next_frames(count)
        share = count // self._world_size
        rows = slice(self._rank * share, (self._rank + 1) * share)
        augmentation = [
            sample_parameters(count, self._rng, self.config.augment).subset(rows) for _ in self.config.cameras
        ]
        noise = self._rng.normal(0.0, self.config.joint_noise_rad, self.joints[frames].shape)[rows]
        return self._gather(frames[rows], noise, augmentation)

    def without_augmentation(self, frames: np.ndarray) -> Batch:
        """The frames with these indices, without noise and augmentation."""
        return self._gather(frames, np.zeros(1), None)

    def _gather(self, frames: np.ndarray, noise: np.ndarray, augmentation: list[AugmentParameters] | None) -> Batch:
        rows = self.data.locate(frames)
        images = []
        for number, camera in enumerate(self.config.cameras):
            raw = np.stack([self.data.episodes[e].images[camera][t] for e, t in rows])
            if augmentation is not None:
                raw = augment(raw, augmentation[number], self.config.augment)
            images.append(to_input(torch.from_numpy(raw)))
        joints = (self.joints[frames] + noise).astype(np.float32)
        return Batch(
            images,
            torch.from_numpy(joints),
            torch.from_numpy(self.instructions[rows[:, 0]]),
            torch.from_numpy(self.labels[frames]),
            torch.from_numpy(self.ground_truth[frames]),
        )
