"""Faults of whole processes: killed, stopped and continued."""

from __future__ import annotations

import signal

from faults.fault import Injection
from faults.scene import Scene


def kill(node: str, number: int = signal.SIGKILL) -> Injection:
    """Send a signal to a node's process."""
    return lambda scene: scene.signal(node, number)


def stall(node: str, seconds: float) -> Injection:
    """Stop a node's process for `seconds` [s], then continue it."""

    def injection(scene: Scene) -> None:
        scene.signal(node, signal.SIGSTOP)
        scene.client.wait(seconds)
        scene.signal(node, signal.SIGCONT)

    return injection
