"""Faults of the joint states on their way from the simulator to the supervisor."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import JointState

from faults.fault import Injection
from faults.scene import Scene
from vla_ros.nodes.common import conversions as convert

S = 1_000_000_000


def modify(change: Callable[[JointState], JointState | None]) -> Injection:
    """Pass a copy of every joint state through `change`; None drops it."""

    def injection(scene: Scene) -> None:
        scene.modify_joint_state = lambda message: change(copy.deepcopy(message))

    return injection


def restore(scene: Scene) -> None:
    """Pass joint states on unmodified."""
    scene.modify_joint_state = None


LOST = modify(lambda _message: None)
"""Drop every joint state."""


def lost_at_random(probability: float) -> Injection:
    """Drop joint states at random."""
    rng = random.Random(7)
    return modify(lambda message: None if rng.random() < probability else message)


def frozen(*, values: bool, stamps: bool) -> Injection:
    """Repeat the positions, the stamps, or both, of the newest joint state."""

    def injection(scene: Scene) -> None:
        first = copy.deepcopy(scene.last_joint_state)

        def change(message: JointState) -> JointState:
            if values:
                message.position = first.position
            if stamps:
                message.header.stamp = first.header.stamp
            return message

        modify(change)(scene)

    return injection


def shift_stamp(message: JointState, seconds: float) -> JointState:
    """Add `seconds` [s] to the stamp of a message."""
    message.header.stamp = convert.to_time(convert.to_ns(message.header.stamp) + round(seconds * S))
    return message


def stamps_shifted(seconds: float) -> Injection:
    """Add `seconds` [s] to every stamp, as a driver with another clock does."""
    return modify(lambda message: shift_stamp(message, seconds))


def delayed(samples: int) -> Injection:
    """Pass every joint state on this many samples later."""

    def injection(scene: Scene) -> None:
        waiting: list[JointState] = []

        def change(message: JointState) -> JointState | None:
            waiting.append(message)
            return waiting.pop(0) if len(waiting) > samples else None

        modify(change)(scene)

    return injection


def positions(change: Callable[[np.ndarray], np.ndarray]) -> Injection:
    """Change the positions of every joint state, shape (J,) [rad]."""

    def change_message(message: JointState) -> JointState:
        message.position = change(np.array(message.position)).tolist()
        return message

    return modify(change_message)


def every_second_offset(offset_rad: float) -> Injection:
    """Add an offset [rad] to every second joint state."""

    def injection(scene: Scene) -> None:
        count = iter(range(10**9))
        positions(lambda p: p + offset_rad * (next(count) % 2))(scene)

    return injection


def without_last_joint(message: JointState) -> JointState:
    """Remove the last joint."""
    message.name, message.position, message.velocity = message.name[:-1], message.position[:-1], message.velocity[:-1]
    return message


def reversed_joints(message: JointState) -> JointState:
    """List the joints in reverse order, with their own values."""
    message.name, message.position = message.name[::-1], message.position[::-1]
    message.velocity = message.velocity[::-1]
    return message


def rotated_names(message: JointState) -> JointState:
    """Give each value the name of the next joint."""
    message.name = [*message.name[1:], message.name[0]]
    return message


def first_joint_twice(message: JointState) -> JointState:
    """List the first joint a second time, at the end."""
    message.name, message.position = [*message.name, message.name[0]], [*message.position, message.position[0]]
    message.velocity = [*message.velocity, 0.0]
    return message


def high_velocity(message: JointState) -> JointState:
    """Report 50 rad/s for every joint."""
    message.velocity = [50.0] * len(message.velocity)
    return message


def nan_velocities(message: JointState) -> JointState:
    """Report NaN as the velocity of every joint."""
    message.velocity = [float("nan")] * len(message.velocity)
    return message


def without_velocities(message: JointState) -> JointState:
    """Report no velocities."""
    message.velocity = []
    return message
