"""Table of all faults of the supervisor: what each fault does and how operation resumes after it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Action(IntEnum):
    """Reaction to a fault; the most severe action of all present faults is taken."""

    WARN = 0
    """The fault is reported in the state and has no other effect."""
    STOP = 1
    """A commanded arm slows to rest along its path and is held (stop category 2); arming is refused."""
    ESTOP = 2
    """A commanded arm brakes and is then no longer commanded (stop category 1); latched until a reset."""


class Recovery(Enum):
    """What is required to resume operation after a fault."""

    AUTOMATIC = "none, clears automatically"
    ARM = "arm, once the fault has cleared"
    RESET = "reset once the fault has cleared, then arm"
    RESTART = "restart the supervisor"


@dataclass(frozen=True)
class Rule:
    """The action of a fault, the recovery from it, and its description."""

    action: Action
    recovery: Recovery
    description: str


RULES: dict[str, Rule] = {
    "invalid_command": Rule(
        Action.ESTOP, Recovery.RESET, "the next command violates a limit or is not finite; it is not sent"
    ),
    "estop_input": Rule(Action.ESTOP, Recovery.RESET, "the emergency stop button is pressed"),
    "estop_timeout": Rule(Action.ESTOP, Recovery.RESET, "messages of the emergency stop button have stopped arriving"),
    "overspeed": Rule(Action.ESTOP, Recovery.RESET, "the measured speed of a joint is far above its limit"),
    "motion_after_stop": Rule(Action.ESTOP, Recovery.RESET, "the arm still moves after a stop has ended"),
    "clock_jump": Rule(Action.STOP, Recovery.RESTART, "the system clock was set while the supervisor was running"),
    "estop_missing": Rule(
        Action.STOP, Recovery.ARM, "an emergency stop button is required and no message of it has arrived yet"
    ),
    "joint_state_timeout": Rule(Action.STOP, Recovery.ARM, "no joint state arrives"),
    "joint_stamp": Rule(Action.STOP, Recovery.ARM, "stamps of the joint states are too old or in the future"),
    "camera_timeout": Rule(Action.STOP, Recovery.ARM, "no image of a monitored camera arrives"),
    "camera_stamp": Rule(Action.STOP, Recovery.ARM, "image stamps of a monitored camera are too old or in the future"),
    "deadman": Rule(Action.STOP, Recovery.ARM, "a deadman switch is required and is released or silent"),
    "second_publisher": Rule(Action.STOP, Recovery.ARM, "another node publishes on the robot's command topic"),
    "tracking_error": Rule(Action.STOP, Recovery.ARM, "the tracking error exceeds the stop threshold"),
    "loop_stall": Rule(Action.STOP, Recovery.ARM, "the command loop stalled while the arm was moving"),
    "tracking_error_high": Rule(Action.WARN, Recovery.AUTOMATIC, "the tracking error exceeds the warning threshold"),
    "no_plan": Rule(Action.WARN, Recovery.AUTOMATIC, "no plan was accepted for some time"),
}


@dataclass(frozen=True)
class Fault:
    """A fault that is present.

    Attributes:
        name: A key of `RULES`.
        detail: What was measured, as a clause without a full stop.
    """

    name: str
    detail: str

    @property
    def rule(self) -> Rule:
        """The rule of this fault."""
        return RULES[self.name]


def by_severity(faults: list[Fault]) -> list[Fault]:
    """The faults sorted by decreasing severity; faults of equal severity keep their order."""
    return sorted(faults, key=lambda fault: -fault.rule.action)
