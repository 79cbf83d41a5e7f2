"""Every state and every event, written out from what the states mean, not from the table under test."""

import pytest

from vla_ros.safety.state_machine import Event, Mode, follow

INACTIVE, READY, RUNNING, STOPPING, STOPPED, ESTOPPED = Mode
FRESH, LOST, ARM, STOP, REST, ESTOP, RESET = Event

# fmt: off
TABLE = {
    #           FRESH     LOST      ARM       STOP      REST      ESTOP     RESET
    INACTIVE: (READY,    INACTIVE, INACTIVE, INACTIVE, INACTIVE, ESTOPPED, INACTIVE),
    READY:    (READY,    INACTIVE, RUNNING,  READY,    READY,    ESTOPPED, READY),
    RUNNING:  (RUNNING,  STOPPING, RUNNING,  STOPPING, RUNNING,  ESTOPPED, RUNNING),
    STOPPING: (STOPPING, STOPPING, STOPPING, STOPPING, STOPPED,  ESTOPPED, STOPPING),
    STOPPED:  (STOPPED,  STOPPED,  RUNNING,  STOPPED,  STOPPED,  ESTOPPED, INACTIVE),
    ESTOPPED: (ESTOPPED, ESTOPPED, ESTOPPED, ESTOPPED, ESTOPPED, ESTOPPED, INACTIVE),
}
# fmt: on


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("event", Event)
def test_every_state_and_event(mode: Mode, event: Event) -> None:
    assert follow(mode, event) is TABLE[mode][list(Event).index(event)]


def test_only_arming_leads_to_running() -> None:
    ways = {(m, e) for m in Mode for e in Event if m is not RUNNING and follow(m, e) is RUNNING}
    assert ways == {(READY, ARM), (STOPPED, ARM)}


def test_an_emergency_stop_is_left_by_reset_alone() -> None:
    assert [e for e in Event if follow(ESTOPPED, e) is not ESTOPPED] == [RESET]
