"""Fuzzes planner and supervisor without ROS: random chunks, plans and sensor data with injected faults.

Time is simulated and all randomness is seeded, so that a run is the same on every machine. A fault changes for a random
time what one part of the system passes to another: chunks, plans, joint states, the emergency button, publishers of the
robot's topic, the operator, the system clock, the command loop.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import RecordError
from vla_ros.core.limit_monitor import QUANTITIES, check_limits
from vla_ros.core.records import NS, Array, Chunk, JointState, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.gate import Command
from vla_ros.safety.monitors import MonitorConfig
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor, SupervisorConfig

MS = NS // 1000
TICK_NS, JOINTS_NS, CHUNK_NS, STATUS_NS, OPERATOR_NS = 2 * MS, 10 * MS, 100 * MS, 200 * MS, NS // 2
"""Periods of commands, joint states, chunks, polled monitors, and operator actions [ns]."""
STALL_NS = 20 * MS
"""A gap between commands from which on the loop counts as stalled; a new stretch of commands begins there [ns]."""
REST_NS = 4 * NS
"""Maximum time until the arm is at rest without input [ns]."""
STRETCH_SIZE = 30_000
"""Number of commands that are checked together; the last three are checked again with the next stretch."""
START_NS = 1_700_000_000 * NS
"""Time at the start of a run [ns]."""
SERVO_LAG_S = 0.05
"""Time constant of the simulated servos [s]."""
_SUPERVISOR = SupervisorConfig(monitors=MonitorConfig(estop_timeout_s=0.5))


class CommandStream:
    """Splits a stream of commands into stretches without gaps, and checks each.

    Attributes:
        violations: Number of violations by name: "command changed" (another position for the same instant), "step after
            a stall" (larger than `max_step_rad`).
        samples: Number of commands checked.
    """

    def __init__(
        self, max_step_rad: float, check: Callable[[npt.NDArray[np.int64], Array], None], size: int = STRETCH_SIZE
    ) -> None:
        """Start without commands.

        Args:
            max_step_rad: Maximum step of any joint across a stall [rad].
            check: Called with the stamps (n,) [ns] and positions (n, J) [rad] of every stretch.
            size: Maximum number of commands of a stretch.
        """
        self._max_step_rad, self._check, self._size = max_step_rad, check, size
        self._commands: list[Command] = []
        self.violations: Counter[str] = Counter()
        self.samples = 0

    def add(self, command: Command | None) -> None:
        """Add the result of one tick; None (no command) ends the stretch."""
        if command is None:
            self.end_stretch()
            return
        last = self._commands[-1] if self._commands else None
        if last is not None and command.stamp_ns <= last.stamp_ns:
            self.violations["command changed"] += bool((command.state.position != last.state.position).any())
            return
        if last is not None and command.stamp_ns - last.stamp_ns >= STALL_NS:
            step = np.abs(command.state.position - last.state.position).max()
            self.violations["step after a stall"] += not step <= self._max_step_rad
            self.end_stretch()
        self._commands.append(command)
        if len(self._commands) >= self._size:
            self.end_stretch(keep=3)

    def end_stretch(self, keep: int = 0) -> None:
        """Check the current stretch and begin the next with its last `keep` commands."""
        if not self._commands:
            return
        stamps = np.array([c.stamp_ns for c in self._commands], dtype=np.int64)
        self._check(stamps, np.stack([c.state.position for c in self._commands]))
        self.samples += len(self._commands) - keep
        self._commands = self._commands[len(self._commands) - keep :]


class SimulatedArm:
    """Servos that follow the command with a first-order lag, measured with noise."""

    def __init__(self, limits: Limits, rng: np.random.Generator) -> None:
        """Start at rest in the middle of every range."""
        self.limits, self.rng = limits, rng
        self.position = (limits.lower + limits.upper) / 2
        self.velocity = np.zeros_like(self.position)

    def follow(self, command: Array | None, seconds: float) -> None:
        """Move towards `command`, shape (J,) [rad], for `seconds` [s]; None holds the position."""
        if command is None:
            self.velocity = np.zeros_like(self.position)
            return
        step = (command - self.position) * (1.0 - np.exp(-seconds / SERVO_LAG_S))
        self.position, self.velocity = self.position + step, step / seconds

    def measure(self, stamp_ns: int) -> JointState:
        """The joint state with measurement noise."""
        noise = self.rng.normal(0.0, 5e-4, len(self.position))
        return JointState(stamp_ns, self.limits.joints, self.position + noise, self.velocity)


class Fuzzer:
    """One run with random faults; `run_until` continues it.

    Attributes:
        now: Simulated time [ns].
        violations: Number of violations by name, see `CommandStream`; limits by quantity; "not at rest without input".
        peaks: Maximum ratio to the limit, by quantity.
        modes: Number of ticks in each mode.
        refusal_counts: Number of refusals by reason.
        fault_counts: Number of faults that the monitors detected, by name.
        injected: Number of injected faults by name.
        stalls: Number of stalls of the command loop.
        restarts: Number of supervisors started.
    """

    CHUNK_FAULTS = (
        *("none", "large motion", "late", "swapped", "duplicated", "burst"),
        *("unknown joint", "old stamp", "future stamp", "huge values"),
    )
    PLAN_FAULTS = ("corrupted plan", "replayed plan", "shifted plan", "fast plan")
    JOINT_FAULTS = (
        *("no joint states", "frozen joints", "old joint stamps", "nan", "permuted joints"),
        *("jumping joints", "offset joints", "velocity offset", "degrees", "missing joint"),
    )
    OTHER_FAULTS = (
        *("button", "second publisher", "clock jump", "loop stalls", "no input", "time steps back"),
        "no button heartbeat",
    )

    def __init__(self, limits: Limits, seed: int) -> None:
        """Start at rest, without a fault."""
        self.limits, self.rng = limits, np.random.default_rng(seed)
        self.now, self.drift_ns = START_NS, 0
        self.arm = SimulatedArm(limits, self.rng)
        self.planner = Planner(limits, PlannerConfig())
        self.peaks = dict.fromkeys(QUANTITIES, 0.0)
        self.stalls = self.restarts = 0
        self.modes: Counter[str] = Counter()
        self.refusal_counts: Counter[str] = Counter()
        self.fault_counts: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.delayed_chunks: deque[Chunk] = deque(maxlen=20)
        self.plans: deque[Plan] = deque(maxlen=10)
        self.fault, self.fault_end_ns = "", 0
        self.other_publishers = 0
        self.goal = self.arm.position
        self.due_ns = dict.fromkeys(("joints", "chunk", "status", "operator"), self.now)
        self.start_supervisor()
        self.stream = CommandStream(self.supervisor.config.max_command_step_rad, self._check_limits)
        self.violations = self.stream.violations

    @property
    def samples(self) -> int:
        """Number of commands checked."""
        return self.stream.samples

    def start_supervisor(self) -> None:
        """Start a new supervisor, as after a restart of the process."""
        self.supervisor = Supervisor(self.limits, _SUPERVISOR)
        self.supervisor.refusal_counts, self.supervisor.fault_counts = self.refusal_counts, self.fault_counts
        self.drift_ns = 0
        self.restarts += 1

    def update_fault(self) -> None:
        """Begin a random fault, or end the current one."""
        if self.fault and self.now >= self.fault_end_ns:
            self.fault, self.other_publishers = "", 0
        elif not self.fault and self.rng.random() < 0.03:
            faults = (*self.CHUNK_FAULTS, *self.PLAN_FAULTS, *self.JOINT_FAULTS, *self.OTHER_FAULTS)
            self.fault = str(self.rng.choice(faults))
            self.injected[self.fault] += 1
            self.fault_end_ns = self.now + int(self.rng.uniform(0.05, 6.0) * NS)
            self.frozen = self.arm.measure(self.now)
            if self.fault == "clock jump":
                self.drift_ns = int(self.rng.choice([-3600, -1, 1, 3600])) * NS
            if self.fault == "second publisher":
                self.other_publishers = 1

    def random_chunk(self) -> Chunk:
        """A chunk of up to 6 s that starts at the arm; a random goal and sines of random frequency."""
        count, dt = int(self.rng.integers(1, 60)), float(self.rng.choice([0.02, 1 / 30, 0.1]))
        if self.rng.random() < 0.05:
            self.goal = self.rng.uniform(self.limits.lower, self.limits.upper)
        half = (self.limits.upper - self.limits.lower) / 2
        t = dt * np.arange(1, count + 1)[:, None]
        wave = np.sin(2 * np.pi * self.rng.uniform(0.0, 1.5, len(half)) * t)
        amplitude = 3.0 if self.fault == "large motion" else 0.1
        progress = np.minimum(t / 2.0, 1.0)
        path = self.arm.position + (self.goal - self.arm.position) * progress + amplitude * half * wave
        stamp = self.now - int(self.rng.uniform(0.0, 0.3) * NS)
        return Chunk.from_rate(stamp, self.limits.joints, path, dt)

    def received_chunks(self, chunk: Chunk) -> list[Chunk]:
        """The chunks that the planner receives when `chunk` is sent, changed by the current fault."""
        fault = self.fault
        if fault in ("late", "swapped"):
            self.delayed_chunks.append(chunk)
            if len(self.delayed_chunks) < 2:
                return []
            if fault == "late":
                return [self.delayed_chunks.popleft()]
            return [self.delayed_chunks.pop(), self.delayed_chunks.popleft()]
        if fault in ("none", "no input"):
            return []
        if fault == "duplicated":
            return [chunk, chunk]
        if fault == "burst":
            return [dataclasses.replace(chunk, stamp_ns=chunk.stamp_ns + k) for k in range(10)]
        if fault == "unknown joint":
            return [dataclasses.replace(chunk, joints=(*chunk.joints[:-1], "jaw"))]
        if fault in ("old stamp", "future stamp"):
            shift_s = -10 if fault == "old stamp" else 10
            return [dataclasses.replace(chunk, stamp_ns=chunk.stamp_ns + shift_s * NS)]
        if fault == "huge values":
            return [dataclasses.replace(chunk, positions=chunk.positions + 1e9)]
        return [chunk]

    def send_chunk(self) -> None:
        """Send a chunk through the planner to the supervisor."""
        supervisor = self.supervisor
        for chunk in self.received_chunks(self.random_chunk()):
            active_plan = supervisor.active_plan()
            if active_plan is None:
                continue
            scale = supervisor.speed_scaling.scale(self.now)
            plan = self.planner.plan(chunk.time_scaled(scale), active_plan, self.now)
            if isinstance(plan, Refusal):
                self.refusal_counts[f"planner: {plan.reason}"] += 1
                continue
            supervisor.speed_scaling.handover_error(self.planner.handover_error(chunk, active_plan, self.now))
            self.plans.append(plan)
            for received in self.received_plans(plan):
                supervisor.plan(received, self.now, chunk.stamp_ns)

    def received_plans(self, plan: Plan) -> list[Plan]:
        """The plans that the supervisor receives when `plan` is sent, changed by the current fault."""
        if self.fault == "corrupted plan":
            error = np.zeros_like(plan.positions)
            error[self.rng.integers(len(error)), self.rng.integers(error.shape[1])] = 10.0 ** self.rng.uniform(-9, 2)
            field = str(self.rng.choice(["positions", "velocities", "accelerations"]))
            return [dataclasses.replace(plan, **{field: getattr(plan, field) + error}), plan]
        if self.fault == "replayed plan":
            return [self.plans[int(self.rng.integers(len(self.plans)))]]
        if self.fault == "shifted plan":
            return [dataclasses.replace(plan, start_ns=plan.start_ns + int(self.rng.uniform(-0.1, 0.5) * NS)), plan]
        if self.fault == "fast plan":
            return [dataclasses.replace(plan, offsets_ns=plan.offsets_ns // 2)]
        return [plan]

    def send_joint_state(self) -> None:
        """Send a joint state, changed by the current fault."""
        fault, state = self.fault, self.arm.measure(self.now)
        changes: dict[str, Callable[[], JointState]] = {
            "frozen joints": lambda: dataclasses.replace(self.frozen, stamp_ns=self.now),
            "old joint stamps": lambda: dataclasses.replace(state, stamp_ns=self.frozen.stamp_ns - NS // 2),
            "nan": lambda: dataclasses.replace(state, positions=state.positions * np.nan),
            "permuted joints": lambda: dataclasses.replace(state, joints=(*state.joints[1:], state.joints[0])),
            "jumping joints": lambda: dataclasses.replace(
                state, positions=state.positions + 0.5 * self.rng.integers(0, 2)
            ),
            "offset joints": lambda: dataclasses.replace(state, positions=state.positions + 0.8),
            "velocity offset": lambda: dataclasses.replace(state, velocities=self.arm.velocity + 50.0),
            "degrees": lambda: dataclasses.replace(state, positions=np.degrees(state.positions)),
            "missing joint": lambda: JointState(self.now, state.joints[:-1], state.positions[:-1]),
        }
        if fault in ("no joint states", "no input"):
            return
        try:
            self.supervisor.joint_state(changes[fault]() if fault in changes else state, self.now)
        except RecordError:
            self.refusal_counts["joint state: invalid record"] += 1

    def update_monitors(self) -> None:
        """Update the polled monitors, as the node does, and send the heartbeat of the emergency button."""
        monitors = self.supervisor.monitors
        monitors.clock_drift(self.drift_ns)
        monitors.other_publishers(self.other_publishers)
        if self.fault != "no button heartbeat":
            monitors.estop_input(self.fault == "button", self.now)
        self.update_fault()

    def operate(self) -> None:
        """Act as the operator: arm, reset, and rarely stop or change the speed."""
        supervisor, draw = self.supervisor, self.rng.random()
        if "clock_jump" in {f.name for f in supervisor.faults} and supervisor.at_rest:
            self.start_supervisor()
            self.stream.end_stretch()
        elif supervisor.mode is Mode.ESTOPPED or (supervisor.mode is Mode.STOPPED and draw < 0.3):
            if supervisor.reset(self.now).success:
                self.stream.end_stretch()  # the next arming holds the measured, not the commanded pose
        elif supervisor.mode in (Mode.READY, Mode.STOPPED):
            supervisor.arm(self.now)
        elif draw < 0.01:
            supervisor.stop(self.now)
        elif draw < 0.02:
            supervisor.estop(self.now)
        elif draw < 0.04:
            supervisor.speed_scaling.request(float(self.rng.choice([0.1, 0.5, 1.0, 2.0])))

    def run_until(self, end_ns: int) -> None:
        """Continue until simulated time `end_ns` [ns]; every activity has its own period."""
        activities = (
            ("joints", JOINTS_NS, self.send_joint_state),
            ("chunk", CHUNK_NS, self.send_chunk),
            ("status", STATUS_NS, self.update_monitors),
            ("operator", OPERATOR_NS, self.operate),
        )
        while self.now < end_ns:
            step = TICK_NS
            if self.fault == "loop stalls" and self.rng.random() < 0.01:
                step = int(self.rng.uniform(STALL_NS, 0.6 * NS))
                self.stalls += 1
            self.now += step
            self.tick(step)
            for name, period, act in activities:
                if self.now >= self.due_ns[name]:
                    self.due_ns[name] = max(self.due_ns[name] + period, self.now - period)
                    act()
        self.stream.end_stretch()

    def tick(self, step_ns: int) -> None:
        """Take one command, `step_ns` [ns] after the last, and move the arm."""
        steps_back = self.fault == "time steps back" and self.rng.random() < 0.05
        back_ns = int(self.rng.integers(0, NS)) if steps_back else 0
        command = self.supervisor.tick(self.now - back_ns)
        self.modes[self.supervisor.mode.value] += 1
        self.arm.follow(None if command is None else command.state.position, step_ns / NS)
        self.stream.add(command)

    def _check_limits(self, stamps: npt.NDArray[np.int64], positions: Array) -> None:
        report = check_limits(stamps, positions, self.limits)
        self.violations.update({q: n for q, n in report.violations.items() if n})
        self.peaks = {q: max(self.peaks[q], report.peak_ratio[q]) for q in QUANTITIES}

    def run_without_input(self) -> None:
        """Run for `REST_NS` without any input: the arm must come to rest, and the mode must not be running."""
        for _ in range(REST_NS // TICK_NS):
            self.now += TICK_NS
            self.tick(TICK_NS)
        command = self.supervisor.tick(self.now)
        moving = command is not None and bool(command.state.velocity.any())
        self.violations["not at rest without input"] += moving or self.supervisor.mode is Mode.RUNNING
        self.due_ns = {name: max(due, self.now) for name, due in self.due_ns.items()}
