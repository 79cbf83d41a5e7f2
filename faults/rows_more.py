"""More joint states and chunks, an emergency stop in every state, and faults in pairs."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
from acts import (
    NO_JOINTS,
    asks,
    both,
    chunks,
    forged,
    frozen,
    good_chunks,
    good_joints,
    into,
    joints,
    late_by,
    later,
    lose_inputs,
    positions,
    press,
    racing,
    raw_chunks,
    release,
    set_nan,
    stall,
    thousand_hertz,
)
from fault import BUTTON, OWN_REST, STEADY, Act, Fault
from scene import Scene
from sensor_msgs.msg import JointState

from vla_ros.api import Chunk
from vla_ros.nodes.common import topics


def nan_velocities(message: JointState) -> JointState:
    message.velocity = [float("nan")] * len(message.velocity)
    return message


def without_velocities(message: JointState) -> JointState:
    message.velocity = []
    return message


def doubled(message: JointState) -> JointState:
    message.name, message.position = [*message.name, message.name[0]], [*message.position, message.position[0]]
    message.velocity = [*message.velocity, 0.0]
    return message


def dropped(share: float) -> Act:
    """So many joint states are lost, at random."""
    chance = random.Random(7)
    return joints(lambda message: None if chance.random() < share else message)


def shuffled(scene: Scene) -> None:
    """Ten chunks at a time, in any order."""
    held: list[Chunk] = []

    def chunk(good: Chunk) -> None:
        held.append(good)
        if len(held) == 10:
            random.Random(7).shuffle(held)
            while held:
                scene.send(held.pop())

    scene.chunk = chunk


def reversed_joints(chunk: Chunk) -> Chunk:
    return chunk.in_order(chunk.joints[::-1])


ESTOP = asks(topics.ESTOP)
STOPPED = into(topics.STOP)

FAULTS = (
    Fault("joint states: velocities NaN", joints(nan_velocities), "stopped", 0.5, "no joint state", good_joints),
    Fault("joint states: no velocities", joints(without_velocities), **STEADY, end=good_joints),
    Fault("joint states: a joint twice", joints(doubled), "stopped", 0.5, "no joint state", good_joints),
    Fault("joint states: half of them lost", dropped(0.5), **STEADY, end=good_joints),
    Fault("joint states: milliradians", positions(lambda p: p * 1e3), "stopped", 0.5, "no joint state", good_joints),
    Fault("chunks: ten at a time, in any order", shuffled, **STEADY, end=good_chunks),
    Fault("chunks: joints in another order", chunks(reversed_joints), **STEADY, end=good_chunks),
    Fault(
        "chunks: ten times too fast",
        chunks(lambda c: dataclasses.replace(c, offsets_s=c.offsets_s / 10)),
        **STEADY,
        end=good_chunks,
    ),
    Fault(
        "chunks: a point short of a joint",
        raw_chunks(lambda m: m.points[3].positions.pop()),
        **OWN_REST,
        end=good_chunks,
    ),
    Fault(
        "chunks: 1000 waypoints",
        raw_chunks(lambda m: m.points.extend([m.points[-1]] * 1000)),
        **OWN_REST,
        end=good_chunks,
    ),
    Fault("policy 10 s slow", late_by(10.0), **OWN_REST, end=good_chunks, look_s=12.0),
    Fault(
        "emergency stop while inactive",
        ESTOP,
        "estopped",
        0.3,
        "asked for",
        good_joints,
        lead=lose_inputs,
        at="inactive",
    ),
    Fault(
        "emergency stop while ready",
        ESTOP,
        "estopped",
        0.3,
        "asked for",
        lead=into(topics.ESTOP, topics.RESET),
        at="ready",
    ),
    Fault("emergency stop while stopped", ESTOP, "estopped", 0.3, "asked for", lead=STOPPED, at="stopped"),
    Fault("emergency stop while estopped", ESTOP, "estopped", lead=into(topics.ESTOP), at="estopped", look_s=1.0),
    Fault("stop asked for while estopped", asks(topics.STOP), "estopped", lead=into(topics.ESTOP), at="estopped"),
    Fault("armed while estopped", asks(topics.ARM), "estopped", lead=into(topics.ESTOP), at="estopped"),
    Fault(
        "joint states lost while stopped, then found",
        NO_JOINTS,
        "stopped",
        end=good_joints,
        lead=STOPPED,
        at="stopped",
    ),
    Fault(
        "button pressed while stopped",
        press,
        "estopped",
        0.3,
        "pressed",
        release,
        setup=BUTTON,
        lead=STOPPED,
        at="stopped",
    ),
    Fault(
        "joint states frozen and a stop asked for",
        both(frozen(True, True), asks(topics.STOP)),
        "stopped",
        0.5,
        "asked to stop",
        good_joints,
    ),
    Fault(
        "joint states NaN and chunks NaN",
        both(positions(lambda p: p * np.nan), raw_chunks(set_nan)),
        "stopped",
        0.5,
        "no joint state",
        both(good_joints, good_chunks),
    ),
    Fault(
        "planner stalled for 1 s and joint states lost",
        both(NO_JOINTS, stall("planner_node", 1.0)),
        "stopped",
        1.2,
        "no joint state",
        good_joints,
    ),
    Fault(
        "driver's clock 1 s behind and velocity of 50 rad/s",
        joints(lambda m: racing(later(m, -1.0))),
        "estopped",
        0.5,
        "moves at",
        good_joints,
    ),
    Fault(
        "supervisor stalled for 0.5 s and 1000 chunks a second",
        both(thousand_hertz, stall("supervisor_node", 0.5)),
        "stopped",
        0.8,
        "",
        good_chunks,
    ),
    Fault(
        "plans forged and joint states frozen",
        both(forged(0.5), frozen(True, True)),
        "stopped",
        1.0,
        "stamped",
        both(good_chunks, good_joints),
    ),
    Fault(
        "simulator killed and an emergency stop asked for",
        both(lambda s: s.signal("sim_node", 9), ESTOP),
        "estopped",
        0.5,
        "asked for",
    ),
)
