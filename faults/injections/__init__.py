"""Injections by subject, and how to combine them.

An injection is a function of the scene: `Fault.inject` and `Fault.remove` call it.
"""

from __future__ import annotations

from faults.fault import Injection
from faults.scene import Scene


def all_of(*injections: Injection) -> Injection:
    """Run several injections, in this order."""
    return lambda scene: [injection(scene) for injection in injections]


def wait(seconds: float) -> Injection:
    """Do nothing for some time [s]; the scene keeps running."""
    return lambda scene: scene.client.wait(seconds)


def for_a_time(inject: Injection, remove: Injection, seconds: float) -> Injection:
    """Inject a fault and remove it after `seconds` [s]."""

    def injection(scene: Scene) -> None:
        inject(scene)
        scene.client.wait(seconds)
        remove(scene)

    return injection
