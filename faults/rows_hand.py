"""Faults of the deadman, where somebody must hold one: let go or silent in every state, and held again."""

from __future__ import annotations

from acts import (
    NO_JOINTS,
    asks,
    both,
    for_a_moment,
    good_joints,
    hold,
    into,
    kill,
    let_go,
    lose_inputs,
    pause,
    quiet_hand,
)
from fault import Fault
from scene import Setup

from vla_ros.nodes.common import topics

HAND = Setup(deadman=True)
NOBODY, SILENT = "nobody holds the deadman", "the deadman is silent"
ARMED_AFTER = both(let_go, pause(0.1), asks(topics.ARM))
STOPPED, BRAKED = into(topics.STOP), into(topics.ESTOP)

FAULTS = (
    Fault("deadman let go", let_go, "stopped", 0.3, NOBODY, hold, setup=HAND),
    Fault("deadman silent", quiet_hand, "stopped", 0.8, SILENT, hold, setup=HAND),
    Fault("deadman let go for 0.05 s", for_a_moment(let_go, hold, 0.05), "stopped", 0.3, NOBODY, setup=HAND),
    Fault("deadman silent for 0.3 s", for_a_moment(quiet_hand, hold, 0.3), "running", rests=False, setup=HAND),
    Fault(
        "deadman let go while ready, and armed",
        ARMED_AFTER,
        "inactive",
        0.3,
        NOBODY,
        hold,
        setup=HAND,
        lead=into(topics.ESTOP, topics.RESET),
        at="ready",
    ),
    Fault(
        "deadman let go while inactive, and armed",
        ARMED_AFTER,
        "inactive",
        end=both(good_joints, hold),
        setup=HAND,
        lead=lose_inputs,
        at="inactive",
        look_s=1.0,
    ),
    Fault(
        "deadman let go while stopped, and armed",
        ARMED_AFTER,
        "stopped",
        reason=NOBODY,
        end=hold,
        setup=HAND,
        lead=STOPPED,
        at="stopped",
        look_s=1.0,
    ),
    Fault(
        "deadman let go while estopped, and armed",
        ARMED_AFTER,
        "estopped",
        reason=NOBODY,
        end=hold,
        setup=HAND,
        lead=BRAKED,
        at="estopped",
        look_s=1.0,
    ),
    Fault("deadman let go while stopping", both(asks(topics.STOP), let_go), "stopped", 0.5, "asked", hold, setup=HAND),
    Fault(
        "deadman let go, then an emergency stop asked for",
        both(let_go, asks(topics.ESTOP)),
        "estopped",
        0.5,
        "asked for",
        hold,
        setup=HAND,
    ),
    Fault(
        "deadman let go and joint states lost",
        both(let_go, NO_JOINTS),
        "stopped",
        0.3,
        NOBODY,
        both(hold, good_joints),
        setup=HAND,
    ),
    Fault(
        "deadman let go and planner killed",
        both(let_go, kill("planner_node")),
        "stopped",
        0.3,
        NOBODY,
        hold,
        setup=HAND,
    ),
)
