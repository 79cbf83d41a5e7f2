"""Camera images as the network sees them: one size, uint8 until the last moment."""

from __future__ import annotations

import cv2
import numpy as np

from vla_ros.core.records import Image


def centre(image: Image) -> Image:
    """The largest square in the middle of an RGB image; no copy."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def shrink(image: Image, size: int) -> Image:
    """Centre-crop an RGB image to a square and resize it to (size, size, 3) uint8.

    INTER_AREA averages what falls into a pixel, so small objects keep their sub-pixel place.
    """
    square = centre(image)
    if len(square) == size:
        return np.ascontiguousarray(square)
    return np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
