"""Make the keys with which only the supervisor may speak to the robot: SROS2 (--help teaches)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vla_ros.config import config_dir
from vla_ros.core.errors import ConfigError
from vla_ros.security.keystore import make_keystore
from vla_ros.security.permissions import COMMAND_TOPIC, SUPERVISOR, Enclave, read_policy

EPILOG = """
The folder becomes a keystore as ROS 2 reads it: a key, a certificate and signed permissions for each enclave of the
policy. Every process then needs these settings, and its enclave:

    export ROS_SECURITY_KEYSTORE=DIR ROS_SECURITY_ENABLE=true ROS_SECURITY_STRATEGY=Enforce
    ros2 run vla_ros supervisor_node --ros-args --enclave /supervisor

With Enforce, a process without a key does not start, and one without a right is not heard. It takes a middleware that
was built with security: those of ROS 2's own packages are; the wheels of `./vla` are not, and refuse to start.
What is there is never written over. Take DIR/private off the robot: whoever has it can make a supervisor.
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        "vla security", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("folder", type=Path, metavar="DIR", help="the keystore; it must not be there yet")
    p.add_argument("--policy", type=Path, metavar="FILE", help="who may do what (default: config/security/policy.xml)")
    p.add_argument(
        "--command-topic", default=COMMAND_TOPIC, metavar="NAME", help=f"the robot's (default: {COMMAND_TOPIC})"
    )
    return p


def rights(enclave: Enclave, topic: str) -> str:
    """One line on an identity."""
    word = "publishes the robot's commands" if enclave.may("publish", topic) else "may not publish them"
    return f"  {enclave.path:<12} {word}"


def main(argv: Sequence[str]) -> int:
    """Make the keystore, and say what each enclave may do."""
    options = parser().parse_args(list(argv))
    file = options.policy or config_dir() / "security" / "policy.xml"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {getattr(error, 'strerror', None) or 'it is not text'}.") from None
    enclaves = read_policy(text, options.command_topic)
    make_keystore(options.folder, enclaves)
    topic = f"rt/{options.command_topic.strip('/')}"
    print(f"{options.folder}: {len(enclaves)} enclaves; {topic} is published by {SUPERVISOR} alone")
    print("\n".join(rights(enclave, topic) for enclave in enclaves))
    print(f"\nexport ROS_SECURITY_KEYSTORE={options.folder.resolve()} ROS_SECURITY_ENABLE=true", end=" ")
    print("ROS_SECURITY_STRATEGY=Enforce\nand start each node with: --ros-args --enclave /supervisor (its own)")
    print(f"Take {options.folder / 'private'} off the robot.")
    return 0
