"""Two faults together, and faults that begin and end while the arm is stopped."""

from __future__ import annotations

import signal

import numpy as np

from faults.fault import BUTTON, Fault
from faults.injections import all_of, chunks, joint_states
from faults.injections.operator import ESTOP, STOP, press_button, request_until_granted, restore_button
from faults.injections.processes import kill, stall
from vla_ros.nodes.common import topics

FROZEN = joint_states.frozen(values=True, stamps=True)

FAULTS = (
    Fault(
        "joint states lost, then the button pressed",
        all_of(joint_states.LOST, press_button),
        "estopped",
        0.3,
        "pressed",
        all_of(joint_states.restore, restore_button),
        setup=BUTTON,
    ),
    Fault(
        "planner killed and joint states lost",
        all_of(kill("planner_node"), joint_states.LOST),
        "stopped",
        0.5,
        "no joint state",
        joint_states.restore,
    ),
    Fault(
        "joint states lost while stopped, then restored",
        joint_states.LOST,
        "stopped",
        remove=joint_states.restore,
        prepare=request_until_granted(topics.STOP),
        initial_state="stopped",
    ),
    Fault(
        "joint states frozen and a stop requested",
        all_of(FROZEN, STOP),
        "stopped",
        0.5,
        "stop requested",
        joint_states.restore,
    ),
    Fault(
        "joint states NaN and chunks NaN",
        all_of(joint_states.positions(lambda p: p * np.nan), chunks.modify_message(chunks.set_nan)),
        "stopped",
        0.5,
        "no joint state",
        all_of(joint_states.restore, chunks.restore),
    ),
    Fault(
        "planner stalled for 1 s and joint states lost",
        all_of(joint_states.LOST, stall("planner_node", 1.0)),
        "stopped",
        1.2,
        "no joint state",
        joint_states.restore,
    ),
    Fault(
        "driver's clock 1 s behind and velocity of 50 rad/s",
        joint_states.modify(lambda m: joint_states.high_velocity(joint_states.shift_stamp(m, -1.0))),
        "estopped",
        0.5,
        "moves at",
        joint_states.restore,
    ),
    Fault(
        "supervisor stalled for 0.5 s and 1000 chunks per second",
        all_of(chunks.thousand_per_second, stall("supervisor_node", 0.5)),
        "stopped",
        0.8,
        remove=chunks.restore,
    ),
    Fault(
        "plans forged and joint states frozen",
        all_of(chunks.forged_plans(0.5), FROZEN),
        "stopped",
        1.0,
        "stamped",
        all_of(chunks.restore, joint_states.restore),
    ),
    Fault(
        "simulator killed and an emergency stop requested",
        all_of(kill("sim_node", signal.SIGKILL), ESTOP),
        "estopped",
        0.5,
        "emergency stop requested",
    ),
)
