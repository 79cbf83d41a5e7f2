"""Publishes the supervisor's state and diagnostics, and writes its log at the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from vla_ros.core.records import NS
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import to_time
from vla_ros.nodes.common.node_loop import RosTime
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor
from vla_ros.system.wake_latency import WakeLatencyBuffer

LATENCY_WINDOW = 100
"""The published maximum of the wake latency is over this many wake-ups."""
LEVELS = {
    Mode.STOPPING: DiagnosticStatus.WARN,
    Mode.STOPPED: DiagnosticStatus.WARN,
    Mode.ESTOPPED: DiagnosticStatus.ERROR,
}


class StatusPublisher:
    """Publishes state and diagnostics of one supervisor.

    Attributes:
        wake_latency: Wake latency of the command loop [ns].
    """

    def __init__(self, node: Node, core: Supervisor, time: RosTime, robot: str) -> None:
        """Create the publishers; `robot` is the name of the robot."""
        self._core, self._time, self._robot = core, time, robot
        self._published: tuple[Mode, str] | None = None
        self.wake_latency = WakeLatencyBuffer()
        self._state_pub = node.create_publisher(DiagnosticStatus, topics.STATE, topics.LATCHED)
        self._diagnostics_pub = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.RELIABLE)

    @property
    def outdated(self) -> bool:
        """Whether mode or reason changed since the last `publish`."""
        return (self._core.mode, self._core.reason) != self._published

    def publish(self, speed: float) -> None:
        """Publish state and diagnostics; `speed` is the speed scale published last."""
        core = self._core
        self._published = (core.mode, core.reason)
        counters: dict[str, object] = {
            "speed": speed,
            "tracking_error": f"{core.monitors.tracking_error:.3f}",
            "faults": "; ".join(fault.detail for fault in core.faults),
            "accepted": core.accepted,
            **{f"refused.{k}": v for k, v in core.refusal_counts.items()},
            **{f"fault.{k}": v for k, v in core.fault_counts.items()},
            "wake_latency_ms": f"{self.wake_latency.newest(LATENCY_WINDOW).max(initial=0) / 1e6:.2f}",
        }
        values = [KeyValue(key=k, value=str(v)) for k, v in counters.items()]
        status = DiagnosticStatus(
            level=LEVELS.get(core.mode, DiagnosticStatus.WARN if core.faults else DiagnosticStatus.OK),
            name="vla_ros: supervisor",
            message=f"{core.mode.value}: {core.reason}",
            hardware_id=self._robot,
            values=[
                KeyValue(key="mode", value=core.mode.value),
                KeyValue(key="reason", value=core.reason),
                *values,
                KeyValue(key="clock_jump_s", value=f"{self._time.drift_ns() / NS:.3f}"),
            ],
        )
        self._state_pub.publish(status)
        array = DiagnosticArray(status=[status])
        array.header.stamp = to_time(self._time.now_ns())
        self._diagnostics_pub.publish(array)

    def write(self, folder: Path, rate_hz: float, period_ns: int, scheduling: str) -> None:
        """Write `supervisor.json` and `loop.npz`."""
        core = self._core
        np.savez_compressed(folder / "loop.npz", wake_latency_ns=self.wake_latency.newest(), period_ns=period_ns)
        summary = {
            "rate_hz": rate_hz,
            "scheduling": scheduling,
            "mode": core.mode.value,
            "reason": core.reason,
            "accepted": core.accepted,
            "refusals": dict(core.refusal_counts),
            "faults": dict(core.fault_counts),
            "switch_discontinuity": core.switch_discontinuity.tolist(),
        }
        (folder / "supervisor.json").write_text(json.dumps(summary, indent=1))
