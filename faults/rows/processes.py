"""Planner, simulator and supervisor killed or stalled, and a second publisher of commands."""

from __future__ import annotations

import signal

from faults.fault import NO_EFFECT, PLAN_ENDS, Fault
from faults.injections.environment import add_command_publisher, remove_publisher
from faults.injections.processes import kill, stall

FAULTS = (
    Fault("planner killed", kill("planner_node"), **PLAN_ENDS),
    Fault("planner stalled for 1 s", stall("planner_node", 1.0), **NO_EFFECT),
    Fault("simulator killed", kill("sim_node"), "stopped", 0.5, "no joint state"),
    Fault("simulator stalled for 1 s", stall("sim_node", 1.0), "stopped", 0.5, "no joint state"),
    Fault("supervisor stalled for 0.5 s", stall("supervisor_node", 0.5), "stopped", 0.8, "loop stalled"),
    Fault("supervisor killed", kill("supervisor_node"), "silent", 0.1),
    Fault("supervisor terminated", kill("supervisor_node", signal.SIGTERM), "stopped", 0.2, "shutting down"),
    Fault(
        "second publisher on the robot's topic",
        add_command_publisher,
        "stopped",
        1.5,
        "2 publishers",
        remove_publisher,
    ),
)
