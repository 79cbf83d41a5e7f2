"""A ROS domain that no other process uses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vla_ros.system.processes import reserve_domain_id

ROOT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def isolated_domain() -> Iterator[int]:
    """Reserve a ROS domain, restricted to this machine, and set it in the environment of this process."""
    with reserve_domain_id() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("RMW_IMPLEMENTATION", os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"))
        patch.delenv("ROS_LOCALHOST_ONLY", raising=False)
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        yield domain
