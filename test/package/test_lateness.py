"""The memory of a loop's wake-ups: the newest, in order, and no more."""

import pytest

from vla_ros.system import wake_latency as lateness


def test_the_newest_are_kept_in_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lateness, "SIZE", 5)
    late = lateness.Lateness()
    assert late.newest().max(initial=0) == 0
    for k in range(3):
        late.add(k)
    assert late.newest(5).tolist() == [0, 1, 2]
    for k in range(3, 12):
        late.add(k)
    assert late.newest(5).tolist() == [7, 8, 9, 10, 11]
    assert late.newest(2).tolist() == [10, 11]
