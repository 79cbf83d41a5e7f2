"""The supervisor's states and what may follow what: a table, and nothing else."""

from __future__ import annotations

from enum import Enum


class Mode(Enum):
    """What the supervisor is doing."""

    INACTIVE = "inactive"
    """An input is missing or stale; nothing is commanded."""
    READY = "ready"
    """Every input is fresh; nothing is commanded until armed."""
    RUNNING = "running"
    """Plans are permitted and followed; without one the arm is held where it is."""
    STOPPING = "stopping"
    """On the way to rest; no plan is permitted."""
    STOPPED = "stopped"
    """At rest and held there (category 2); waits to be armed again."""
    ESTOPPED = "estopped"
    """Latched: braked to rest, then no longer commanded (category 1); waits to be reset."""


class Event(Enum):
    """What can happen to it."""

    FRESH = "inputs are fresh"
    LOST = "an input is lost"
    ARM = "arm"
    STOP = "stop"
    REST = "at rest"
    ESTOP = "emergency stop"
    RESET = "reset"


TRANSITIONS: dict[tuple[Mode, Event], Mode] = {
    (Mode.INACTIVE, Event.FRESH): Mode.READY,
    (Mode.READY, Event.LOST): Mode.INACTIVE,
    (Mode.READY, Event.ARM): Mode.RUNNING,
    (Mode.RUNNING, Event.STOP): Mode.STOPPING,
    (Mode.RUNNING, Event.LOST): Mode.STOPPING,
    (Mode.STOPPING, Event.REST): Mode.STOPPED,
    (Mode.STOPPED, Event.ARM): Mode.RUNNING,
    (Mode.STOPPED, Event.RESET): Mode.INACTIVE,
    (Mode.ESTOPPED, Event.RESET): Mode.INACTIVE,
    **{(mode, Event.ESTOP): Mode.ESTOPPED for mode in Mode},
}


def follow(mode: Mode, event: Event) -> Mode:
    """The mode after `event`; the same one where the table says nothing."""
    return TRANSITIONS.get((mode, event), mode)
