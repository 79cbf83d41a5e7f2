"""What `./vla` does before a command: a private environment that is whole, and the settings children need.

Standard library only: it runs under any Python from 3.10 on, before anything is installed. The record
`vla.json` in the environment is written last, so an environment without it was interrupted and is made again.
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
from vla_ros.cli._system import clean_environment, drawing, runs, say, system_package

ROOT = Path(__file__).resolve().parents[2]
BASE = ("ros", "sim", "train", "report")
EXTRA = {
    "test": ("dev", "bench", "lerobot", "video", "machines", "tensorboard", "backbones", "language"),
    "bench": ("dev", "bench", "lerobot"),
    "experiment": ("dev", "bench", "lerobot"),
    "export": ("lerobot", "video"),
}
TORCH_WITHOUT_GPU = "torch==2.13.0"  # known to come as a CPU build; any other may bring gigabytes of CUDA


class SetupError(Exception):
    """The environment cannot be made; the text is for the user."""


def sourced_ros() -> str:
    """The name of the ROS 2 distribution of this shell, or "" where this Python cannot use one."""
    distro = os.environ.get("ROS_DISTRO", "")
    spec = importlib.util.find_spec("rclpy") if distro else None
    if spec is None or (sys.prefix != sys.base_prefix and str(spec.origin).startswith(sys.prefix)):
        return ""  # none, or the wheels of a virtual environment
    return distro


def requirements(groups: tuple[str, ...], ros: str) -> list[str]:
    """The core's requirements and those of the extras, read from setup.py without running it."""
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
    """A short name of a requirement list under this version of Python."""
    return hashlib.sha256("\n".join([sys.version, *rows]).encode()).hexdigest()[:16]


def read_record(env: Path) -> dict[str, str]:
    """What was installed whole: digests of the base and by command, and the way to draw; empty if nothing was."""
    try:
        data = json.loads((env / "vla.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_record(env: Path, record: dict[str, str]) -> None:
    """Replace the record in one step."""
    part = env / "vla.json.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(env / "vla.json")


@contextlib.contextmanager
def only_one() -> Iterator[int]:
    """Hold the checkout while setting up; pip inherits the hold, so it outlives a killed starter."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another start is setting up this checkout; waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def make(env: Path, ros: str) -> None:
    """Make an empty environment in place of whatever is there; `SetupError` where this Python cannot."""
    shutil.rmtree(env, ignore_errors=True)
    base: str = getattr(sys, "_base_executable", sys.executable)
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if not runs(base, "import venv, ensurepip") and not system_package(package, "making an environment"):
        raise SetupError(f"{base} lacks venv or ensurepip.")
    command = [base, "-m", "venv", *(["--system-site-packages"] if ros else []), str(env)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())
    if done.returncode:
        raise SetupError(f"the environment could not be made: {(done.stderr or done.stdout).strip()[-300:]}")
    (env / ".gitignore").write_text("*\n", encoding="utf-8")


def install(env: Path, rows: list[str], hold: int) -> None:
    """Install the requirements with pip, and tell how it goes; `SetupError` with pip's last words if it fails."""
    command = [str(env / "bin" / "python"), "-m", "pip", "install", "--no-input", "--progress-bar", "off", *rows]
    settings = {**clean_environment(), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    start, told = time.monotonic(), 0.0
    tail: list[str] = []
    with (env / "setup.log").open("a", encoding="utf-8") as log:
        pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=settings, pass_fds=(hold,), **both)  # type: ignore[call-overload]
        for line in pip.stdout:
            log.write(line)
            tail = [*tail[-3:], line.strip()]
            words = line.split()
            spent = time.monotonic() - start
            if line.startswith("Installing collected"):
                say(f"{spent:4.0f} s  unpacking {len(words) - 3} packages")
            elif line.startswith("Collecting") and spent - told > 5.0:
                told = spent
                say(f"{spent:4.0f} s  fetching {words[1]}")
        if pip.wait():
            free = shutil.disk_usage(env).free / 1e9
            hint = f" Only {free:.1f} GB of disk are free." if free < 4.0 else ""
            raise SetupError(f"pip could not install: {' | '.join(tail)}.{hint} The whole log: {env}/setup.log")


def ready(command: str, env: Path, ros: str) -> dict[str, str]:
    """Make the environment hold what `command` needs, and return its record; `SetupError` if it cannot."""
    extra = EXTRA.get(command, ())
    rows = requirements((*BASE, *extra), ros)
    wanted = {"base": digest(requirements(BASE, ros)), **({command: digest(rows)} if extra else {})}
    record = read_record(env)
    if record.get("gl", "none") != "none" and wanted.items() <= record.items():
        return record
    with only_one() as hold:
        record = read_record(env)  # the other start may have done it all
        if not wanted.items() <= record.items():
            start = time.monotonic()
            whole = record and runs(env / "bin" / "python", "import pip")
            say(f"{'completing' if whole else 'setting up'} {env.name}; this happens once and takes some minutes.")
            if not whole:
                record = {}
                make(env, ros)
            (env / "vla.json").unlink(missing_ok=True)
            if ros and runs(sys.executable, "import numpy; assert numpy.__version__ < '2'"):
                rows.append("numpy<2")  # the sourced ROS was built for it
            install(env, rows, hold)
            record |= wanted
            say(f"{env.name} is ready after {time.monotonic() - start:.0f} s.")
        if record.get("gl", "none") == "none":
            record["gl"] = drawing(env / "bin" / "python", may_install="gl" not in record)
        write_record(env, record)
    if record["gl"] == "none":
        say("neither EGL nor OSMesa draws here, so cameras will not: sudo apt-get install libosmesa6")
    return record


def main(argv: list[str]) -> int:
    """Prepare, then run the command: in this process where it is the environment's own and nothing changed."""
    if not argv or argv[0] not in cli.commands():
        return cli.main(argv)
    ros = sourced_ros()
    env = ROOT / (f".venv-{ros}" if ros else ".venv")
    before = read_record(env)
    try:
        record = ready(argv[0], env, ros)
    except (SetupError, OSError) as error:
        say(str(error))
        return 1
    here = Path(sys.prefix).resolve() == env.resolve() and record == before
    settings = os.environ if here else clean_environment()
    if record["gl"] != "none":
        settings["PYOPENGL_PLATFORM"] = settings.setdefault("MUJOCO_GL", record["gl"])
    settings.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    settings.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if here:
        return cli.main(argv)
    python = str(env / "bin" / "python")
    run = "import sys; sys.path = [p for p in sys.path if p]; from vla_ros.cli import main; sys.exit(main())"
    os.execve(python, [python, "-c", run, *argv], settings)
    return 1


def start() -> None:
    """End this process with the status of the command it was started with."""
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
