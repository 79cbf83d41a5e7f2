"""Ways to break something in a scene: each returns what `Fault.begin` or `Fault.end` calls."""

from __future__ import annotations

import copy
import dataclasses
import signal
from collections.abc import Callable

import numpy as np
from fault import Act
from scene import JOINTS, Scene
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from vla_ros.api import Chunk, Plan
from vla_ros.nodes.common import conversions as convert
from vla_ros.nodes.common import topics

S = 1_000_000_000


def kill(node: str, number: int = signal.SIGKILL) -> Act:
    return lambda scene: scene.signal(node, number)


def stall(node: str, seconds: float) -> Act:
    def begin(scene: Scene) -> None:
        scene.signal(node, signal.SIGSTOP)
        scene.witness.wait(seconds)
        scene.signal(node, signal.SIGCONT)

    return begin


def joints(change: Callable[[JointState], JointState | None]) -> Act:
    """Every joint state is changed; the change gets a copy of its own."""

    def begin(scene: Scene) -> None:
        scene.spoil = lambda message: change(copy.deepcopy(message))

    return begin


def good_joints(scene: Scene) -> None:
    scene.spoil = None


def frozen(values: bool, stamps: bool) -> Act:
    def begin(scene: Scene) -> None:
        first = copy.deepcopy(scene.measured)

        def change(message: JointState) -> JointState:
            if values:
                message.position = first.position
            if stamps:
                message.header.stamp = first.header.stamp
            return message

        joints(change)(scene)

    return begin


def later(message: JointState, seconds: float) -> JointState:
    """The same, stamped so much later."""
    message.header.stamp = convert.to_time(convert.to_ns(message.header.stamp) + round(seconds * S))
    return message


def shifted(seconds: float) -> Act:
    return joints(lambda message: later(message, seconds))


def delayed(samples: int) -> Act:
    def begin(scene: Scene) -> None:
        waiting: list[JointState] = []

        def change(message: JointState) -> JointState | None:
            waiting.append(message)
            return waiting.pop(0) if len(waiting) > samples else None

        joints(change)(scene)

    return begin


def positions(change: Callable[[np.ndarray], np.ndarray]) -> Act:
    def on(message: JointState) -> JointState:
        message.position = change(np.array(message.position)).tolist()
        return message

    return joints(on)


def every_second(by: float) -> Act:
    def begin(scene: Scene) -> None:
        count = iter(range(10**9))
        positions(lambda p: p + by * (next(count) % 2))(scene)

    return begin


def lacking(message: JointState) -> JointState:
    message.name, message.position, message.velocity = message.name[:-1], message.position[:-1], message.velocity[:-1]
    return message


def reversed_(message: JointState) -> JointState:
    message.name, message.position = message.name[::-1], message.position[::-1]
    message.velocity = message.velocity[::-1]
    return message


def swapped_names(message: JointState) -> JointState:
    message.name = [*message.name[1:], message.name[0]]
    return message


def racing(message: JointState) -> JointState:
    message.velocity = [50.0] * len(message.velocity)
    return message


def chunks(change: Callable[[Chunk], Chunk | None]) -> Act:
    """Every chunk is changed, or none sent."""

    def begin(scene: Scene) -> None:
        def chunk(good: Chunk) -> None:
            bad = change(good)
            if bad is not None:
                scene.send(bad)

        scene.chunk = chunk

    return begin


def raw_chunks(spoil: Callable[[object], object]) -> Act:
    """Every chunk is spoilt as a message, in ways a record cannot hold."""

    def begin(scene: Scene) -> None:
        def chunk(good: Chunk) -> None:
            message = convert.chunk_to_message(good)
            spoil(message)
            scene.witness.chunks.publish(message)

        scene.chunk = chunk

    return begin


def good_chunks(scene: Scene) -> None:
    scene.chunk, scene.period_ns = scene.send, 100_000_000


def set_nan(message: object) -> None:
    message.points[7].positions[2] = float("nan")  # type: ignore[attr-defined]


def late_by(seconds: float) -> Act:
    """The chunks of a slow policy: right, and old."""

    def begin(scene: Scene) -> None:
        waiting: list[Chunk] = []

        def chunk(good: Chunk) -> None:
            waiting.append(good)
            if good.stamp_ns - waiting[0].stamp_ns >= seconds * S:
                scene.send(waiting.pop(0))

        scene.chunk = chunk

    return begin


def swapped_pairs(scene: Scene) -> None:
    held: list[Chunk] = []

    def chunk(good: Chunk) -> None:
        held.append(good)
        if len(held) == 2:
            scene.send(held.pop())
            scene.send(held.pop())

    scene.chunk = chunk


def twice(scene: Scene) -> None:
    scene.chunk = lambda good: [scene.send(good), scene.send(good)]


def thousand_hertz(scene: Scene) -> None:
    scene.chunk = lambda good: [scene.send(dataclasses.replace(good, stamp_ns=good.stamp_ns + k)) for k in range(10)]
    scene.period_ns = 10_000_000


def forged(by: float) -> Act:
    """A second planner publishes plans that jump."""

    def begin(scene: Scene) -> None:
        end = scene.witness.plan_in_force().positions[-1]

        def chunk(good: Chunk) -> None:
            nonlocal end
            scene.send(good)
            if scene.witness.in_force is not None and scene.witness.in_force.points:
                end = scene.witness.plan_in_force().positions[-1]
            rest = np.tile(end + by, (2, 1))
            zero = np.zeros_like(rest)
            now = scene.witness.now_ns() + S // 20
            scene.witness.plans.publish(convert.plan_to_message(Plan(JOINTS, now, np.array([0, S]), rest, zero, zero)))

        scene.chunk = chunk

    return begin


def press(scene: Scene) -> None:
    scene.heartbeat = False
    scene.button.publish(Bool(data=True))


def release(scene: Scene) -> None:
    scene.heartbeat = True


def quiet_button(scene: Scene) -> None:
    scene.heartbeat = False


def let_go(scene: Scene) -> None:
    """Whoever holds the deadman releases it, and it says so."""
    scene.held = False


def hold(scene: Scene) -> None:
    scene.held = True


def quiet_hand(scene: Scene) -> None:
    """The deadman says nothing any more."""
    scene.held = None


def for_a_moment(act: Act, end: Act, seconds: float) -> Act:
    """The fault, and its end so soon after."""

    def begin(scene: Scene) -> None:
        act(scene)
        scene.witness.wait(seconds)
        end(scene)

    return begin


def pause(seconds: float) -> Act:
    return lambda scene: scene.witness.wait(seconds)


def asks(service: str) -> Act:
    return lambda scene: scene.witness.ask(service)


def both(*acts: Act) -> Act:
    return lambda scene: [act(scene) for act in acts]


def into(*services: str) -> Act:
    """Ask for one service after another until each is granted: how another state is reached."""

    def lead(scene: Scene) -> None:
        for service in services:
            scene.witness.until(lambda service=service: scene.witness.ask(service).success, service)

    return lead


NO_JOINTS = joints(lambda _m: None)


def lose_inputs(scene: Scene) -> None:
    """From running to inactive: joint states are lost, the stop is reset."""
    joints(lambda _m: None)(scene)
    scene.witness.until(lambda: scene.witness.mode == "stopped", "stopped")
    into(topics.RESET)(scene)
