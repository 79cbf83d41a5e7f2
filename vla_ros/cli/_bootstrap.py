"""Prepares a virtual environment for a command of `./vla`, then runs the command in it.

This module uses only the standard library, because it runs under any Python from 3.10 on before anything is installed.
The file `vla.json` in the environment records what is installed. It is written last, so an environment without it was
interrupted and is created again.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from vla_ros import cli
from vla_ros.cli._system import clean_environment, find_opengl_backend, install_system_package, log, python_runs

ROOT = Path(__file__).resolve().parents[2]
BASE_GROUPS = ("ros", "sim", "train", "report")
"""Groups of setup.py's EXTRAS that every command needs."""
COMMAND_GROUPS = {
    "test": ("dev", "bench", "lerobot", "video", "distributed", "tensorboard", "backbones", "language"),
    "bench": ("dev", "bench", "lerobot"),
    "experiment": ("bench",),
    "export": ("lerobot", "video"),
}
"""Additional groups by command."""
TORCH_WITHOUT_GPU = "torch==2.13.0"  # a version with a CPU-only wheel; others may bring gigabytes of CUDA libraries


class SetupError(Exception):
    """The environment cannot be created; the message is shown to the user."""


def sourced_ros_distro() -> str:
    """Name of the ROS 2 distribution sourced in this shell; "" if there is none that this Python can import."""
    distro = os.environ.get("ROS_DISTRO", "")
    spec = importlib.util.find_spec("rclpy") if distro else None
    if spec is None or (sys.prefix != sys.base_prefix and str(spec.origin).startswith(sys.prefix)):
        return ""  # not installed, or installed as wheels in a virtual environment
    return distro


def requirements(groups: tuple[str, ...], ros: str) -> list[str]:
    """Requirements of the package and of some groups, read from setup.py without running it.

    Args:
        groups: Names of EXTRAS. The group "ros" is left out if a ROS distribution is sourced.
        ros: The sourced distribution, or "".
    """
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    values = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    extras = ast.literal_eval(values["EXTRAS"])
    rows = list(ast.literal_eval(values["CORE"]))
    for group in groups:
        rows += [] if group == "ros" and ros else extras[group]
    if not any(Path(p).exists() for p in ("/dev/nvidia0", "/proc/driver/nvidia")):
        rows = [TORCH_WITHOUT_GPU if row.startswith("torch>") else row for row in rows]
    return rows


def digest(rows: list[str]) -> str:
    """Hash of a requirement list and the Python version."""
    return hashlib.sha256("\n".join([sys.version, *rows]).encode()).hexdigest()[:16]


