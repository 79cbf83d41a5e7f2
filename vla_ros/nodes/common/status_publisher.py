"""What the supervisor's node says of itself: its state, diagnostics with counters, the log at the end."""

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
from vla_ros.system.wake_latency import Lateness

LATEST = 100
"""So many of the newest wake-ups back the greatest lateness is said."""
LEVELS = {
    Mode.STOPPING: DiagnosticStatus.WARN,
    Mode.STOPPED: DiagnosticStatus.WARN,
    Mode.ESTOPPED: DiagnosticStatus.ERROR,
}


class Telling:
    """Publishes state and diagnostics of one supervisor, and keeps how late its loop was."""

    def __init__(self, node: Node, core: Supervisor, time: RosTime, robot: str) -> None:
        """Advertise; `robot` is the name of the robot."""
        self._core, self._time, self._robot = core, time, robot
        self._shown: tuple[Mode, str] | None = None
        self.late = Lateness()
        """How late the loop woke up, each time [ns]."""
        self._state_pub = node.create_publisher(DiagnosticStatus, topics.STATE, topics.LATCHED)
        self._diagnostics_pub = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.RELIABLE)

    @property
    def outdated(self) -> bool:
        """Whether mode or reason are others than were said last."""
        return (self._core.mode, self._core.reason) != self._shown

    def say(self, speed: float) -> None:
        """Publish state and diagnostics; `speed` is the speed scale said last."""
        core = self._core
        self._shown = (core.mode, core.reason)
        counters: dict[str, object] = {
            "speed": speed,
            "tracking_error": f"{core.watch.tracking_error:.3f}",
            "faults": "; ".join(fault.detail for fault in core.faults),
            "accepted": core.accepted,
            **{f"refused.{k}": v for k, v in core.refused.items()},
            **{f"fault.{k}": v for k, v in core.faulted.items()},
            "late_ms": f"{self.late.newest(LATEST).max(initial=0) / 1e6:.2f}",
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
        np.savez_compressed(folder / "loop.npz", late_ns=self.late.newest(), period_ns=period_ns)
        summary = {
            "rate_hz": rate_hz,
            "scheduling": scheduling,
            "mode": core.mode.value,
            "reason": core.reason,
            "accepted": core.accepted,
            "refused": dict(core.refused),
            "faulted": dict(core.faulted),
            "handover_jump": core.handover_jump.tolist(),
        }
        (folder / "supervisor.json").write_text(json.dumps(summary, indent=1))
