"""Two network namespaces joined by a link with loss, delay and jitter; needs root.

Linux's own network emulator (`tc qdisc netem`) is not in every kernel. Here the link is a process: it holds one end of
a virtual network interface (TAP) in each namespace, and forwards, delays or drops every Ethernet frame.

    python faults/network_link.py NAMESPACE NAMESPACE

The quality is set by lines of JSON on stdin: {"loss": 0.3, "delay_s": 0.1, "jitter_s": 0.05}.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x2, 0x1000
MAX_FRAME_BYTES = 65536
INTERFACE = "vla0"
SEED = 7


def enter(namespace: str) -> None:
    """Move this thread, and the processes it starts, into the network namespace of a file."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(handle, 0):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(handle)


@contextmanager
def in_namespace(namespace: str) -> Iterator[None]:
    """Run the context in a named network namespace."""
    home = f"/proc/self/fd/{(handle := os.open('/proc/thread-self/ns/net', os.O_RDONLY))}"
    try:
        enter(f"/run/netns/{namespace}")
        yield
    finally:
        enter(home)
        os.close(handle)


def create_interface(namespace: str, address: str) -> int:
    """Create a TAP interface in a namespace; returns the file descriptor of its other end."""
    with in_namespace(namespace):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", INTERFACE.encode(), IFF_TAP | IFF_NO_PI))
    for command in (
        f"addr add {address}/24 dev {INTERFACE}",
        "link set lo up",
        f"link set {INTERFACE} up",
        f"route add 224.0.0.0/4 dev {INTERFACE}",
    ):
        subprocess.run(["ip", "-n", namespace, *command.split()], check=True)
    return tap


def forward_frames(ends: tuple[int, int]) -> None:
    """Forward frames between two interfaces, with the quality of the newest line on stdin, until stdin ends."""
    quality = {"loss": 0.0, "delay_s": 0.0, "jitter_s": 0.0}
    rng, waiting, count = random.Random(SEED), [], 0
    while True:
        due = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([*ends, sys.stdin], [], [], due)
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            quality.update(json.loads(line))
        for end in ready:
            if end in ends:
                frame = os.read(end, MAX_FRAME_BYTES)
                if rng.random() >= quality["loss"]:
                    delay = quality["delay_s"] + rng.uniform(0.0, quality["jitter_s"])
                    count += 1
                    heapq.heappush(waiting, (time.monotonic() + delay, count, ends[1 - ends.index(end)], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(waiting)
            os.write(end, frame)


class NetworkLink:
    """The process that joins two namespaces.

    Attributes:
        simulator_namespace: Name of the namespace in which the simulator runs.
    """

    def __init__(self, namespace: str, simulator_namespace: str) -> None:
        """Start the process and wait until both interfaces exist."""
        self.simulator_namespace = simulator_namespace
        command = [sys.executable, __file__, namespace, simulator_namespace]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise AssertionError("a link between two network namespaces needs root and /dev/net/tun")

    def set_quality(self, loss: float = 0.0, delay_s: float = 0.0, jitter_s: float = 0.0) -> None:
        """Set the probability of loss, the delay, and its maximum random addition, which reorders frames [s]."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"loss": loss, "delay_s": delay_s, "jitter_s": jitter_s}) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=5.0)


@contextmanager
def network_link() -> Iterator[NetworkLink]:
    """Two namespaces and a link without loss; this thread is in the first of them for the duration of the context."""
    if os.geteuid() != 0:
        raise AssertionError("network namespaces need root")
    names = [f"vla{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        link = NetworkLink(*names)
        try:
            with in_namespace(names[0]):
                yield link
        finally:
            link.close()
    finally:
        for name in names:
            if Path(f"/run/netns/{name}").exists():
                subprocess.run(["ip", "netns", "delete", name], check=False)


if __name__ == "__main__":
    ends = (create_interface(sys.argv[1], "10.77.0.1"), create_interface(sys.argv[2], "10.77.0.2"))
    print("ready", flush=True)
    forward_frames(ends)
