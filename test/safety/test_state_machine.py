"""State machine: every mode and event, written from the meaning of the modes, not from the table under test."""

import pytest

from vla_ros.safety.state_machine import Event, Mode, next_state

INACTIVE, READY, RUNNING, STOPPING, STOPPED, ESTOPPED = Mode
INPUTS_OK, INPUT_FAULT, ARM, STOP, AT_REST, ESTOP, RESET = Event

# fmt: off
TABLE = {
    #           INPUTS_OK FAULT     ARM       STOP      AT_REST   ESTOP     RESET
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
def test_every_mode_and_event(mode: Mode, event: Event) -> None:
    assert next_state(mode, event) is TABLE[mode][list(Event).index(event)]


def test_only_arming_leads_to_running() -> None:
    transitions = {(m, e) for m in Mode for e in Event if m is not RUNNING and next_state(m, e) is RUNNING}
    assert transitions == {(READY, ARM), (STOPPED, ARM)}


def test_only_a_reset_leaves_an_emergency_stop() -> None:
    assert [e for e in Event if next_state(ESTOPPED, e) is not ESTOPPED] == [RESET]
