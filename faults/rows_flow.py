"""Faults of an arm behind a trajectory controller, which goes on by itself: what it tells its servos is judged, too."""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

from acts import (
    NO_JOINTS,
    asks,
    both,
    chunks,
    frozen,
    good_chunks,
    good_joints,
    kill,
    let_go,
    pause,
    press,
    release,
    stall,
)
from fault import BUTTON, OWN_REST, STEADY, Act, Fault
from rows_world import GOOD, SET, clock, wire
from scene import Scene, Setup
from trajectory_msgs.msg import JointTrajectory

from vla_ros.nodes.common import topics

FLOW = Setup(trajectory=True)
STOP, ESTOP = asks(topics.STOP), asks(topics.ESTOP)
DEAD = kill("supervisor_node")
AWHILE = pause(0.05)
"""Until what was asked for is under way."""
LONG_CUT = both(pause(3.0), GOOD)
"""The wire is good again only when the arm must have come to rest by what it knows."""


def intrude(scene: Scene) -> None:
    """Somebody else advertises the controller's topic."""
    scene.witness.rogue = scene.witness.node.create_publisher(JointTrajectory, topics.ROBOT_TRAJECTORY, 10)


def withdraw(scene: Scene) -> None:
    scene.witness.node.destroy_publisher(scene.witness.rogue)


def flow(name: str, begin: Act, *how: Any, like: Setup = FLOW, **more: Any) -> Fault:
    """A row of an arm with a trajectory controller; the rest as `Fault` has it."""
    return Fault(f"trajectories: {name}", begin, *how, setup=dataclasses.replace(like, trajectory=True), **more)


FAULTS = (
    flow("supervisor killed", DEAD, "silent", 0.1),
    flow("supervisor killed while stopping", both(STOP, AWHILE, DEAD), "silent", 0.4),
    flow("supervisor killed while braking", both(ESTOP, AWHILE, DEAD), "silent", 0.4),
    flow("supervisor asked to end", kill("supervisor_node", signal.SIGTERM), "stopped", 0.2, "asked to end"),
    flow("supervisor stalled for 0.5 s", stall("supervisor_node", 0.5), "stopped", 0.8, "stood still"),
    flow("planner killed", kill("planner_node"), **OWN_REST),
    flow("planner and supervisor killed", both(kill("planner_node"), DEAD), "silent", 0.1),
    flow("policy silent", chunks(lambda _c: None), **OWN_REST, end=good_chunks),
    flow("simulator killed", kill("sim_node"), "stopped", 0.5, "no joint state"),
    flow("joint states lost", NO_JOINTS, "stopped", 0.5, "no joint state", good_joints),
    flow("joint states: all frozen", frozen(True, True), "stopped", 1.0, "stamped", good_joints),
    flow("stop asked for", STOP, "stopped", 0.5),
    flow("emergency stop asked for", ESTOP, "estopped", 0.5),
    flow("emergency stop while stopping", both(STOP, ESTOP), "estopped", 0.7),
    flow("button pressed", press, "estopped", 0.3, "pressed", release, like=BUTTON),
    flow("deadman let go", let_go, "stopped", 0.3, "nobody holds", like=Setup(deadman=True)),
    flow("a second publisher on the controller's topic", intrude, "stopped", 1.5, "2 publishers", withdraw),
    flow(
        "supervisor's system clock set 1 h back",
        clock(-3600.0, "supervisor_node"),
        "stopped",
        0.5,
        SET,
        like=Setup(shifty=("supervisor_node",)),
    ),
    flow("network: cut", wire(loss=1.0), "stopped", 0.5, "no joint state", LONG_CUT, like=Setup(apart=True)),
    flow("network: a tenth lost", wire(loss=0.1), **STEADY, end=GOOD, like=Setup(apart=True)),
)
