"""Checks the clearance of a plan in slices, so that the command loop meets its next deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from vla_ros.core.trajectory import Plan
from vla_ros.safety.clearance import ClearanceChecker, ClearanceResult

T = TypeVar("T")


class IncrementalClearance(Generic[T]):
    """Checks one plan at a time; each plan carries an item of the caller, such as the message it came in."""

    def __init__(self, checker: ClearanceChecker) -> None:
        """Start without a plan."""
        self._checker = checker
        self._pending: tuple[Plan, T, Iterator[ClearanceResult | None]] | None = None

    @property
    def idle(self) -> bool:
        """Whether no plan is being checked."""
        return self._pending is None

    def start(self, plan: Plan, item: T) -> None:
        """Start the check of a plan; it replaces one that is not finished."""
        self._pending = plan, item, self._checker.check_incrementally(plan)

    def resume(self, now_ns: Callable[[], int], until_ns: int) -> tuple[Plan, T, ClearanceResult] | None:
        """Continue the check; no new slice is started at or after `until_ns`.

        Args:
            now_ns: Clock that is read before every slice [ns].
            until_ns: On the same clock [ns].

        Returns:
            The plan, its item and the result; None while the check is not finished.
        """
        while self._pending and now_ns() < until_ns:
            pending, self._pending = self._pending, None  # a check that raises is not continued
            result = next(pending[2])
            if result is not None:
                return pending[0], pending[1], result
            self._pending = pending
        return None