def read_record(env: Path) -> dict[str, str]:
    """What is installed completely: digests by "base" and command, and the OpenGL backend; empty if nothing is."""
    try:
        data = json.loads((env / "vla.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_record(env: Path, record: dict[str, str]) -> None:
    """Replace the record atomically."""
    part = env / "vla.json.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(env / "vla.json")


@contextlib.contextmanager
def setup_lock() -> Iterator[int]:
    """Lock the checkout during set-up. Pip inherits the lock, so it is held even if the start script is killed."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("another process is setting up this checkout; waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def create_environment(env: Path, ros: str) -> None:
    """Create an empty virtual environment and delete what is there before.

    Raises:
        SetupError: This Python cannot create one.
    """
    shutil.rmtree(env, ignore_errors=True)
    base: str = getattr(sys, "_base_executable", sys.executable)
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if not python_runs(base, "import venv, ensurepip") and not install_system_package(package, "the environment"):
        raise SetupError(f"{base} lacks venv or ensurepip.")
    command = [base, "-m", "venv", *(["--system-site-packages"] if ros else []), str(env)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())
    if done.returncode:
        raise SetupError(f"the environment could not be created: {(done.stderr or done.stdout).strip()[-300:]}")
    (env / ".gitignore").write_text("*\n", encoding="utf-8")


def install(env: Path, rows: list[str], lock: int) -> None:
    """Install the requirements with pip and print its progress.

    Raises:
        SetupError: Pip failed; the message holds its last lines.
    """
    command = [str(env / "bin" / "python"), "-m", "pip", "install", "--no-input", "--progress-bar", "off", *rows]
    settings = {**clean_environment(), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    start, logged_s = time.monotonic(), 0.0
    tail: list[str] = []
    with (env / "setup.log").open("a", encoding="utf-8") as file:
        pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=settings, pass_fds=(lock,), **both)  # type: ignore[call-overload]
        for line in pip.stdout:
            file.write(line)
            tail = [*tail[-3:], line.strip()]
            words = line.split()
            elapsed_s = time.monotonic() - start
            if line.startswith("Installing collected"):
                log(f"{elapsed_s:4.0f} s  installing {len(words) - 3} packages")
            elif line.startswith("Collecting") and elapsed_s - logged_s > 5.0:
                logged_s = elapsed_s
                log(f"{elapsed_s:4.0f} s  downloading {words[1]}")
        if pip.wait():
            free = shutil.disk_usage(env).free / 1e9
            hint = f" Only {free:.1f} GB of disk space are free." if free < 4.0 else ""
            raise SetupError(f"pip could not install: {' | '.join(tail)}.{hint} Complete log: {env}/setup.log")


def prepare_environment(command: str, env: Path, ros: str) -> dict[str, str]:
    """Install what `command` needs, unless it is installed already; return the record of the environment.

    Raises:
        SetupError: It could not be installed.
    """
    groups = COMMAND_GROUPS.get(command, ())
    rows = requirements((*BASE_GROUPS, *groups), ros)
    needed = {"base": digest(requirements(BASE_GROUPS, ros)), **({command: digest(rows)} if groups else {})}
    record = read_record(env)
    if record.get("gl", "none") != "none" and needed.items() <= record.items():
        return record
    with setup_lock() as lock:
        record = read_record(env)  # another process may have completed it while this one waited
        if not needed.items() <= record.items():
            start = time.monotonic()
            usable = record and python_runs(env / "bin" / "python", "import pip")
            log(f"{'completing' if usable else 'setting up'} {env.name}; this happens once and takes some minutes.")
            if not usable:
                record = {}
                create_environment(env, ros)
            (env / "vla.json").unlink(missing_ok=True)
            if ros and python_runs(sys.executable, "import numpy; assert numpy.__version__ < '2'"):
                rows.append("numpy<2")  # the sourced ROS distribution was built for it
            install(env, rows, lock)
            record |= needed
            log(f"{env.name} is ready after {time.monotonic() - start:.0f} s.")
        if record.get("gl", "none") == "none":
            record["gl"] = find_opengl_backend(env / "bin" / "python", may_install="gl" not in record)
        write_record(env, record)
    if record["gl"] == "none":
        log("neither EGL nor OSMesa renders here, so simulated cameras will not work: sudo apt-get install libosmesa6")
    return record


def main(argv: list[str]) -> int:
    """Prepare the environment and run the command in it.

    The command runs in this process if that already is the interpreter of the environment and nothing was installed.
    """
    if not argv or argv[0] not in cli.commands():
        return cli.main(argv)
    ros = sourced_ros_distro()
    env = ROOT / (f".venv-{ros}" if ros else ".venv")
    before = read_record(env)
    try:
        record = prepare_environment(argv[0], env, ros)
    except (SetupError, OSError) as error:
        log(str(error))
        return 1
    same_process = Path(sys.prefix).resolve() == env.resolve() and record == before
    settings = os.environ if same_process else clean_environment()
    if record["gl"] != "none":
        settings["PYOPENGL_PLATFORM"] = settings.setdefault("MUJOCO_GL", record["gl"])
    settings.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    settings.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if same_process:
        return cli.main(argv)
    python = str(env / "bin" / "python")
    code = "import sys; sys.path = [p for p in sys.path if p]; from vla_ros.cli import main; sys.exit(main())"
    os.execve(python, [python, "-c", code, *argv], settings)
    return 1


def start() -> None:
    """Run `main` and exit with its status."""
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
