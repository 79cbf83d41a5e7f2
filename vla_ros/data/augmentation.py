"""What makes a camera image look different without changing what it shows: cheap, and on bytes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError


@dataclass(frozen=True)
class AugmentConfig:
    """How much.

    Attributes:
        shift_px: Greatest shift along each axis [px]; the edge is repeated. Keep it small: the place of a
            thing in the image is what tells a reaching policy where it is.
        gain: Greatest relative change of brightness.
        tint: Greatest relative change of each colour channel on top.
        bias: Greatest offset, of 255.
    """

    shift_px: int = 2
    gain: float = 0.15
    tint: float = 0.05
    bias: float = 0.04

    def __post_init__(self) -> None:
        """Check."""
        if not (self.shift_px >= 0 and 0.0 <= self.gain < 1.0 and 0.0 <= self.tint < 1.0 and 0.0 <= self.bias < 1.0):
            raise ConfigError(f"augmentation must be within [0, 1) and the shift not negative; got {self}.")


@dataclass(frozen=True, eq=False)
class Changes:
    """What shall happen to B images; drawn apart from the doing, so that a process may do its share of a batch only.

    Attributes:
        shift: Place of the window in the padded image, shape (B, 2) [px].
        gain: Per channel, shape (B, 3).
        bias: Shape (B, 1), of 255.
    """

    shift: npt.NDArray[np.int64]
    gain: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def part(self, rows: slice) -> Changes:
        """Those of some images."""
        return Changes(self.shift[rows], self.gain[rows], self.bias[rows])


def draw(count: int, rng: np.random.Generator, config: AugmentConfig) -> Changes:
    """The changes of `count` images."""
    reach = config.shift_px
    shift = rng.integers(-reach, reach + 1, (count, 2)) + reach
    gain = 1.0 + rng.uniform(-config.gain, config.gain, (count, 1)) + rng.uniform(-config.tint, config.tint, (count, 3))
    return Changes(shift, gain, 255.0 * rng.uniform(-config.bias, config.bias, (count, 1)))


def change(images: npt.NDArray[np.uint8], changes: Changes, config: AugmentConfig) -> npt.NDArray[np.uint8]:
    """Shift and recolour each image of a batch (B, S, S, 3) uint8 on its own; same shape, same range."""
    size, reach = images.shape[1], config.shift_px
    out = np.empty_like(images)
    levels = np.arange(256, dtype=np.float32)
    # One look-up table per image and channel: no arithmetic on pixels at all.
    tables = changes.gain[..., None] * (levels - 128.0) + 128.0 + changes.bias[..., None]
    tables = np.clip(tables, 0, 255).astype(np.uint8)
    for k, (top, left) in enumerate(changes.shift):
        padded = cv2.copyMakeBorder(images[k], reach, reach, reach, reach, cv2.BORDER_REPLICATE)
        moved = padded[top : top + size, left : left + size]
        cv2.LUT(moved, np.ascontiguousarray(tables[k].T)[:, None, :], dst=out[k])
    return out
