"""State machine of the supervisor: modes, events and the transition table."""

from __future__ import annotations

from enum import Enum


class Mode(Enum):
    """Mode of the supervisor."""

    INACTIVE = "inactive"
    """An input is missing or outdated; nothing is commanded."""
    READY = "ready"
    """All inputs are valid; nothing is commanded until armed."""
    RUNNING = "running"
    """Plans are accepted and executed; without a plan the arm is held at rest."""
    STOPPING = "stopping"
    """Slowing to rest; no plan is accepted."""
    STOPPED = "stopped"
    """At rest and held there (stop category 2); waits to be armed again."""
    ESTOPPED = "estopped"
    """Latched: braked to rest, then no longer commanded (stop category 1); waits for a reset."""


class Event(Enum):
    """Event that may change the mode."""

    INPUTS_OK = "inputs are valid"
    INPUT_FAULT = "an input is missing or invalid"
    ARM = "arm"
    STOP = "stop"
    AT_REST = "at rest"
    ESTOP = "emergency stop"
    RESET = "reset"


TRANSITIONS: dict[tuple[Mode, Event], Mode] = {
    (Mode.INACTIVE, Event.INPUTS_OK): Mode.READY,
    (Mode.READY, Event.INPUT_FAULT): Mode.INACTIVE,
    (Mode.READY, Event.ARM): Mode.RUNNING,
    (Mode.RUNNING, Event.STOP): Mode.STOPPING,
    (Mode.RUNNING, Event.INPUT_FAULT): Mode.STOPPING,
    (Mode.STOPPING, Event.AT_REST): Mode.STOPPED,
    (Mode.STOPPED, Event.ARM): Mode.RUNNING,
    (Mode.STOPPED, Event.RESET): Mode.INACTIVE,
    (Mode.ESTOPPED, Event.RESET): Mode.INACTIVE,
    **{(mode, Event.ESTOP): Mode.ESTOPPED for mode in Mode},
}


def next_state(mode: Mode, event: Event) -> Mode:
    """The mode after `event`; unchanged if the table has no entry for the pair."""
    return TRANSITIONS.get((mode, event), mode)
