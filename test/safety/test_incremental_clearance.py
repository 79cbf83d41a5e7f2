"""A clearance check in slices: it stops at its deadline, continues later, and gives the result of a complete check."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from safety.supervisor_helpers import armed, plan_towards

from vla_ros.core.trajectory import Plan
from vla_ros.safety.clearance import ClearanceChecker, ClearanceResult
from vla_ros.safety.incremental_clearance import IncrementalClearance


class SlowChecker(ClearanceChecker):
    """Needs three slices per plan; every slice takes one tick of `now`."""

    def __init__(self, error: bool = False) -> None:
        super().__init__()
        self.now, self.error, self.result = 0, error, object()

    def check_incrementally(self, plan: Plan) -> Iterator[ClearanceResult | None]:
        for result in (None, None, self.result):
            self.now += 1
            if self.error:
                raise RuntimeError
            yield result  # type: ignore[misc]


@pytest.fixture
def plan() -> Plan:
    supervisor = armed()
    supervisor.tick(1_700_000_000_000_000_000)
    return plan_towards(supervisor, 1_700_000_000_000_000_000)


def test_no_slice_is_started_after_the_deadline(plan: Plan) -> None:
    checker = SlowChecker()
    clearance: IncrementalClearance[str] = IncrementalClearance(checker)
    assert clearance.idle
    assert clearance.resume(lambda: checker.now, 10) is None
    clearance.start(plan, "item")
    assert not clearance.idle
    assert clearance.resume(lambda: checker.now, 0) is None
    assert checker.now == 0
    assert clearance.resume(lambda: checker.now, 2) is None
    assert checker.now == 2
    assert not clearance.idle
    assert clearance.resume(lambda: checker.now, 4) == (plan, "item", checker.result)
    assert clearance.idle


def test_a_check_that_raises_is_not_continued(plan: Plan) -> None:
    checker = SlowChecker(error=True)
    clearance: IncrementalClearance[str] = IncrementalClearance(checker)
    clearance.start(plan, "item")
    with pytest.raises(RuntimeError):
        clearance.resume(lambda: checker.now, 10)
    assert clearance.idle
