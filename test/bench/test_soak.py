"""The totals of the soak bench take every count of a finished hour."""

from __future__ import annotations

from bench.soak import Totals
from vla_ros.config import load_robot
from vla_ros.testing.fuzzer import START_NS, Fuzzer


def test_an_hour_is_added_with_all_its_counts() -> None:
    fuzzer = Fuzzer(load_robot("so101").limits, 0)
    fuzzer.run_until(START_NS + 20_000_000_000)
    totals = Totals()
    totals.add(fuzzer)
    totals.add(fuzzer)
    assert totals.samples == 2 * fuzzer.samples > 0
    for name in ("modes", "injected", "refusal_counts", "fault_counts"):
        assert sum(getattr(fuzzer, name).values()) > 0
        assert getattr(totals, name) == {key: 2 * count for key, count in getattr(fuzzer, name).items() if count}
