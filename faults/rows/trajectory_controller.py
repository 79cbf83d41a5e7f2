"""Faults of an arm behind a trajectory controller, which executes its last trajectory whatever fails.

The targets that the controller gives its servos are checked against the limits, too.
"""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

from faults.fault import BUTTON, NO_EFFECT, PLAN_ENDS, Fault, Injection
from faults.injections import all_of, chunks, joint_states, wait
from faults.injections.environment import add_trajectory_publisher, network, remove_publisher, set_clock
from faults.injections.operator import ESTOP, STOP, press_button, release_deadman, restore_button
from faults.injections.processes import kill, stall
from faults.rows.environment import CLOCK_SET, GOOD_NETWORK
from faults.scene import Setup

CONTROLLER, NETWORK = Setup(trajectory_controller=True), Setup(separate_networks=True)
SUPERVISOR_KILLED = kill("supervisor_node")
UNDER_WAY = wait(0.05)
"""Until the requested stop has begun."""
LATE_NETWORK = all_of(wait(3.0), GOOD_NETWORK)
"""Restores the network only after the arm must have come to rest on its last trajectory."""


def controller(name: str, inject: Injection, *expected: Any, base: Setup = CONTROLLER, **options: Any) -> Fault:
    """A row of an arm with a trajectory controller, in a scene that is otherwise `base`."""
    setup = dataclasses.replace(base, trajectory_controller=True)
    return Fault(f"trajectory controller: {name}", inject, *expected, setup=setup, **options)


FAULTS = (
    controller("supervisor killed", SUPERVISOR_KILLED, "silent", 0.1),
    controller("supervisor killed while stopping", all_of(STOP, UNDER_WAY, SUPERVISOR_KILLED), "silent", 0.4),
    controller("supervisor killed while braking", all_of(ESTOP, UNDER_WAY, SUPERVISOR_KILLED), "silent", 0.4),
    controller("supervisor terminated", kill("supervisor_node", signal.SIGTERM), "stopped", 0.2, "shutting down"),
    controller("supervisor stalled for 0.5 s", stall("supervisor_node", 0.5), "stopped", 0.8, "loop stalled"),
    controller("planner killed", kill("planner_node"), **PLAN_ENDS),
    controller("planner and supervisor killed", all_of(kill("planner_node"), SUPERVISOR_KILLED), "silent", 0.1),
    controller("policy silent", chunks.LOST, **PLAN_ENDS, remove=chunks.restore),
    controller("simulator killed", kill("sim_node"), "stopped", 0.5, "no joint state"),
    controller("joint states lost", joint_states.LOST, "stopped", 0.5, "no joint state", joint_states.restore),
    controller(
        "joint states: all frozen",
        joint_states.frozen(values=True, stamps=True),
        "stopped",
        1.0,
        "stamped",
        joint_states.restore,
    ),
    controller("stop requested", STOP, "stopped", 0.5),
    controller("emergency stop requested", ESTOP, "estopped", 0.5),
    controller("emergency stop while stopping", all_of(STOP, ESTOP), "estopped", 0.7),
    controller("button pressed", press_button, "estopped", 0.3, "pressed", restore_button, base=BUTTON),
    controller("deadman released", release_deadman, "stopped", 0.3, "is not held", base=Setup(deadman=True)),
    controller(
        "second publisher on the controller's topic",
        add_trajectory_publisher,
        "stopped",
        1.5,
        "2 publishers",
        remove_publisher,
    ),
    controller(
        "supervisor's system clock set 1 h back",
        set_clock(-3600.0, "supervisor_node"),
        "stopped",
        0.5,
        CLOCK_SET,
        base=Setup(settable_clocks=("supervisor_node",)),
    ),
    controller("network: cut", network(loss=1.0), "stopped", 0.5, "no joint state", LATE_NETWORK, base=NETWORK),
    controller("network: 10 % lost", network(loss=0.1), **NO_EFFECT, remove=GOOD_NETWORK, base=NETWORK),
)
