"""Two networks with one bad wire between them, for this machine alone; needs root.

Linux's own network emulator (`tc qdisc netem`) is not in every kernel, so the wire is this process: it holds one
end of a virtual network card (TAP) in either network namespace, and passes every Ethernet frame on, or late, or not.

    python wire.py NAMESPACE NAMESPACE

How bad it is comes as lines of JSON on stdin: {"loss": 0.3, "delay_s": 0.1, "jitter_s": 0.05}.
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
LONGEST_FRAME = 65536
CARD = "vla0"
SEED = 7


def enter(namespace: str) -> None:
    """Move this thread, and what it starts from now on, into a network namespace, named by its file."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(handle, 0):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(handle)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """The block, in a named network namespace; then back."""
    home = f"/proc/self/fd/{(handle := os.open('/proc/thread-self/ns/net', os.O_RDONLY))}"
    try:
        enter(f"/run/netns/{namespace}")
        yield
    finally:
        enter(home)
        os.close(handle)


def card(namespace: str, address: str) -> int:
    """A network card in a namespace; its other end, as a file."""
    with inside(namespace):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", CARD.encode(), IFF_TAP | IFF_NO_PI))
    for command in (
        f"addr add {address}/24 dev {CARD}",
        "link set lo up",
        f"link set {CARD} up",
        f"route add 224.0.0.0/4 dev {CARD}",
    ):
        subprocess.run(["ip", "-n", namespace, *command.split()], check=True)
    return tap


def carry(ends: tuple[int, int]) -> None:
    """Pass frames on for ever, as the newest line on stdin says; until stdin ends."""
    quality = {"loss": 0.0, "delay_s": 0.0, "jitter_s": 0.0}
    chance, waiting, count = random.Random(SEED), [], 0
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
                frame = os.read(end, LONGEST_FRAME)
                if chance.random() >= quality["loss"]:
                    late = quality["delay_s"] + chance.uniform(0.0, quality["jitter_s"])
                    count += 1
                    heapq.heappush(waiting, (time.monotonic() + late, count, ends[1 - ends.index(end)], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(waiting)
            os.write(end, frame)


class Wire:
    """The wire as the fault suite sees it: `here` and `there` are its namespaces."""

    def __init__(self, here: str, there: str) -> None:
        """Lay it."""
        self.here, self.there = here, there
        command = [sys.executable, __file__, here, there]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "laid\n":
            raise AssertionError("no wire between two networks: this needs root and /dev/net/tun")

    def quality(self, loss: float = 0.0, delay_s: float = 0.0, jitter_s: float = 0.0) -> None:
        """From now on: the share lost, the delay, and the greatest random addition to it, which reorders."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"loss": loss, "delay_s": delay_s, "jitter_s": jitter_s}) + "\n")
        self._process.stdin.flush()

    def cut(self) -> None:
        """Take it away."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=5.0)


@contextmanager
def wire() -> Iterator[Wire]:
    """Two namespaces and a good wire; this thread is in the first of them meanwhile."""
    if os.geteuid() != 0:
        raise AssertionError("network namespaces need root")
    names = [f"vla{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        laid = Wire(*names)
        try:
            with inside(names[0]):
                yield laid
        finally:
            laid.cut()
    finally:
        for name in names:
            if Path(f"/run/netns/{name}").exists():
                subprocess.run(["ip", "netns", "delete", name], check=False)


if __name__ == "__main__":
    cards = (card(sys.argv[1], "10.77.0.1"), card(sys.argv[2], "10.77.0.2"))
    print("laid", flush=True)
    carry(cards)
