"""What every test may ask for: an isolated ROS domain, and nodes as processes in it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from vla_ros.system.processes import Processes, own_domain

settings.register_profile(
    "seeded", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("seeded")  # the same examples on every machine; a failure prints its seed

ROOT = Path(__file__).resolve().parents[1]

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that; the tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def isolated() -> Iterator[int]:
    """A ROS domain nobody else uses, on this machine only, in the environment of this process and its children."""
    with own_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("RMW_IMPLEMENTATION", os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"))
        patch.delenv("ROS_LOCALHOST_ONLY", raising=False)
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        yield domain


@pytest.fixture
def ros_domain() -> Iterator[int]:
    """A ROS domain of this test's own; nodes here and in children use it."""
    with isolated() as domain:
        yield domain


@pytest.fixture(scope="module")
def module_domain() -> Iterator[int]:
    """The same for all tests of a file, which then must leave its nodes as they found them."""
    with isolated() as domain:
        yield domain


@pytest.fixture
def processes(ros_domain: int, tmp_path: Path) -> Iterator[Processes]:
    """Starts nodes in this test's domain and ends them after it, whatever happens."""
    group = Processes(tmp_path)
    try:
        yield group
    finally:
        group.stop_all()
