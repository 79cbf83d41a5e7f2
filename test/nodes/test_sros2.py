"""The keystore with a Fast DDS that has security: the robot receives commands of the supervisor only.

The Fast DDS of the wheels has no security. Two small participants, built against the Fast DDS of Debian or ROS, stand
for the robot and a publisher: `apt-get install g++ libfastrtps-dev`. Without it these tests are skipped.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from vla_ros.config import config_dir
from vla_ros.security.keystore import create_keystore
from vla_ros.security.permissions import COMMAND_TOPIC, parse_policy

SOURCE = Path(__file__).with_name("peer.cpp")
LIBRARIES = ("-lfastrtps", "-lfastcdr", "-lpthread")


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The participant, built against a Fast DDS with security."""
    compiler, program = shutil.which("g++"), tmp_path_factory.mktemp("peer") / "peer"
    if compiler is None:
        pytest.skip("needs g++")
    probe = "#include <fastrtps/config.h>\n#if !HAVE_SECURITY\n#error\n#endif\n"
    command = [compiler, "-std=c++17", "-x", "c++", "-fsyntax-only", "-"]
    if subprocess.run(command, input=probe, text=True, capture_output=True, check=False, timeout=60).returncode:
        pytest.skip("needs Fast DDS 2 built with security: apt-get install libfastrtps-dev")
    command = [compiler, "-std=c++17", "-O0", "-w", str(SOURCE), "-o", str(program), *LIBRARIES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two keystores of the same policy: that of the robot, and that of another authority."""
    folder = tmp_path_factory.mktemp("keys")
    policy = (config_dir() / "security" / "policy.xml").read_text(encoding="utf-8")
    for name in ("own", "other"):
        create_keystore(folder / name, parse_policy(policy))
    return folder


def exchange(peer: Path, robot: Path, publisher: Path | str, seconds: float = 6.0) -> tuple[str, int]:
    """The last line of the publisher, and the number of commands that the robot received."""
    topic = f"rt/{COMMAND_TOPIC}"
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    subscriber = subprocess.Popen([peer, "sub", str(robot), str(seconds + 1.0), topic], **options)
    sender = subprocess.Popen([peer, "pub", str(publisher), str(seconds), topic], **options)
    status, count = sender.communicate(timeout=60)[0], subscriber.communicate(timeout=60)[0]
    assert subscriber.returncode == 0, count
    return status.strip().splitlines()[-1], int(count.split()[-1])


@pytest.mark.parametrize("enclave", ["policy", "planner", "operator", "teleop", "camera_monitor"])
def test_an_enclave_without_permission_cannot_publish(peer: Path, keys: Path, ros_domain: int, enclave: str):
    enclaves = keys / "own" / "enclaves"
    status, count = exchange(peer, enclaves / "robot", enclaves / enclave, 2.0)
    assert status == "refused: writer 0"
    assert count == 0


def test_commands_of_the_supervisor_are_received(peer: Path, keys: Path, ros_domain: int):
    enclaves = keys / "own" / "enclaves"
    status, count = exchange(peer, enclaves / "robot", enclaves / "supervisor")
    assert status.startswith("sent")
    assert count > 10


def test_a_supervisor_of_another_authority_is_not_received(peer: Path, keys: Path, ros_domain: int):
    status, count = exchange(peer, keys / "own/enclaves/robot", keys / "other/enclaves/supervisor")
    assert status.startswith("sent")
    assert count == 0


def test_a_publisher_without_identity_is_not_received(peer: Path, keys: Path, ros_domain: int):
    status, count = exchange(peer, keys / "own/enclaves/robot", "none")
    assert status.startswith("sent")
    assert count == 0


def test_a_forged_permission_is_rejected(peer: Path, keys: Path, ros_domain: int, tmp_path: Path):
    """The enclave of the policy with the permission added by hand: the signature is invalid."""
    forged = tmp_path / "policy"
    shutil.copytree(keys / "own/enclaves/policy", forged)
    signed = forged / "permissions.p7s"
    signed.write_text(signed.read_text().replace("rt/vla/chunk", f"rt/{COMMAND_TOPIC}"))
    status, count = exchange(peer, keys / "own/enclaves/robot", forged, 2.0)
    assert status == "refused: participant 0"
    assert count == 0
