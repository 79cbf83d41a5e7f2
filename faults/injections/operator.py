"""What an operator does: services, the emergency-stop button, the deadman switch."""

from __future__ import annotations

from std_msgs.msg import Bool

from faults.fault import Injection
from faults.injections import joint_states
from faults.scene import Scene
from vla_ros.nodes.common import topics


def request(service: str) -> Injection:
    """Call one of the supervisor's services once."""
    return lambda scene: scene.client.call(service)


STOP, ESTOP, ARM = request(topics.STOP), request(topics.ESTOP), request(topics.ARM)


def request_until_granted(*services: str) -> Injection:
    """Call one service after another, each until it is granted: leads to another state."""

    def injection(scene: Scene) -> None:
        for service in services:
            scene.client.wait_until(lambda service=service: scene.client.call(service).success, service)

    return injection


def reach_inactive(scene: Scene) -> None:
    """From running to inactive: joint states are lost, and the stop is reset."""
    joint_states.LOST(scene)
    scene.client.wait_until(lambda: scene.client.mode == "stopped", "stopped")
    request_until_granted(topics.RESET)(scene)


def press_button(scene: Scene) -> None:
    """Press the emergency-stop button; its heartbeat ends."""
    scene.button_heartbeat = False
    scene.button.publish(Bool(data=True))


def silence_button(scene: Scene) -> None:
    """End the heartbeat of the emergency-stop button without pressing it."""
    scene.button_heartbeat = False


def restore_button(scene: Scene) -> None:
    """Resume the heartbeat of the button, not pressed."""
    scene.button_heartbeat = True


def release_deadman(scene: Scene) -> None:
    """Release the deadman switch; it publishes False."""
    scene.deadman_held = False


def silence_deadman(scene: Scene) -> None:
    """The deadman switch publishes nothing."""
    scene.deadman_held = None


def hold_deadman(scene: Scene) -> None:
    """Hold the deadman switch; it publishes True."""
    scene.deadman_held = True
