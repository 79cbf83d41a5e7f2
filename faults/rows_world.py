"""Faults of what surrounds the processes: clocks, the network, the machine, the disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

from acts import asks, both, kill
from fault import STEADY, Act, Fault
from scene import Scene, Setup

from vla_ros.nodes.common import topics

EVERY = ("supervisor_node", "planner_node", "sim_node")


def clock(seconds: float, *nodes: str) -> Act:
    """The system clock of these processes is set so far ahead, while they run."""
    return lambda scene: [scene.set_clock(node, seconds) for node in nodes]


def wire(loss: float = 0.0, delay_s: float = 0.0, jitter_s: float = 0.0) -> Act:
    """From now on the network between the simulator and everything else is so bad."""

    def begin(scene: Scene) -> None:
        assert scene.wire is not None
        scene.wire.quality(loss, delay_s, jitter_s)

    return begin


def load(scene: Scene) -> None:
    """Twice as many busy processes as there are cores, of ordinary priority."""
    for _ in range(2 * (os.cpu_count() or 1)):
        scene.busy.append(subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=ordinary))


def ordinary() -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def unload(scene: Scene) -> None:
    for process in scene.busy:
        process.kill()


def fill(scene: Scene) -> None:
    """Write until nothing more fits on the disk that every process writes to."""
    with (scene.processes.folder / "filling").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


SUPERVISOR = Setup(shifty=("supervisor_node",))
OTHERS = Setup(shifty=("planner_node", "sim_node"))
APART, DISK = Setup(apart=True), Setup(small_disk=True)
SET = "the system clock was set"
GOOD = wire()

FAULTS = (
    *(
        Fault(
            f"supervisor's system clock set {how}", clock(by, "supervisor_node"), "stopped", 0.5, SET, setup=SUPERVISOR
        )
        for how, by in (("1 s ahead", 1.0), ("1 s back", -1.0), ("1 h ahead", 3600.0), ("1 h back", -3600.0))
    ),
    Fault("every other system clock set 1 s ahead", clock(1.0, *EVERY[1:]), **STEADY, setup=OTHERS),
    Fault("every other system clock set 1 h back", clock(-3600.0, *EVERY[1:]), **STEADY, setup=OTHERS),
    Fault(
        "supervisor's system clock set 1 h back, and an emergency stop asked for",
        both(clock(-3600.0, "supervisor_node"), asks(topics.ESTOP)),
        "estopped",
        0.5,
        setup=SUPERVISOR,
    ),
    Fault("network: cut", wire(loss=1.0), "stopped", 0.5, "no joint state", GOOD, setup=APART),
    Fault("network: a tenth lost", wire(loss=0.1), **STEADY, end=GOOD, setup=APART),
    Fault("network: 0.05 s late", wire(delay_s=0.05), **STEADY, end=GOOD, setup=APART),
    Fault("network: 0 to 0.05 s late, reordered", wire(jitter_s=0.05), **STEADY, end=GOOD, setup=APART),
    Fault("network: 0.7 s late", wire(delay_s=0.7), "stopped", 1.0, "", GOOD, setup=APART),
    Fault(
        "network: a tenth lost, 0.02 to 0.06 s late",
        wire(loss=0.1, delay_s=0.02, jitter_s=0.04),
        **STEADY,
        end=GOOD,
        setup=APART,
    ),
    Fault(
        "network: cut, then an emergency stop asked for",
        both(wire(loss=1.0), asks(topics.ESTOP)),
        "estopped",
        0.3,
        "asked for",
        GOOD,
        setup=APART,
    ),
    Fault("machine: two busy processes per core", load, **STEADY, end=unload, setup=Setup(prompt=True)),
    Fault("disk full", fill, **STEADY, setup=DISK),
    Fault(
        "disk full, then the supervisor asked to end",
        both(fill, kill("supervisor_node", 15)),
        "stopped",
        0.2,
        "asked to end",
        setup=DISK,
    ),
)
