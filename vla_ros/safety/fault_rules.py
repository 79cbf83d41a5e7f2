"""Every fault the supervisor knows, each with one rule: what it does, and how it is got rid of. A table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Action(IntEnum):
    """What a fault does; the greatest of those present wins."""

    WARN = 0
    """It is said in the state, and nothing else."""
    STOP = 1
    """A commanded arm slows to rest along its path and is held (category 2); one not yet armed cannot be."""
    ESTOP = 2
    """A commanded arm brakes and is no longer commanded (category 1); latched."""


class Clears(Enum):
    """What it takes to go on."""

    ITSELF = "by itself"
    ARM = "arming, once it is over"
    RESET = "reset once it is over, then arming"
    NEVER = "starting the supervisor anew"


@dataclass(frozen=True)
class Rule:
    """What becomes of a fault."""

    action: Action
    clears: Clears
    meaning: str


RULES: dict[str, Rule] = {
    "command": Rule(Action.ESTOP, Clears.RESET, "a command of our own is outside what may be sent; it is not sent"),
    "estop_input": Rule(Action.ESTOP, Clears.RESET, "the button is pressed"),
    "estop_heartbeat": Rule(Action.ESTOP, Clears.RESET, "the button was heard and is silent"),
    "overspeed": Rule(Action.ESTOP, Clears.RESET, "the arm is measured to move faster than it may"),
    "not_resting": Rule(Action.ESTOP, Clears.RESET, "a stop has ended and the arm still moves"),
    "clock": Rule(Action.STOP, Clears.NEVER, "the system clock was set while we ran"),
    "estop_missing": Rule(Action.STOP, Clears.ARM, "the button is expected and was never heard"),
    "joint_state": Rule(Action.STOP, Clears.ARM, "no joint state arrives"),
    "joint_stamp": Rule(Action.STOP, Clears.ARM, "joint states are stamped too old or in the future"),
    "camera": Rule(Action.STOP, Clears.ARM, "no picture of a camera that is watched arrives"),
    "camera_stamp": Rule(Action.STOP, Clears.ARM, "pictures of a camera that is watched are stamped too old or ahead"),
    "deadman": Rule(Action.STOP, Clears.ARM, "the deadman is expected, and released or silent"),
    "second_publisher": Rule(Action.STOP, Clears.ARM, "somebody else speaks to the robot"),
    "tracking": Rule(Action.STOP, Clears.ARM, "the arm is not where it was commanded"),
    "loop": Rule(Action.STOP, Clears.ARM, "our own loop stood still in mid-motion"),
    "tracking_high": Rule(Action.WARN, Clears.ITSELF, "the arm is far from where it was commanded"),
    "no_plan": Rule(Action.WARN, Clears.ITSELF, "no plan was permitted for a while"),
}


@dataclass(frozen=True)
class Fault:
    """A fault that is present.

    Attributes:
        name: A key of `RULES`.
        detail: What was seen, as half a sentence.
    """

    name: str
    detail: str

    @property
    def rule(self) -> Rule:
        """What becomes of it."""
        return RULES[self.name]


def worst_first(faults: list[Fault]) -> list[Fault]:
    """The same faults, the most severe first; of equally severe ones the order is kept."""
    return sorted(faults, key=lambda fault: -fault.rule.action)
