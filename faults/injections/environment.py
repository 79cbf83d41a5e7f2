"""Faults of what surrounds the processes: clocks, network, processor load, disk, other publishers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

from trajectory_msgs.msg import JointTrajectory

from faults.fault import Injection
from faults.scene import Scene
from vla_ros.nodes.common import topics


def set_clock(seconds: float, *nodes: str) -> Injection:
    """Set the system clock of running processes ahead of the true one by `seconds` [s]."""
    return lambda scene: [scene.set_clock(node, seconds) for node in nodes]


def network(loss: float = 0.0, delay_s: float = 0.0, jitter_s: float = 0.0) -> Injection:
    """Set the quality of the network link between the simulator and the other processes."""

    def injection(scene: Scene) -> None:
        assert scene.link is not None
        scene.link.set_quality(loss, delay_s, jitter_s)

    return injection


def load_processor(scene: Scene) -> None:
    """Start two busy processes per core, at ordinary priority."""
    for _ in range(2 * (os.cpu_count() or 1)):
        command = [sys.executable, "-c", "while True: pass"]
        scene.load_processes.append(subprocess.Popen(command, preexec_fn=_set_ordinary_priority))


def _set_ordinary_priority() -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def unload_processor(scene: Scene) -> None:
    """End the busy processes."""
    for process in scene.load_processes:
        process.kill()


def fill_disk(scene: Scene) -> None:
    """Fill the disk that every process writes to."""
    with (scene.processes.folder / "filling").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def add_command_publisher(scene: Scene) -> None:
    """Advertise the robot's command topic a second time."""
    scene.client.add_command_publisher(topics.ROBOT_COMMAND)


def add_trajectory_publisher(scene: Scene) -> None:
    """Advertise the trajectory controller's topic a second time."""
    scene.client.command_publisher = scene.client.node.create_publisher(JointTrajectory, topics.ROBOT_TRAJECTORY, 10)


def remove_publisher(scene: Scene) -> None:
    """Remove the second publisher."""
    scene.client.node.destroy_publisher(scene.client.command_publisher)
