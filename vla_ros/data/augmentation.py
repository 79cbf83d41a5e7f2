"""Image augmentation on bytes: random shift, brightness and colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError


@dataclass(frozen=True)
class AugmentConfig:
    """Strength of the augmentation.

    Attributes:
        shift_px: Maximum shift along each axis; border pixels are repeated. Keep it small: a reaching policy locates
            objects by their position in the image [px].
        gain: Maximum relative change of brightness.
        tint: Maximum additional relative change of each colour channel.
        bias: Maximum offset, as a fraction of 255.
    """

    shift_px: int = 2
    gain: float = 0.15
    tint: float = 0.05
    bias: float = 0.04

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (self.shift_px >= 0 and 0.0 <= self.gain < 1.0 and 0.0 <= self.tint < 1.0 and 0.0 <= self.bias < 1.0):
            raise ConfigError(
                f"augment.shift_px must not be negative; gain, tint and bias must be in [0, 1); got {self}."
            )


@dataclass(frozen=True, eq=False)
class AugmentParameters:
    """Random parameters of B images; drawn for a complete batch, so that each process can augment its share of it.

    Attributes:
        shift: Top left corner of the window in the padded image, shape (B, 2) [px].
        gain: Per channel, shape (B, 3).
        bias: Offset, shape (B, 1), from 0 to 255.
    """

    shift: npt.NDArray[np.int64]
    gain: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def subset(self, rows: slice) -> AugmentParameters:
        """The parameters of the images in `rows`."""
        return AugmentParameters(self.shift[rows], self.gain[rows], self.bias[rows])


def sample_parameters(count: int, rng: np.random.Generator, config: AugmentConfig) -> AugmentParameters:
    """Draw the parameters of `count` images."""
    padding = config.shift_px
    shift = rng.integers(-padding, padding + 1, (count, 2)) + padding
    gain = 1.0 + rng.uniform(-config.gain, config.gain, (count, 1)) + rng.uniform(-config.tint, config.tint, (count, 3))
    return AugmentParameters(shift, gain, 255.0 * rng.uniform(-config.bias, config.bias, (count, 1)))


def augment(
    images: npt.NDArray[np.uint8], parameters: AugmentParameters, config: AugmentConfig
) -> npt.NDArray[np.uint8]:
    """Shift and recolour the images of a batch, shape (B, S, S, 3) uint8; returns the same shape."""
    size, padding = images.shape[1], config.shift_px
    out = np.empty_like(images)
    levels = np.arange(256, dtype=np.float32)
    # One look-up table per image and channel instead of arithmetic per pixel.
    tables = parameters.gain[..., None] * (levels - 128.0) + 128.0 + parameters.bias[..., None]
    tables = np.clip(tables, 0, 255).astype(np.uint8)
    for k, (top, left) in enumerate(parameters.shift):
        padded = cv2.copyMakeBorder(images[k], padding, padding, padding, padding, cv2.BORDER_REPLICATE)
        shifted = padded[top : top + size, left : left + size]
        cv2.LUT(shifted, np.ascontiguousarray(tables[k].T)[:, None, :], dst=out[k])
    return out
