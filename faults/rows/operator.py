"""Stop, emergency stop and arming requested in every state, and the emergency-stop button."""

from __future__ import annotations

from faults.fault import BUTTON, Fault
from faults.injections import all_of
from faults.injections.joint_states import restore
from faults.injections.operator import (
    ARM,
    ESTOP,
    STOP,
    press_button,
    reach_inactive,
    request_until_granted,
    restore_button,
    silence_button,
)
from vla_ros.nodes.common import topics

STOPPED, ESTOPPED = request_until_granted(topics.STOP), request_until_granted(topics.ESTOP)

FAULTS = (
    Fault("stop requested", STOP, "stopped", 0.5),
    Fault("emergency stop requested", ESTOP, "estopped", 0.5),
    Fault("emergency stop while stopping", all_of(STOP, ESTOP), "estopped", 0.7),
    Fault("button pressed", press_button, "estopped", 0.3, "pressed", restore_button, setup=BUTTON),
    Fault("button silent", silence_button, "estopped", 1.0, "silent", restore_button, setup=BUTTON),
    Fault(
        "button pressed while stopped",
        press_button,
        "estopped",
        0.3,
        "pressed",
        restore_button,
        setup=BUTTON,
        prepare=STOPPED,
        initial_state="stopped",
    ),
    Fault(
        "emergency stop while inactive",
        ESTOP,
        "estopped",
        0.3,
        "emergency stop requested",
        restore,
        prepare=reach_inactive,
        initial_state="inactive",
    ),
    Fault(
        "emergency stop while ready",
        ESTOP,
        "estopped",
        0.3,
        "emergency stop requested",
        prepare=request_until_granted(topics.ESTOP, topics.RESET),
        initial_state="ready",
    ),
    Fault(
        "emergency stop while stopped",
        ESTOP,
        "estopped",
        0.3,
        "emergency stop requested",
        prepare=STOPPED,
        initial_state="stopped",
    ),
    Fault(
        "emergency stop while estopped",
        ESTOP,
        "estopped",
        prepare=ESTOPPED,
        initial_state="estopped",
        observe_s=1.0,
    ),
    Fault("stop requested while estopped", STOP, "estopped", prepare=ESTOPPED, initial_state="estopped"),
    Fault("arming requested while estopped", ARM, "estopped", prepare=ESTOPPED, initial_state="estopped"),
)
