"""Faults of the cameras and of the policy, while the learned policy moves the arm by what it sees."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable
from typing import Any

from acts import NO_JOINTS, asks, both, into, kill, stall
from fault import OWN_REST, STEADY, Act, Fault
from scene import Scene, Setup
from sensor_msgs.msg import Image

from vla_ros.nodes.common import conversions as convert
from vla_ros.nodes.common import topics

SIGHT, WATCHED = Setup(sight=True), Setup(sight=True, watched=True)
S = 1_000_000_000


def pictures(change: Callable[[Image], Image | None], only: str = "") -> Act:
    """Every picture, or those of one camera, is changed; the change gets a copy of its own."""

    def begin(scene: Scene) -> None:
        def spoil(camera: str, message: Image) -> Image | None:
            return message if only and camera != only else change(copy.deepcopy(message))

        scene.spoil_image = spoil

    return begin


def good_pictures(scene: Scene) -> None:
    scene.spoil_image = None


def repeated(stamps: bool) -> Act:
    """Of each camera the same picture again and again, with its own stamp or with new ones."""

    def begin(scene: Scene) -> None:
        first: dict[str, Image] = {}

        def spoil(camera: str, message: Image) -> Image:
            old = copy.copy(first.setdefault(camera, message))
            if not stamps:
                old.header = message.header
            return old

        scene.spoil_image = spoil

    return begin


def black(message: Image) -> Image:
    message.data = array("B", bytes(len(message.data)))
    return message


def delayed(seconds: float) -> Act:
    def begin(scene: Scene) -> None:
        waiting: list[tuple[str, Image]] = []

        def spoil(camera: str, message: Image) -> Image | None:
            waiting.append((camera, message))
            due = scene.witness.now_ns() - seconds * S
            old = next((w for w in waiting if w[0] == camera and convert.to_ns(w[1].header.stamp) <= due), None)
            if old is not None:
                waiting.remove(old)
            return old and old[1]

        scene.spoil_image = spoil

    return begin


def cropped(message: Image) -> Image:
    """Sixteen pixels wide and high, and true to its own word."""
    message.width = message.height = 16
    message.step = 48
    message.data = message.data[: 16 * 48]
    return message


def cut_off(message: Image) -> Image:
    """As large as before by its own word, and half of the data."""
    message.data = message.data[: len(message.data) // 2]
    return message


def grey(message: Image) -> Image:
    message.encoding, message.step = "mono8", message.width
    message.data = message.data[: message.width * message.height]
    return message


def unwatched(name: str, begin: Act, **how: Any) -> Fault:
    """A row of cameras that nobody watches."""
    return Fault(f"unwatched cameras: {name}", begin, end=good_pictures, setup=SIGHT, **how)


def watched(name: str, begin: Act, *how: Any, **more: Any) -> Fault:
    """A row of cameras that the supervisor watches."""
    return Fault(f"cameras: {name}", begin, *how, end=good_pictures, setup=WATCHED, **more)


NO_PICTURES = pictures(lambda _m: None)
AT_ONCE = 0.6
"""A camera that is lost is noticed after 0.3 s, and the arm then stops [s]."""

FAULTS = (
    watched("pictures lost", NO_PICTURES, "stopped", AT_ONCE, "camera front is silent"),
    watched("one of two lost", pictures(lambda _m: None, "wrist"), "stopped", AT_ONCE, "camera wrist is silent"),
    watched("frozen, and their stamps", repeated(True), "stopped", AT_ONCE, "are stamped"),
    watched("0.6 s late", delayed(0.6), "stopped", AT_ONCE, "camera"),
    watched("frozen under new stamps", repeated(False), **STEADY),
    watched("black", pictures(black), **STEADY),
    watched("of another size", pictures(cropped), **STEADY),
    watched("data cut off", pictures(cut_off), "stopped", AT_ONCE, "is silent"),
    watched("grey", pictures(grey), **OWN_REST),
    unwatched("pictures lost", NO_PICTURES, **OWN_REST),
    unwatched("one of two lost", pictures(lambda _m: None, "wrist"), **OWN_REST),
    unwatched("frozen, and their stamps", repeated(True), **OWN_REST),
    unwatched("0.6 s late", delayed(0.6), **OWN_REST),
    unwatched("data cut off", pictures(cut_off), **OWN_REST),
    Fault("cameras_node killed", kill("cameras_node"), "stopped", AT_ONCE, "is silent", setup=WATCHED),
    Fault("cameras_node stalled for 1 s", stall("cameras_node", 1.0), "stopped", AT_ONCE, "is silent", setup=WATCHED),
    Fault(
        "cameras_node killed and an emergency stop asked for",
        both(kill("cameras_node"), asks(topics.ESTOP)),
        "estopped",
        0.5,
        "asked for",
        setup=WATCHED,
    ),
    Fault("policy killed", kill("policy_node"), **OWN_REST, setup=WATCHED),
    Fault("policy stalled for 1 s", stall("policy_node", 1.0), **STEADY, setup=WATCHED),
    Fault(
        "cameras lost while stopped, then found",
        NO_PICTURES,
        "stopped",
        reason="is silent",
        end=good_pictures,
        setup=WATCHED,
        lead=into(topics.STOP),
        at="stopped",
        look_s=1.5,
    ),
    Fault(
        "cameras black and joint states lost",
        both(pictures(black), NO_JOINTS),
        "stopped",
        0.5,
        "no joint state",
        setup=WATCHED,
    ),
)
