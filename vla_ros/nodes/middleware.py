"""Which transport carries the messages: none that can hold up a command.

Fast DDS's shared-memory transport opens the port of every process it sends to, and asks first whether its reader is
well (`SharedMemGlobal::Port::healthy_check`). If the reader was idle, that sleeps a third of
`healthy_check_timeout_ms`, which is 333 ms by default, inside `publish` or while an acknowledgement is sent, holding
locks that every other `publish` of the process needs. A command loop stood still for that long whenever a process that
had been idle was first spoken to. UDP has no such wait.

rmw_fastrtps adds shared memory by itself where ROS_AUTOMATIC_DISCOVERY_RANGE is LOCALHOST, whatever
FASTDDS_BUILTIN_TRANSPORTS says; there only a profile that spells out the same discovery without it helps.
"""

from __future__ import annotations

from collections.abc import Mapping

from vla_ros.config import config_dir

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
BUILTIN = "FASTDDS_BUILTIN_TRANSPORTS"
CHOSEN = (PROFILES, "FASTDDS_DEFAULT_PROFILES_FILE", BUILTIN, "ROS_STATIC_PEERS")
"""Whoever sets one of these has chosen a transport, and keeps it."""


def without_shared_memory(env: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment before `rclpy.init`, so that Fast DDS uses UDP alone.

    Args:
        env: The environment of the process. Nothing is added where it says that the user has chosen (`CHOSEN`).
    """
    if any(env.get(name) for name in CHOSEN):
        return {}
    if env.get(RANGE) == "LOCALHOST":
        return {PROFILES: str(config_dir() / "fastdds_loopback.xml"), RANGE: "SYSTEM_DEFAULT"}
    return {BUILTIN: "UDPv4"}
