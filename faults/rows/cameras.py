"""Camera and policy faults, while the learned policy moves the arm by its camera images."""

from __future__ import annotations

from typing import Any

from faults.fault import NO_EFFECT, PLAN_ENDS, Fault, Injection
from faults.injections import all_of, joint_states
from faults.injections import cameras as inject
from faults.injections.operator import ESTOP, request_until_granted
from faults.injections.processes import kill, stall
from faults.scene import Setup
from vla_ros.nodes.common import topics

UNMONITORED = Setup(learned_policy=True)
MONITORED = Setup(learned_policy=True, monitored_cameras=True)
STOP_S = 0.6
"""A lost camera is detected after 0.3 s; the arm then stops [s]."""


def monitored(name: str, injection: Injection, *expected: Any, **options: Any) -> Fault:
    """A row of cameras that the supervisor monitors."""
    return Fault(f"cameras: {name}", injection, *expected, remove=inject.restore, setup=MONITORED, **options)


def unmonitored(name: str, injection: Injection, **options: Any) -> Fault:
    """A row of cameras that the supervisor does not monitor."""
    return Fault(f"unmonitored cameras: {name}", injection, remove=inject.restore, setup=UNMONITORED, **options)


WRIST_LOST = inject.modify(lambda _message: None, "wrist")

FAULTS = (
    monitored("images lost", inject.LOST, "stopped", STOP_S, "camera front is silent"),
    monitored("one of two lost", WRIST_LOST, "stopped", STOP_S, "camera wrist is silent"),
    monitored("frozen, with their stamps", inject.repeated(old_stamps=True), "stopped", STOP_S, "are stamped"),
    monitored("0.6 s late", inject.delayed(0.6), "stopped", STOP_S, "camera"),
    monitored("frozen, with current stamps", inject.repeated(old_stamps=False), **NO_EFFECT),
    monitored("black", inject.modify(inject.black), **NO_EFFECT),
    monitored("another size", inject.modify(inject.cropped), **NO_EFFECT),
    monitored("data truncated", inject.modify(inject.truncated), "stopped", STOP_S, "is silent"),
    monitored("grey", inject.modify(inject.grey), **PLAN_ENDS),
    unmonitored("images lost", inject.LOST, **PLAN_ENDS),
    unmonitored("one of two lost", WRIST_LOST, **PLAN_ENDS),
    unmonitored("frozen, with their stamps", inject.repeated(old_stamps=True), **PLAN_ENDS),
    unmonitored("0.6 s late", inject.delayed(0.6), **PLAN_ENDS),
    unmonitored("data truncated", inject.modify(inject.truncated), **PLAN_ENDS),
    Fault("camera monitor killed", kill("camera_monitor_node"), "stopped", STOP_S, "is silent", setup=MONITORED),
    Fault(
        "camera monitor stalled for 1 s",
        stall("camera_monitor_node", 1.0),
        "stopped",
        STOP_S,
        "is silent",
        setup=MONITORED,
    ),
    Fault(
        "camera monitor killed and an emergency stop requested",
        all_of(kill("camera_monitor_node"), ESTOP),
        "estopped",
        0.5,
        "emergency stop requested",
        setup=MONITORED,
    ),
    Fault("policy killed", kill("policy_node"), **PLAN_ENDS, setup=MONITORED),
    Fault("policy stalled for 1 s", stall("policy_node", 1.0), **NO_EFFECT, setup=MONITORED),
    Fault(
        "cameras lost while stopped, then restored",
        inject.LOST,
        "stopped",
        reason="is silent",
        remove=inject.restore,
        setup=MONITORED,
        prepare=request_until_granted(topics.STOP),
        initial_state="stopped",
        observe_s=1.5,
    ),
    Fault(
        "cameras black and joint states lost",
        all_of(inject.modify(inject.black), joint_states.LOST),
        "stopped",
        0.5,
        "no joint state",
        setup=MONITORED,
    ),
)
