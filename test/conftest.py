"""Fixtures of all tests: an isolated ROS domain, and nodes as processes in it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from isolation import isolated_domain

from vla_ros.system.processes import ProcessGroup

settings.register_profile(
    "seeded", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("seeded")  # the same examples on every machine

# A shell starts background jobs with SIGINT ignored, and children inherit that; the tests send SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ros_domain() -> Iterator[int]:
    """A ROS domain of the test's own; this process and its children use it."""
    with isolated_domain() as domain:
        yield domain


@pytest.fixture(scope="module")
def module_domain() -> Iterator[int]:
    """A ROS domain of a test file."""
    with isolated_domain() as domain:
        yield domain


@pytest.fixture
def processes(ros_domain: int, tmp_path: Path) -> Iterator[ProcessGroup]:
    """Starts nodes in the test's domain, and ends them after the test."""
    group = ProcessGroup(tmp_path)
    try:
        yield group
    finally:
        group.stop_all()
