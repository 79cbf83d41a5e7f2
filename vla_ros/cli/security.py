"""Create the SROS2 keys that let only the supervisor command the robot."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vla_ros.config import config_dir
from vla_ros.core.errors import ConfigError
from vla_ros.security.keystore import create_keystore
from vla_ros.security.permissions import COMMAND_TOPIC, SUPERVISOR, Enclave, parse_policy

EPILOG = """
The command creates an SROS2 keystore in DIR: a key, a certificate and signed permissions for each enclave of the
policy. Every process then needs these settings and the name of its enclave:

    export ROS_SECURITY_KEYSTORE=DIR ROS_SECURITY_ENABLE=true ROS_SECURITY_STRATEGY=Enforce
    ros2 run vla_ros supervisor_node --ros-args --enclave /supervisor

With the strategy Enforce, a process without a key does not start, and messages without permission are not delivered.
This requires a middleware built with security. The ROS 2 packages of Ubuntu are; the wheels that `./vla` installs are
not, so nodes of those refuse to start. The command never overwrites a file. Remove DIR/private from the robot: its key
can sign the permissions of another supervisor.
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        "vla security", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", type=Path, metavar="DIR", help="folder of the keystore; it must not exist")
    p.add_argument(
        "--policy", type=Path, metavar="FILE", help="SROS2 policy file (default: config/security/policy.xml)"
    )
    p.add_argument(
        "--command-topic",
        default=COMMAND_TOPIC,
        metavar="NAME",
        help=f"command topic of the robot (default: {COMMAND_TOPIC})",
    )
    return p


def describe(enclave: Enclave, topic: str) -> str:
    """One line: whether the enclave may publish commands on the DDS topic."""
    text = "publishes the robot's commands" if enclave.permits("publish", topic) else "may not publish them"
    return f"  {enclave.path:<16} {text}"


def main(argv: Sequence[str]) -> int:
    """Create the keystore and print what each enclave may do."""
    options = parser().parse_args(list(argv))
    file = options.policy or config_dir() / "security" / "policy.xml"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {getattr(error, 'strerror', None) or 'it is not text'}.") from None
    enclaves = parse_policy(text, options.command_topic)
    create_keystore(options.folder, enclaves)
    topic = f"rt/{options.command_topic.strip('/')}"
    print(f"{options.folder}: {len(enclaves)} enclaves; only {SUPERVISOR} may publish {topic}")
    print("\n".join(describe(enclave, topic) for enclave in enclaves))
    print(f"\nexport ROS_SECURITY_KEYSTORE={options.folder.resolve()} ROS_SECURITY_ENABLE=true", end=" ")
    print(
        "ROS_SECURITY_STRATEGY=Enforce\nStart each node with its enclave, for example: --ros-args --enclave /supervisor"
    )
    print(f"Remove {options.folder / 'private'} from the robot.")
    return 0
