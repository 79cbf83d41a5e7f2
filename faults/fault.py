"""What a row of the fault suite is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scene import Scene, Setup

Act = Callable[[Scene], object]
STARTING_S, SEEING_S, WATCHED_S = 4.5, 2.0, 2.5
"""To start every process, arm and swing; longer where a policy sees; how long the arm is watched afterwards [s]."""


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        name: What goes wrong.
        begin: Injects it.
        final: The state it must lead to; the one it is injected in where it must do nothing; "silent" where
            commands end.
        within_s: Greatest time until that state, or until commands end [s]; not asked where nothing must come of it.
        reason: What the supervisor's reason or one of its counters must say.
        end: Ends the fault; after it nothing may recover that must not.
        rests: Whether the arm must come to rest while the fault lasts.
        setup: How the scene differs from a moving arm among healthy processes.
        lead: Brings the moving arm into the state `at` first.
        at: The state in which the fault is injected.
        look_s: How long a fault that must do nothing, or is left to the plan's own rest, lasts [s].
    """

    name: str
    begin: Act
    final: str
    within_s: float = 0.0
    reason: str = ""
    end: Act = lambda _scene: None
    rests: bool = True
    setup: Setup = Setup()  # noqa: RUF009 - frozen
    lead: Act = lambda _scene: None
    at: str = "running"
    look_s: float = 3.5

    @property
    def expected_s(self) -> float:
        """How long the row takes on a quiet machine, all told [s]."""
        eyes = SEEING_S if self.setup.sight else 0.0
        return STARTING_S + eyes + (self.look_s if self.final == self.at else self.within_s) + WATCHED_S


STEADY: dict[str, Any] = {"final": "running", "rests": False}
"""Nothing may come of it."""
OWN_REST: dict[str, Any] = {"final": "running", "rests": True}
"""No good chunk comes any more: the plan in force ends at rest."""
BUTTON = Setup(supervisor=("-p", "estop_heartbeat_s:=0.5"))
