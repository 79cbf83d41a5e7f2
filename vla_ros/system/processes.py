"""Nodes as processes: started in one ROS domain, always ended, their output kept. No rclpy here."""

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
from collections.abc import Iterator
from pathlib import Path

from vla_ros.core.errors import ConfigError


@contextlib.contextmanager
def own_domain() -> Iterator[int]:
    """A ROS domain id nobody else on this machine uses while the block runs, 1 to 101, and never the user's own.

    The claim is an abstract socket name: it holds for every process that could hear the domain,
    and the kernel gives it back even if this process is killed.
    """
    for offset in range(101):
        domain = 1 + (os.getpid() + offset) % 101
        if str(domain) == os.environ.get("ROS_DOMAIN_ID"):
            continue  # a real robot may be listening there
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0vla_ros.domain.{domain}")
        except OSError:
            claim.close()
            continue
        with claim:
            yield domain
        return
    raise RuntimeError("all ROS domains from 1 to 101 are taken on this machine")


_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when its parent ends, however it ends (Linux).

    A shell starts what runs in its background with SIGINT ignored, and that is inherited; here it must count.
    A parent that ended before it could be asked is noticed by no longer being ours.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # SIGINT may be lost in an import
    if os.getppid() != parent:
        os._exit(1)


class Processes:
    """A group of nodes that run and end together."""

    def __init__(self, folder: Path) -> None:
        """Keep the output of every process as a file in `folder`."""
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, node: str, *args: str, name: str | None = None, **env: str) -> subprocess.Popen[bytes]:
        """Start `python -m vla_ros.nodes.<node> <args>`; its output goes to `<name>.log` of the test's folder.

        Args:
            node: The module's name in vla_ros/nodes, or a full dotted name.
            args: Its arguments, for example "--ros-args", "-p", "rate:=500".
            name: What to call it here, if one node is started twice.
            env: Further environment variables.

        Raises:
            ValueError: A process of that name runs already.
        """
        module = node if "." in node else f"vla_ros.nodes.{node}"
        name = name or node
        if name in self.running:
            raise ValueError(f'"{name}" is started already; give the second one another name')
        command = [sys.executable, "-m", module, *args]
        settings = {**os.environ, "PYTHONUNBUFFERED": "1", **env}
        if settings.get("PYTHONPATH"):
            # A node runs in the folder of its log: "PYTHONPATH=." means the folder the user stands in.
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
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
        self.running[name] = process
        return process

    def log_file(self, name: str) -> Path:
        """Where the output of a process goes."""
        return self.folder / f"{name}.log"

    def log(self, name: str) -> str:
        """What a process has said so far."""
        return self.log_file(name).read_text(encoding="utf-8", errors="replace")

    def stop(self, name: str) -> int:
        """End one process and return its exit status: asked, told, then killed with all it started."""
        process = self.running.pop(name)
        for how, patience in ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)):
            if process.poll() is None:
                process.send_signal(how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session: only what it started itself
        return process.wait()

    def stop_all(self, *names: str) -> None:
        """End these processes, or every one, the last started first; all are asked before any is waited for."""
        chosen = {n: p for n, p in reversed(self.running.items()) if n in names or not names}
        for process in chosen.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 5.0
        for process in chosen.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
        for name in chosen:
            self.stop(name)


def keep_to(cpus: str) -> None:
    """Let this thread, and all it starts from now on, run on some processors only.

    Args:
        cpus: As "1" or "0,2-3"; "auto": all but the first, where there are several; "" changes nothing.

    Raises:
        ConfigError: They cannot be read, or are not there.
    """
    have = os.sched_getaffinity(0)
    if cpus == "auto":
        os.sched_setaffinity(0, set(sorted(have)[1:]) or have)
        return
    if not cpus:
        return
    pairs = [re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip()) for part in cpus.split(",")]
    wanted = {n for m in pairs if m for n in range(int(m[1]), int(m[2] or m[1]) + 1)}
    if not (all(pairs) and wanted and wanted <= have):
        named = ", ".join(str(n) for n in sorted(have))
        raise ConfigError(f'cpus must name some of {named}, as "1" or "0,2-3", or be "auto"; got "{cpus}".')
    os.sched_setaffinity(0, wanted)
