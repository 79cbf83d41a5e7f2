"""The faults, one row each: how it is injected, how it ends, what must come of it and how soon."""

from __future__ import annotations

import dataclasses
import signal
from dataclasses import dataclass

import numpy as np
from acts import (
    Act,
    S,
    asks,
    both,
    chunks,
    delayed,
    every_second,
    forged,
    frozen,
    good_chunks,
    good_joints,
    joints,
    kill,
    lacking,
    late_by,
    positions,
    press,
    quiet_button,
    racing,
    raw_chunks,
    release,
    reversed_,
    set_nan,
    shifted,
    stall,
    swapped_names,
    swapped_pairs,
    thousand_hertz,
    twice,
)
from scene import JOINTS

from vla_ros.nodes import topics

HEARTBEAT = ("-p", "estop_heartbeat_s:=0.5")


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        name: What goes wrong.
        begin: Injects it into a moving arm.
        final: The state it must lead to, "running" where it must do nothing, "silent" where commands end.
        within_s: Greatest time until running ends, or commands do; not asked where it must go on [s].
        reason: What the supervisor's reason or one of its counters must say.
        end: Ends the fault; after it nothing may recover that must not.
        rests: Whether the arm must come to rest while the fault lasts.
        params: Of the supervisor.
    """

    name: str
    begin: Act
    final: str
    within_s: float = 0.0
    reason: str = ""
    end: Act = lambda _scene: None
    rests: bool = True
    params: tuple[str, ...] = ()


STEADY = {"final": "running", "rests": False}
"""Nothing may come of it."""
OWN_REST = {"final": "running", "rests": True}
"""No good chunk comes any more: the plan in force ends at rest."""

FAULTS = (
    Fault("planner killed", kill("planner_node"), **OWN_REST),
    Fault("planner stalled for 1 s", stall("planner_node", 1.0), final="running", rests=False),
    Fault("simulator killed", kill("sim_node"), "stopped", 0.5, "no joint state"),
    Fault("simulator stalled for 1 s", stall("sim_node", 1.0), "stopped", 0.5, "no joint state"),
    Fault("supervisor stalled for 0.5 s", stall("supervisor_node", 0.5), "stopped", 0.8),
    Fault("supervisor killed", kill("supervisor_node"), "silent", 0.1),
    Fault("supervisor asked to end", kill("supervisor_node", signal.SIGTERM), "stopped", 0.2, "asked to end"),
    Fault("joint states lost", joints(lambda _m: None), "stopped", 0.5, "no joint state", good_joints),
    Fault("joint states: values frozen", frozen(True, False), "stopped", 3.0, "from its command", good_joints),
    Fault("joint states: stamps frozen", frozen(False, True), "stopped", 1.0, "stamped", good_joints),
    Fault("joint states: all frozen", frozen(True, True), "stopped", 1.0, "stamped", good_joints),
    Fault("joint states: a joint missing", joints(lacking), "stopped", 0.5, "no joint state", good_joints),
    Fault("joint states: another order", joints(reversed_), **STEADY, end=good_joints),
    Fault("joint states: names moved on", joints(swapped_names), "stopped", 0.5, "", good_joints),
    Fault(
        "joint states: NaN",
        positions(lambda p: np.where(np.arange(6) == 3, np.nan, p)),
        "stopped",
        0.5,
        "no joint state",
        good_joints,
    ),
    Fault("joint states: every second leaps by 0.5 rad", every_second(0.5), **STEADY, end=good_joints),
    Fault("joint states: off by 0.8 rad", positions(lambda p: p + 0.8), "stopped", 0.5, "", good_joints),
    Fault("joint states: degrees", positions(np.degrees), "stopped", 0.5, "no joint state", good_joints),
    Fault("joint states: 0.7 s late", delayed(70), "stopped", 0.5, "no joint state", good_joints),
    Fault("joint states: velocity of 50 rad/s", joints(racing), "estopped", 0.3, "moves at", good_joints),
    Fault("driver's clock 1 s behind", shifted(-1.0), "stopped", 0.3, "stamped", good_joints),
    Fault("driver's clock 1 s ahead", shifted(1.0), "stopped", 0.3, "stamped", good_joints),
    Fault("driver's clock 1 h behind", shifted(-3600.0), "stopped", 0.3, "stamped", good_joints),
    Fault("driver's clock 1 h ahead", shifted(3600.0), "stopped", 0.3, "stamped", good_joints),
    Fault("policy silent", chunks(lambda _c: None), **OWN_REST, end=good_chunks),
    Fault("chunks: NaN", raw_chunks(set_nan), **OWN_REST, end=good_chunks),
    Fault("chunks: empty", raw_chunks(lambda m: m.points.clear()), **OWN_REST, end=good_chunks),
    Fault(
        "chunks: 1e9 rad",
        chunks(lambda c: dataclasses.replace(c, positions=c.positions + 1e9)),
        **OWN_REST,
        end=good_chunks,
    ),
    Fault(
        "chunks: of another robot",
        chunks(lambda c: dataclasses.replace(c, joints=(*JOINTS[:-1], "jaw"))),
        **OWN_REST,
        end=good_chunks,
    ),
    Fault(
        "chunks: stamped 10 s ago",
        chunks(lambda c: dataclasses.replace(c, stamp_ns=c.stamp_ns - 10 * S)),
        **OWN_REST,
        end=good_chunks,
    ),
    Fault(
        "chunks: stamped in 10 s",
        chunks(lambda c: dataclasses.replace(c, stamp_ns=c.stamp_ns + 10 * S)),
        **OWN_REST,
        end=good_chunks,
    ),
    Fault("chunks: in pairs, swapped", swapped_pairs, **STEADY, end=good_chunks),
    Fault("chunks: each twice", twice, **STEADY, end=good_chunks),
    Fault("chunks: 1000 a second", thousand_hertz, **STEADY, end=good_chunks),
    Fault("policy 0.5 s slow", late_by(0.5), **STEADY, end=good_chunks),
    Fault("policy 1.5 s slow", late_by(1.5), **STEADY, end=good_chunks),
    Fault("policy 3 s slow", late_by(3.0), **OWN_REST, end=good_chunks),
    Fault("plans forged by a second planner", forged(0.5), **STEADY, end=good_chunks),
    Fault(
        "a second publisher on the robot's topic",
        lambda s: s.witness.disturb(topics.ROBOT_COMMAND),
        "stopped",
        1.5,
        "2 publishers",
        lambda s: s.witness.node.destroy_publisher(s.witness.rogue),
    ),
    Fault("stop asked for", asks(topics.STOP), "stopped", 0.5),
    Fault("emergency stop asked for", asks(topics.ESTOP), "estopped", 0.5),
    Fault("emergency stop while stopping", both(asks(topics.STOP), asks(topics.ESTOP)), "estopped", 0.7),
    Fault("button pressed", press, "estopped", 0.3, "pressed", release, params=HEARTBEAT),
    Fault("button silent", quiet_button, "estopped", 1.0, "silent", release, params=HEARTBEAT),
    Fault(
        "joint states lost, then the button pressed",
        both(joints(lambda _m: None), press),
        "estopped",
        0.3,
        "pressed",
        both(good_joints, release),
        params=HEARTBEAT,
    ),
    Fault(
        "planner killed and joint states lost",
        both(kill("planner_node"), joints(lambda _m: None)),
        "stopped",
        0.5,
        "no joint state",
        good_joints,
    ),
)
