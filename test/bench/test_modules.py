"""Every bench can be imported: benches are run by hand, so nothing else would notice a stale name."""

import importlib

import pytest

from vla_ros.cli import _checkout


@pytest.mark.parametrize("name", list(_checkout.programs("bench")))
def test_every_bench_can_be_imported(name: str) -> None:
    if name == "planner":
        pytest.importorskip("ruckig")
        pytest.importorskip("action_lipo")
    assert callable(importlib.import_module(f"bench.{name}").main)
