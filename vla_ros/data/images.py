"""Camera images to the size of the network's input, as uint8. Does not need torch."""

from __future__ import annotations

import cv2
import numpy as np

from vla_ros.core.records import Image


def centre_crop(image: Image) -> Image:
    """The largest square in the centre of an RGB image; a view, not a copy."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def crop_and_resize(image: Image, size: int) -> Image:
    """Crop an RGB image to the central square and resize it to (size, size, 3) uint8.

    INTER_AREA averages the pixels that fall into one, so that small objects keep their sub-pixel position.
    """
    square = centre_crop(image)
    if len(square) == size:
        return np.ascontiguousarray(square)
    return np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
