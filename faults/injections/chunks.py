"""Faults of the action chunks between policy and planner, and forged plans."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import numpy as np

from faults.fault import Injection
from faults.scene import CHUNK_PERIOD_NS, JOINTS, Scene
from vla_ros.api import Chunk, Plan
from vla_ros.nodes.common import conversions as convert

S = 1_000_000_000


def modify(change: Callable[[Chunk], Chunk | None]) -> Injection:
    """Pass every chunk through `change`; None drops it."""

    def injection(scene: Scene) -> None:
        def on_chunk(chunk: Chunk) -> None:
            changed = change(chunk)
            if changed is not None:
                scene.publish_chunk(changed)

        scene.on_chunk = on_chunk

    return injection


def modify_message(change: Callable[[object], object]) -> Injection:
    """Change every chunk as a message, in ways that a `Chunk` refuses to hold."""

    def injection(scene: Scene) -> None:
        def on_chunk(chunk: Chunk) -> None:
            message = convert.chunk_to_message(chunk)
            change(message)
            scene.client.chunks.publish(message)

        scene.on_chunk = on_chunk

    return injection


def restore(scene: Scene) -> None:
    """Publish chunks unmodified, at the normal rate."""
    scene.on_chunk, scene.chunk_period_ns = scene.publish_chunk, CHUNK_PERIOD_NS


LOST = modify(lambda _chunk: None)
"""Publish no chunks."""


def set_nan(message: object) -> None:
    """Set one position of the message to NaN."""
    message.points[7].positions[2] = float("nan")  # type: ignore[attr-defined]


def delayed(seconds: float) -> Injection:
    """Publish every chunk `seconds` [s] after its observation, as a slow policy does."""

    def injection(scene: Scene) -> None:
        waiting: list[Chunk] = []

        def on_chunk(chunk: Chunk) -> None:
            waiting.append(chunk)
            if chunk.stamp_ns - waiting[0].stamp_ns >= seconds * S:
                scene.publish_chunk(waiting.pop(0))

        scene.on_chunk = on_chunk

    return injection


def pairs_swapped(scene: Scene) -> None:
    """Publish chunks in pairs, the newer one of each first."""
    held: list[Chunk] = []

    def on_chunk(chunk: Chunk) -> None:
        held.append(chunk)
        if len(held) == 2:
            scene.publish_chunk(held.pop())
            scene.publish_chunk(held.pop())

    scene.on_chunk = on_chunk


def shuffled(scene: Scene) -> None:
    """Publish ten chunks at a time, in random order."""
    held: list[Chunk] = []

    def on_chunk(chunk: Chunk) -> None:
        held.append(chunk)
        if len(held) == 10:
            random.Random(7).shuffle(held)
            while held:
                scene.publish_chunk(held.pop())

    scene.on_chunk = on_chunk


def duplicated(scene: Scene) -> None:
    """Publish every chunk twice."""
    scene.on_chunk = lambda chunk: [scene.publish_chunk(chunk), scene.publish_chunk(chunk)]


def thousand_per_second(scene: Scene) -> None:
    """Publish 1000 chunks a second, in bursts of ten."""
    scene.on_chunk = lambda chunk: [
        scene.publish_chunk(dataclasses.replace(chunk, stamp_ns=chunk.stamp_ns + k)) for k in range(10)
    ]
    scene.chunk_period_ns = 10_000_000


def reversed_joints(chunk: Chunk) -> Chunk:
    """The same motion with the joints in reverse order."""
    return chunk.reordered(chunk.joints[::-1])


def forged_plans(offset_rad: float) -> Injection:
    """A second planner publishes plans that begin `offset_rad` [rad] beside the end of the active plan."""

    def injection(scene: Scene) -> None:
        end = scene.client.active_plan_record().positions[-1]

        def on_chunk(chunk: Chunk) -> None:
            nonlocal end
            scene.publish_chunk(chunk)
            if scene.client.active_plan is not None and scene.client.active_plan.points:
                end = scene.client.active_plan_record().positions[-1]
            rest = np.tile(end + offset_rad, (2, 1))
            zero = np.zeros_like(rest)
            start_ns = scene.client.now_ns() + S // 20
            plan = Plan(JOINTS, start_ns, np.array([0, S]), rest, zero, zero)
            scene.client.plans.publish(convert.plan_to_message(plan))

        scene.on_chunk = on_chunk

    return injection
