"""Selects the transport of Fast DDS: UDP only, because shared memory can block a publisher.

Fast DDS's shared-memory transport opens the port of every process it sends to, and first checks the health of its
reader (`SharedMemGlobal::Port::healthy_check`). For an idle reader the check sleeps for a third of
`healthy_check_timeout_ms` (333 ms with the default) inside `publish` or while it sends an acknowledgement, and holds
locks that every other `publish` of the process needs. A command loop stalled for that long at the first message to a
process that had been idle. UDP has no such check.

Two 224 x 224 cameras at 30 Hz overflow the default receive buffer of a socket (291 of 360 images arrived). The profiles
therefore request 4 MiB, which carried 360 of 360 images up to 1280 x 720; Linux limits it to `net.core.rmem_max`.
rmw_fastrtps adds shared memory where ROS_AUTOMATIC_DISCOVERY_RANGE is LOCALHOST, regardless of the profile; the
loopback profile therefore defines the same discovery itself, and the range is set to SYSTEM_DEFAULT.
"""

from __future__ import annotations

from collections.abc import Mapping

from vla_ros.config import config_dir

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
PEERS = "ROS_STATIC_PEERS"
PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
USER_SETTINGS = (PROFILES, "FASTDDS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
"""A user who sets one of these variables selects the transport; nothing is changed then."""


def without_shared_memory(env: Mapping[str, str]) -> dict[str, str]:
    """Environment variables to set before `rclpy.init` so that Fast DDS uses UDP only.

    Args:
        env: The environment of the process. The result is empty if it has one of `USER_SETTINGS`, or static peers
            with the range LOCALHOST: only rmw_fastrtps can combine those.
    """
    local = env.get(RANGE) == "LOCALHOST"
    if any(env.get(name) for name in USER_SETTINGS) or (local and env.get(PEERS)):
        return {}
    if local:
        return {PROFILES: str(config_dir() / "fastdds_loopback.xml"), RANGE: "SYSTEM_DEFAULT"}
    return {PROFILES: str(config_dir() / "fastdds_network.xml")}
