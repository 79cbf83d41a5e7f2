"""Faults of the camera images on their way from the simulator to policy and supervisor."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable

from sensor_msgs.msg import Image

from faults.fault import Injection
from faults.scene import Scene
from vla_ros.nodes.common import conversions as convert

S = 1_000_000_000


def modify(change: Callable[[Image], Image | None], only: str = "") -> Injection:
    """Pass a copy of every image, or of those of one camera, through `change`; None drops it."""

    def injection(scene: Scene) -> None:
        def modify_image(camera: str, message: Image) -> Image | None:
            return message if only and camera != only else change(copy.deepcopy(message))

        scene.modify_image = modify_image

    return injection


def restore(scene: Scene) -> None:
    """Pass images on unmodified."""
    scene.modify_image = None


LOST = modify(lambda _message: None)
"""Drop every image."""


def repeated(*, old_stamps: bool) -> Injection:
    """Repeat the first image of each camera, with its own stamp or with current ones."""

    def injection(scene: Scene) -> None:
        first: dict[str, Image] = {}

        def modify_image(camera: str, message: Image) -> Image:
            old = copy.copy(first.setdefault(camera, message))
            if not old_stamps:
                old.header = message.header
            return old

        scene.modify_image = modify_image

    return injection


def delayed(seconds: float) -> Injection:
    """Pass every image on `seconds` [s] later."""

    def injection(scene: Scene) -> None:
        waiting: list[tuple[str, Image]] = []

        def modify_image(camera: str, message: Image) -> Image | None:
            waiting.append((camera, message))
            due = scene.client.now_ns() - seconds * S
            old = next((w for w in waiting if w[0] == camera and convert.to_ns(w[1].header.stamp) <= due), None)
            if old is not None:
                waiting.remove(old)
            return old and old[1]

        scene.modify_image = modify_image

    return injection


def black(message: Image) -> Image:
    """Set every pixel to zero."""
    message.data = array("B", bytes(len(message.data)))
    return message


def cropped(message: Image) -> Image:
    """Crop to 16 x 16 pixels, with a consistent header."""
    message.width = message.height = 16
    message.step = 48
    message.data = message.data[: 16 * 48]
    return message


def truncated(message: Image) -> Image:
    """Remove half of the data and leave the size in the header."""
    message.data = message.data[: len(message.data) // 2]
    return message


def grey(message: Image) -> Image:
    """Change the encoding to mono8."""
    message.encoding, message.step = "mono8", message.width
    message.data = message.data[: message.width * message.height]
    return message
