"""Tests of the wake-up latency buffer: it keeps the newest entries, in order, up to its capacity."""

import pytest

from vla_ros.system import wake_latency


def test_the_newest_entries_are_kept_in_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wake_latency, "CAPACITY", 5)
    buffer = wake_latency.WakeLatencyBuffer()
    assert buffer.newest().max(initial=0) == 0
    for k in range(3):
        buffer.add(k)
    assert buffer.newest(5).tolist() == [0, 1, 2]
    for k in range(3, 12):
        buffer.add(k)
    assert buffer.newest(5).tolist() == [7, 8, 9, 10, 11]
    assert buffer.newest(2).tolist() == [10, 11]
