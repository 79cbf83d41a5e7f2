"""Records the commands, plans and chunks of a run and checks every command against the limits; no ROS.

The recorder is independent of planner and supervisor: it receives every command and its stamped copy, checks that both
streams are equal, and differentiates the copies by their stamps. Every command is checked; only the newest are kept.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.limit_monitor import QUANTITIES, LimitMonitor
from vla_ros.core.records import Array, Chunk
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.evaluation.metrics import GRIPPERS, STEP_S, chunk_jerk
from vla_ros.evaluation.stream_comparison import StreamComparison

PART_SIZE = 5_000
"""Number of commands that are checked together: ten seconds at 500 Hz."""
MAX_PARTS = 48
"""Number of parts that are kept; older commands are dropped after the check."""
MAX_WAYPOINTS = 400
"""The jerk of a chunk with more waypoints of `STEP_S` is not computed."""


class RunRecorder:
    """Collects the messages of one run.

    Attributes:
        chunks: Number of chunks received, malformed ones included; the caller counts.
        malformed_plans: Number of active plans that could not be decoded; the caller counts.
        malformed_commands: Number of commands or copies with the wrong joints; the caller counts.
    """

    def __init__(self, limits: Limits) -> None:
        """Start without messages."""
        self._limits = limits
        joints = len(limits.joints)
        self._arm = [k for k, name in enumerate(limits.joints) if name not in GRIPPERS]
        self._monitor, self._comparison = LimitMonitor(limits), StreamComparison(joints)
        self._commands, self._copies, self._stamps = array("d"), array("d"), array("q")
        self._parts: deque[tuple[npt.NDArray[np.int64], Array]] = deque(maxlen=MAX_PARTS)
        self._increasing = True
        self._plan: Plan | None = None
        self._plan_starts = array("q")
        self._uncommanded: deque[tuple[int, int]] = deque()
        self._captures, self._capture_to_command = array("q"), array("q")
        self._chunk_times, self._chunk_jerks = array("q"), array("d")
        self._discontinuity = np.zeros(3)
        self.chunks = self.malformed_plans = self.malformed_commands = 0

    def add_command(self, positions: Array) -> None:
        """Record a command of the robot's topic, shape (J,) [rad]."""
        self._commands.extend(positions)

    def add_copy(self, stamp_ns: int, positions: Array) -> None:
        """Record the stamped copy of a command, shape (J,) [rad]."""
        self._stamps.append(stamp_ns)
        self._copies.extend(positions)

    def add_plan(self, plan: Plan, capture_ns: int | None) -> None:
        """Record a new active plan.

        Args:
            plan: In the order of the limits.
            capture_ns: Capture time of the observation that it follows from [ns]; None if unknown.
        """
        previous = self._plan
        if previous is not None and capture_ns and previous.start_ns <= plan.start_ns:
            states = zip(previous.at(plan.start_ns), plan.at(plan.start_ns), strict=True)
            self._discontinuity = np.maximum(self._discontinuity, [np.abs(b - a).max() for a, b in states])
        self._plan = plan
        self._plan_starts.append(plan.start_ns)
        if capture_ns:
            self._uncommanded.append((plan.start_ns, capture_ns))

    def add_chunk(self, chunk: Chunk, received_ns: int) -> None:
        """Record the time of a chunk, and its maximum ratio of jerk to limit; grippers are excluded."""
        jerk = np.full(len(self._limits.joints), np.nan)
        if chunk.offsets_s[-1] <= MAX_WAYPOINTS * STEP_S:  # a curve may last for years
            with np.errstate(over="ignore", invalid="ignore"):
                jerk = chunk_jerk(chunk.as_waypoints(STEP_S)) / self._limits.jerk
        self._chunk_times.append(received_ns)
        self._chunk_jerks.append(float(jerk[self._arm].max(initial=0.0)))

    def check_full_part(self) -> None:
        """Check the commands recorded since the last check if there are at least `PART_SIZE`."""
        if len(self._stamps) >= PART_SIZE:
            self.check()

    def check(self) -> None:
        """Check the commands recorded since the last check."""
        joints = len(self._limits.joints)
        stamps, copies = np.array(self._stamps), np.array(self._copies).reshape(-1, joints)
        before = self._parts[-1][0][-1:] if self._parts else stamps[:0]
        self._increasing &= bool((np.diff(np.concatenate([before, stamps])) > 0).all())
        self._monitor.add(stamps, copies)
        self._comparison.add(copies, np.array(self._commands).reshape(-1, joints))
        self._measure_latency(stamps)
        if len(stamps):
            self._parts.append((stamps, copies))
        self._commands, self._copies, self._stamps = array("d"), array("d"), array("q")

    def _measure_latency(self, stamps: npt.NDArray[np.int64]) -> None:
        """Measure the time from the capture of each plan's observation to the first command on the plan [ns]."""
        while self._uncommanded and len(stamps) and self._uncommanded[0][0] <= stamps[-1]:
            start, capture = self._uncommanded.popleft()
            self._captures.append(capture)
            self._capture_to_command.append(int(stamps[np.searchsorted(stamps, start)]) - capture)

    def arrays(self) -> dict[str, Any]:
        """The newest commands, and times and jerk of all plans and chunks, for `commands.npz`."""
        empty = (np.zeros(0, dtype=np.int64), np.zeros((0, len(self._limits.joints))))
        stamps, copies = (np.concatenate(part) for part in zip(*(self._parts or [empty]), strict=True))
        return {
            "stamps_ns": stamps,
            "positions": copies,
            "handovers_ns": np.array(self._plan_starts),
            "captures_ns": np.array(self._captures),
            "capture_to_command_ns": np.array(self._capture_to_command),
            "chunks_ns": np.array(self._chunk_times),
            "chunk_jerk": np.array(self._chunk_jerks),
            "step_s": STEP_S,
        }

    def summary(self) -> dict[str, Any]:
        """Counts and results of all checks, for `observer.json`; call it once, after the last `check`."""
        report = self._monitor.report()
        consistent = self._comparison.match() and self._increasing and not self.malformed_commands
        return {
            "samples": report.samples,
            "gaps": report.gaps,
            "violations": report.violations,
            "peak_ratio": report.peak_ratio,
            "topics_agree": consistent,
            "malformed_commands": self.malformed_commands,
            "lost": abs(self._comparison.copies - self._comparison.commands),
            "switch_discontinuity": dict(zip(QUANTITIES, self._discontinuity.tolist(), strict=False)),
            "plans": len(self._plan_starts),
            "chunks": self.chunks,
            "malformed_plans": self.malformed_plans,
        }
