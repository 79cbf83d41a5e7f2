"""One row of the fault-injection suite: what is injected, and what must follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from faults.scene import Scene, Setup

Injection = Callable[[Scene], object]
START_S, POLICY_START_S, RECOVERY_S = 4.5, 2.0, 2.5
"""Time to start every process, arm and move; in addition where a learned policy is loaded; how long the arm is
observed after the fault is removed [s]."""


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        name: What fails; the key of the row in docs/faults.md.
        inject: Injects the fault.
        final_state: State that the supervisor must reach; equal to `initial_state` where the fault must have no
            effect; "silent" where the commands must end.
        within_s: Maximum time until that state, or until the commands end [s]; not checked where it is the initial one.
        reason: Text that the supervisor's reason or one of its counters must contain.
        remove: Removes the fault; afterwards a stopped arm must not start again by itself.
        must_rest: Whether the arm must come to rest while the fault lasts.
        setup: How the scene differs from a moving arm among healthy processes.
        prepare: Brings the moving arm into `initial_state`.
        initial_state: State in which the fault is injected.
        observe_s: How long a fault lasts that must have no effect, or after which the active plan ends at rest [s].
    """

    name: str
    inject: Injection
    final_state: str
    within_s: float = 0.0
    reason: str = ""
    remove: Injection = lambda _scene: None
    must_rest: bool = True
    setup: Setup = Setup()  # noqa: RUF009 - frozen
    prepare: Injection = lambda _scene: None
    initial_state: str = "running"
    observe_s: float = 3.5

    @property
    def expected_s(self) -> float:
        """Duration of the row on a machine without other load [s]."""
        policy = POLICY_START_S if self.setup.learned_policy else 0.0
        fault = self.observe_s if self.final_state == self.initial_state else self.within_s
        return START_S + policy + fault + RECOVERY_S


NO_EFFECT: dict[str, Any] = {"final_state": "running", "must_rest": False}
"""The arm keeps moving."""
PLAN_ENDS: dict[str, Any] = {"final_state": "running", "must_rest": True}
"""No valid chunk arrives any more: the active plan ends at rest."""
BUTTON = Setup(supervisor=("-p", "estop_timeout_s:=0.5"))
"""The supervisor requires a heartbeat of the emergency-stop button."""
