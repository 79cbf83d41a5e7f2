"""The keystore before a real Fast DDS with security: the robot hears the supervisor, and nobody else.

The wheels' Fast DDS has no security, so two small participants of Debian's or ROS's own stand for robot and speaker:
`apt-get install g++ libfastrtps-dev`. Where they are not installed this is skipped: files and policy are tested alone.
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
    """The program, built against a Fast DDS that has security."""
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
    """Two keystores of the same policy: the robot's own, and a stranger's."""
    folder = tmp_path_factory.mktemp("keys")
    policy = (config_dir() / "security" / "policy.xml").read_text(encoding="utf-8")
    for name in ("own", "strange"):
        create_keystore(folder / name, parse_policy(policy))
    return folder


def heard(peer: Path, robot: Path, speaker: Path | str, seconds: float = 6.0) -> tuple[str, int]:
    """What the speaker said of itself last, after the library's complaints; how many commands the robot heard."""
    topic = f"rt/{COMMAND_TOPIC}"
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    ears = subprocess.Popen([peer, "sub", str(robot), str(seconds + 1.0), topic], **both)
    mouth = subprocess.Popen([peer, "pub", str(speaker), str(seconds), topic], **both)
    said, count = mouth.communicate(timeout=60)[0], ears.communicate(timeout=60)[0]
    assert ears.returncode == 0, count
    return said.strip().splitlines()[-1], int(count.split()[-1])


@pytest.mark.parametrize("enclave", ["policy", "planner", "operator", "teleop", "camera_monitor"])
def test_an_enclave_without_the_right_may_not_speak(peer: Path, keys: Path, ros_domain: int, enclave: str):
    rooms = keys / "own" / "enclaves"
    said, count = heard(peer, rooms / "robot", rooms / enclave, 2.0)
    assert said == "refused: writer 0"
    assert count == 0


def test_the_supervisor_is_heard(peer: Path, keys: Path, ros_domain: int):
    rooms = keys / "own" / "enclaves"
    said, count = heard(peer, rooms / "robot", rooms / "supervisor")
    assert said.startswith("sent")
    assert count > 10


def test_a_supervisor_of_another_authority_is_not_heard(peer: Path, keys: Path, ros_domain: int):
    said, count = heard(peer, keys / "own/enclaves/robot", keys / "strange/enclaves/supervisor")
    assert said.startswith("sent")
    assert count == 0


def test_whoever_has_no_identity_is_not_heard(peer: Path, keys: Path, ros_domain: int):
    said, count = heard(peer, keys / "own/enclaves/robot", "none")
    assert said.startswith("sent")
    assert count == 0


def test_a_permission_that_was_forged_is_not_believed(peer: Path, keys: Path, ros_domain: int, tmp_path: Path):
    """The policy's enclave with the right written in by hand: its own signature no longer holds."""
    room = tmp_path / "policy"
    shutil.copytree(keys / "own/enclaves/policy", room)
    signed = room / "permissions.p7s"
    signed.write_text(signed.read_text().replace("rt/vla/chunk", f"rt/{COMMAND_TOPIC}"))
    said, count = heard(peer, keys / "own/enclaves/robot", room, 2.0)
    assert said == "refused: participant 0"
    assert count == 0
