"""Which transport carries the messages: none that can hold up a command.

Fast DDS's shared-memory transport opens the port of every process it sends to, and asks first whether its reader is
well (`SharedMemGlobal::Port::healthy_check`). If the reader was idle, that sleeps a third of
`healthy_check_timeout_ms`, which is 333 ms by default, inside `publish` or while an acknowledgement is sent, holding
locks that every other `publish` of the process needs. A command loop stood still for that long whenever a process that
had been idle was first spoken to. UDP has no such wait.

Two 224 x 224 cameras at 30 Hz overflow a socket's default receive buffer (291 of 360 images arrived), so the profiles
ask for one of 4 MiB, which carried all of 360 up to 1280 x 720; Linux grants no more than `net.core.rmem_max`.
rmw_fastrtps adds shared memory by itself where ROS_AUTOMATIC_DISCOVERY_RANGE is LOCALHOST, whatever else is set;
therefore the profile for this machine alone spells out the same discovery, and the range is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping

from vla_ros.config import config_dir

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
PEERS = "ROS_STATIC_PEERS"
PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
CHOSEN = (PROFILES, "FASTDDS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
"""Whoever sets one of these has chosen a transport, and keeps it."""


def without_shared_memory(env: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment before `rclpy.init`, so that Fast DDS uses UDP alone.

    Args:
        env: The environment of the process. Nothing is added where the user has chosen (`CHOSEN`), or names peers
            beside LOCALHOST, which only rmw_fastrtps can join to it.
    """
    local = env.get(RANGE) == "LOCALHOST"
    if any(env.get(name) for name in CHOSEN) or (local and env.get(PEERS)):
        return {}
    if local:
        return {PROFILES: str(config_dir() / "fastdds_loopback.xml"), RANGE: "SYSTEM_DEFAULT"}
    return {PROFILES: str(config_dir() / "fastdds_network.xml")}
