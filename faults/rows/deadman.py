"""The deadman switch, where one is required: released or silent in every state, and held again."""

from __future__ import annotations

from faults.fault import Fault
from faults.injections import all_of, for_a_time, joint_states, wait
from faults.injections.operator import (
    ARM,
    ESTOP,
    STOP,
    hold_deadman,
    reach_inactive,
    release_deadman,
    request_until_granted,
    silence_deadman,
)
from faults.injections.processes import kill
from faults.scene import Setup
from vla_ros.nodes.common import topics

DEADMAN = Setup(deadman=True)
RELEASED, SILENT = "the deadman switch is not held", "the deadman switch is silent"
RELEASE_AND_ARM = all_of(release_deadman, wait(0.1), ARM)

FAULTS = (
    Fault("deadman released", release_deadman, "stopped", 0.3, RELEASED, hold_deadman, setup=DEADMAN),
    Fault("deadman silent", silence_deadman, "stopped", 0.8, SILENT, hold_deadman, setup=DEADMAN),
    Fault(
        "deadman released for 0.05 s",
        for_a_time(release_deadman, hold_deadman, 0.05),
        "stopped",
        0.3,
        RELEASED,
        setup=DEADMAN,
    ),
    Fault(
        "deadman silent for 0.3 s",
        for_a_time(silence_deadman, hold_deadman, 0.3),
        "running",
        must_rest=False,
        setup=DEADMAN,
    ),
    Fault(
        "deadman released while ready, then armed",
        RELEASE_AND_ARM,
        "inactive",
        0.3,
        RELEASED,
        hold_deadman,
        setup=DEADMAN,
        prepare=request_until_granted(topics.ESTOP, topics.RESET),
        initial_state="ready",
    ),
    Fault(
        "deadman released while inactive, then armed",
        RELEASE_AND_ARM,
        "inactive",
        remove=all_of(joint_states.restore, hold_deadman),
        setup=DEADMAN,
        prepare=reach_inactive,
        initial_state="inactive",
        observe_s=1.0,
    ),
    Fault(
        "deadman released while stopped, then armed",
        RELEASE_AND_ARM,
        "stopped",
        reason=RELEASED,
        remove=hold_deadman,
        setup=DEADMAN,
        prepare=request_until_granted(topics.STOP),
        initial_state="stopped",
        observe_s=1.0,
    ),
    Fault(
        "deadman released while estopped, then armed",
        RELEASE_AND_ARM,
        "estopped",
        reason=RELEASED,
        remove=hold_deadman,
        setup=DEADMAN,
        prepare=request_until_granted(topics.ESTOP),
        initial_state="estopped",
        observe_s=1.0,
    ),
    Fault(
        "deadman released while stopping",
        all_of(STOP, release_deadman),
        "stopped",
        0.5,
        "stop requested",
        hold_deadman,
        setup=DEADMAN,
    ),
    Fault(
        "deadman released, then an emergency stop requested",
        all_of(release_deadman, ESTOP),
        "estopped",
        0.5,
        "emergency stop requested",
        hold_deadman,
        setup=DEADMAN,
    ),
    Fault(
        "deadman released and joint states lost",
        all_of(release_deadman, joint_states.LOST),
        "stopped",
        0.3,
        RELEASED,
        all_of(hold_deadman, joint_states.restore),
        setup=DEADMAN,
    ),
    Fault(
        "deadman released and planner killed",
        all_of(release_deadman, kill("planner_node")),
        "stopped",
        0.3,
        RELEASED,
        hold_deadman,
        setup=DEADMAN,
    ),
)
