"""Runs ROS nodes as child processes in an isolated ROS domain, logs their output and always ends them.

This module does not import rclpy.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from vla_ros.core.errors import ConfigError

STOP_TIMEOUTS_S = ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
"""Signals sent to stop a process, in order, each with the time that it is given to end [s]."""
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


@contextlib.contextmanager
def reserve_domain_id() -> Iterator[int]:
    """Reserve a ROS domain id from 1 to 101 while the context is open; never the one of ROS_DOMAIN_ID.

    The reservation is an abstract Unix socket: every process of this machine respects it, and the kernel releases
    it when this process ends, even when it is killed.

    Raises:
        RuntimeError: Every id is reserved.
    """
    for offset in range(101):
        domain = 1 + (os.getpid() + offset) % 101
        if str(domain) == os.environ.get("ROS_DOMAIN_ID"):
            continue  # a real robot may use it
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            reservation.bind(f"\0vla_ros.domain.{domain}")
        except OSError:
            reservation.close()
            continue
        with reservation:
            yield domain
        return
    raise RuntimeError("all ROS domain ids from 1 to 101 are in use on this machine")


@contextlib.contextmanager
def environment_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process while the context is open; processes started meanwhile inherit them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def terminate_with_parent(parent: int) -> None:
    """Let the kernel send SIGTERM to this process when its parent ends for any reason (Linux).

    Call it in the child, between fork and exec. It also restores the default SIGINT handler, because a shell starts
    background processes with SIGINT ignored and children inherit that.

    Args:
        parent: Process id of the parent. If the parent has ended already, this process exits with status 1.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # an import may swallow KeyboardInterrupt of SIGINT
    if os.getppid() != parent:
        os._exit(1)


class ProcessGroup:
    """Node processes that are started and stopped together.

    Attributes:
        folder: Working folder of the processes, and of their logs.
        running: The processes by name, in the order in which they were started.
    """

    def __init__(self, folder: Path) -> None:
        """Create an empty group that writes its logs to `folder`, which must exist."""
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, node: str, *args: str, name: str | None = None, **env: str) -> subprocess.Popen[bytes]:
        """Start `python -m vla_ros.nodes.<node> <args>`; its output is appended to `<name>.log`.

        Args:
            node: Name of a module in vla_ros/nodes, or the dotted name of any module.
            args: Command-line arguments, for example "--ros-args", "-p", "rate:=500".
            name: Name of the process in this group; `node` by default.
            env: Additional environment variables.

        Raises:
            ValueError: The group has a process of that name.
        """
        module = node if "." in node else f"vla_ros.nodes.{node}"
        name = name or node
        if name in self.running:
            raise ValueError(f'"{name}" is running already; give the second process another name')
        command = [sys.executable, "-m", module, *args]
        settings = {**os.environ, "PYTHONUNBUFFERED": "1", **env}
        if settings.get("PYTHONPATH"):
            # The node runs in another folder, so relative entries such as "." are made absolute.
            parts = settings["PYTHONPATH"].split(os.pathsep)
            settings["PYTHONPATH"] = os.pathsep.join(part and str(Path(part).absolute()) for part in parts)
        with self.log_file(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=settings,
                start_new_session=True,
                preexec_fn=functools.partial(terminate_with_parent, os.getpid()),
            )
        self.running[name] = process
        return process

    def log_file(self, name: str) -> Path:
        """Path of the log of a process."""
        return self.folder / f"{name}.log"

    def log(self, name: str) -> str:
        """Output of a process so far, standard error included."""
        return self.log_file(name).read_text(encoding="utf-8", errors="replace")

    def stop(self, name: str) -> int:
        """Stop one process by the signals of `STOP_TIMEOUTS_S`, then kill its session; return its exit status."""
        process = self.running.pop(name)
        for number, timeout_s in STOP_TIMEOUTS_S:
            if process.poll() is None:
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=timeout_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own: only the process and its children
        return process.wait()

    def stop_all(self, *names: str) -> None:
        """Stop the named processes, or all without names; the last started first.

        Every process receives SIGINT before any of them is waited for.
        """
        chosen = {n: p for n, p in reversed(self.running.items()) if n in names or not names}
        for process in chosen.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUTS_S[0][1]
        for process in chosen.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
        for name in chosen:
            self.stop(name)


def set_cpu_affinity(cpus: str) -> None:
    """Restrict this thread, and the threads and processes that it starts later, to some CPUs.

    Args:
        cpus: CPU numbers such as "1" or "0,2-3"; "auto" for all but the first, if there are several; "" for no change.

    Raises:
        ConfigError: The text is not valid, or names a CPU that this thread may not use.
    """
    available = os.sched_getaffinity(0)
    if cpus == "auto":
        os.sched_setaffinity(0, set(sorted(available)[1:]) or available)
        return
    if not cpus:
        return
    pairs = [re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip()) for part in cpus.split(",")]
    chosen = {n for m in pairs if m for n in range(int(m[1]), int(m[2] or m[1]) + 1)}
    if not (all(pairs) and chosen and chosen <= available):
        names = ", ".join(str(n) for n in sorted(available))
        raise ConfigError(f'cpus must name some of {names}, as "1" or "0,2-3", or be "auto"; got "{cpus}".')
    os.sched_setaffinity(0, chosen)
