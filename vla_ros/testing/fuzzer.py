"""A long random life of the pure core: chunks, plans, an arm that follows, and everything going wrong.

Time is simulated and all randomness is seeded, so an hour is the same hour on every machine. What a fault is
here is a change of what passes between the parts, for a while: the chunks, the plans, the joint states, the
button, the robot's topic, the operator, the system clock, the command loop itself.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from vla_ros.core.errors import RecordError
from vla_ros.core.limit_monitor import QUANTITIES, check_limits
from vla_ros.core.records import NS, Array, Chunk, JointState, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.planning.planner import Planner, PlannerConfig
from vla_ros.safety.gate import Command
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.supervisor import Supervisor, SupervisorConfig

MS = NS // 1000
TICK_NS, JOINTS_NS, CHUNK_NS, STATUS_NS = 2 * MS, 10 * MS, 100 * MS, 200 * MS
"""Between commands, joint states, chunks, and looks at clock and topic [ns]."""
STALL_NS = 20 * MS
"""A command loop that stood still for so long begins a new stretch: the arm has had nothing new meanwhile [ns]."""
REST_NS = 4 * NS
"""No plan takes longer to rest [ns], so silence must have ended there."""
STRETCH = 30_000
"""Commands judged at once; the last few are judged again with the next."""
BEGIN = 1_700_000_000 * NS
LAG_S = 0.05
"""Of the simulated servo [s]."""


class Arm:
    """Servos that follow what was commanded with a lag of the first order, and are measured with noise."""

    def __init__(self, limits: Limits, rng: np.random.Generator) -> None:
        """In the middle of every range."""
        self.limits, self.rng = limits, rng
        self.position = (limits.lower + limits.upper) / 2
        self.velocity = np.zeros_like(self.position)

    def follow(self, command: Array | None, seconds: float) -> None:
        """Move for so long."""
        if command is None:
            self.velocity = np.zeros_like(self.position)
            return
        step = (command - self.position) * (1.0 - np.exp(-seconds / LAG_S))
        self.position, self.velocity = self.position + step, step / seconds

    def measure(self, stamp_ns: int) -> JointState:
        """What its encoders say."""
        noise = self.rng.normal(0.0, 5e-4, len(self.position))
        return JointState(stamp_ns, self.limits.joints, self.position + noise, self.velocity)


class Fuzzer:
    """One life; `live` makes it longer."""

    def __init__(self, limits: Limits, seed: int) -> None:
        """At rest, nothing wrong yet."""
        self.limits, self.rng = limits, np.random.default_rng(seed)
        self.now, self.drift_ns = BEGIN, 0
        self.arm = Arm(limits, self.rng)
        self.planner = Planner(limits, PlannerConfig())
        self.violations: Counter[str] = Counter()
        self.peaks = dict.fromkeys(QUANTITIES, 0.0)
        self.samples = self.stalls = self.silences = self.restarts = 0
        self.modes: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.faulted: Counter[str] = Counter()
        self.wrongs: Counter[str] = Counter()
        self.stream: list[Command] = []
        self.late: deque[Chunk] = deque(maxlen=20)
        self.plans: deque[Plan] = deque(maxlen=10)
        self.wrong, self.wrong_until = "", 0
        self.pressed, self.others = False, 0
        self.goal = self.arm.position
        self.due = dict.fromkeys(("joints", "chunk", "status", "operator"), self.now)
        self.start()

    def start(self) -> None:
        """A supervisor of its own, as after the process was started anew."""
        self.supervisor = Supervisor(self.limits, SupervisorConfig(estop_timeout_s=0.5))
        self.supervisor.refused, self.supervisor.faulted = self.refused, self.faulted
        self.drift_ns = 0
        self.restarts += 1

    # -- what may go wrong --------------------------------------------------------------------------

    CHUNKS = ("none", "wild", "late", "swapped", "twice", "flood", "other", "old", "ahead", "huge")
    PLANS = ("forged", "replayed", "shifted", "fast")
    JOINTS = ("lost", "frozen", "stamps", "nan", "permuted", "leaps", "away", "races", "degrees", "missing")
    REST = ("button", "publisher", "clock", "stall", "quiet", "steps back", "unbuttoned")

    def trouble(self) -> None:
        """Something goes wrong for a while, or is over."""
        if self.wrong and self.now >= self.wrong_until:
            self.wrong, self.pressed, self.others = "", False, 0
        elif not self.wrong and self.rng.random() < 0.03:
            self.wrong = str(self.rng.choice([*self.CHUNKS, *self.PLANS, *self.JOINTS, *self.REST]))
            self.wrongs[self.wrong] += 1
            self.wrong_until = self.now + int(self.rng.uniform(0.05, 6.0) * NS)
            self.frozen = self.arm.measure(self.now)
            if self.wrong == "clock":
                self.drift_ns = int(self.rng.choice([-3600, -1, 1, 3600])) * NS
            if self.wrong == "publisher":
                self.others = 1

    # -- what passes ----------------------------------------------------------------------------------

    def chunk(self) -> Chunk:
        """The next second or two of a motion: mostly from where the arm is, at times nonsense."""
        count, dt = int(self.rng.integers(1, 60)), float(self.rng.choice([0.02, 1 / 30, 0.1]))
        if self.rng.random() < 0.05:
            self.goal = self.rng.uniform(self.limits.lower, self.limits.upper)
        half = (self.limits.upper - self.limits.lower) / 2
        t = dt * np.arange(1, count + 1)[:, None]
        wave = np.sin(2 * np.pi * self.rng.uniform(0.0, 1.5, len(half)) * t)
        size = 3.0 if self.wrong == "wild" else 0.1
        share = np.minimum(t / 2.0, 1.0)
        path = self.arm.position + (self.goal - self.arm.position) * share + size * half * wave
        stamp = self.now - int(self.rng.uniform(0.0, 0.3) * NS)
        return Chunk.from_rate(stamp, self.limits.joints, path, dt)

    def spoilt(self, chunk: Chunk) -> list[Chunk]:
        """What of it arrives."""
        wrong = self.wrong
        if wrong in ("late", "swapped"):
            self.late.append(chunk)
            if len(self.late) < 2:
                return []
            return [self.late.popleft()] if wrong == "late" else [self.late.pop(), self.late.popleft()]
        if wrong in ("none", "quiet"):
            return []
        if wrong == "twice":
            return [chunk, chunk]
        if wrong == "flood":
            return [dataclasses.replace(chunk, stamp_ns=chunk.stamp_ns + k) for k in range(10)]
        if wrong == "other":
            return [dataclasses.replace(chunk, joints=(*chunk.joints[:-1], "jaw"))]
        if wrong in ("old", "ahead"):
            return [dataclasses.replace(chunk, stamp_ns=chunk.stamp_ns + (-10 if wrong == "old" else 10) * NS)]
        if wrong == "huge":
            return [dataclasses.replace(chunk, positions=chunk.positions + 1e9)]
        return [chunk]

    def think(self) -> None:
        """Chunks to plans to the supervisor, and plans that no planner of ours made."""
        supervisor = self.supervisor
        for chunk in self.spoilt(self.chunk()):
            active_plan = supervisor.active_plan()
            if active_plan is None:
                continue
            plan = self.planner.plan(chunk.time_scaled(supervisor.speed_scaling.scale(self.now)), active_plan, self.now)
            if isinstance(plan, Refusal):
                self.refused[f"planner: {plan.reason}"] += 1
                continue
            supervisor.speed_scaling.handover_error(self.planner.handover_error(chunk, active_plan, self.now))
            self.plans.append(plan)
            for each in self.forged(plan):
                supervisor.plan(each, self.now, chunk.stamp_ns)

    def forged(self, plan: Plan) -> list[Plan]:
        """What reaches the supervisor of it."""
        if self.wrong == "forged":
            bump = np.zeros_like(plan.positions)
            bump[self.rng.integers(len(bump)), self.rng.integers(bump.shape[1])] = 10.0 ** self.rng.uniform(-9, 2)
            field = str(self.rng.choice(["positions", "velocities", "accelerations"]))
            return [dataclasses.replace(plan, **{field: getattr(plan, field) + bump}), plan]
        if self.wrong == "replayed":
            return [self.plans[int(self.rng.integers(len(self.plans)))]]
        if self.wrong == "shifted":
            return [dataclasses.replace(plan, start_ns=plan.start_ns + int(self.rng.uniform(-0.1, 0.5) * NS)), plan]
        if self.wrong == "fast":
            return [dataclasses.replace(plan, offsets_ns=plan.offsets_ns // 2)]
        return [plan]

    def sense(self) -> None:
        """A joint state, spoilt if that is what is wrong."""
        wrong, good = self.wrong, self.arm.measure(self.now)
        change: dict[str, Callable[[], JointState]] = {
            "frozen": lambda: dataclasses.replace(self.frozen, stamp_ns=self.now),
            "stamps": lambda: dataclasses.replace(good, stamp_ns=self.frozen.stamp_ns - NS // 2),
            "nan": lambda: dataclasses.replace(good, positions=good.positions * np.nan),
            "permuted": lambda: dataclasses.replace(good, joints=(*good.joints[1:], good.joints[0])),
            "leaps": lambda: dataclasses.replace(good, positions=good.positions + 0.5 * self.rng.integers(0, 2)),
            "away": lambda: dataclasses.replace(good, positions=good.positions + 0.8),
            "races": lambda: dataclasses.replace(good, velocities=good.velocities + 50.0),
            "degrees": lambda: dataclasses.replace(good, positions=np.degrees(good.positions)),
            "missing": lambda: JointState(self.now, good.joints[:-1], good.positions[:-1]),
        }
        if wrong in ("lost", "quiet"):
            return
        try:
            self.supervisor.joint_state(change[wrong]() if wrong in change else good, self.now)
        except RecordError:
            self.refused["joint state: no record"] += 1

    def look_around(self) -> None:
        """What the node looks at five times a second, and the button that says that it is there."""
        monitors = self.supervisor.monitors
        monitors.clock_drift(self.drift_ns)
        monitors.other_publishers(self.others)
        if self.wrong != "unbuttoned":
            monitors.estop_input(self.wrong == "button", self.now)

    def operate(self) -> None:
        """An operator who sets things right again, and now and then stops."""
        supervisor, chance = self.supervisor, self.rng.random()
        if "clock_jump" in {f.name for f in supervisor.faults} and supervisor.at_rest:
            self.start()
            self.cut()
        elif supervisor.mode is Mode.ESTOPPED or (supervisor.mode is Mode.STOPPED and chance < 0.3):
            if supervisor.reset(self.now).success:
                self.cut()  # what is armed next is held where it is measured, not where it was sent
        elif supervisor.mode in (Mode.READY, Mode.STOPPED):
            supervisor.arm(self.now)
        elif chance < 0.01:
            supervisor.stop(self.now)
        elif chance < 0.02:
            supervisor.estop(self.now)
        elif chance < 0.04:
            supervisor.speed_scaling.request(float(self.rng.choice([0.1, 0.5, 1.0, 2.0])))

    # -- time ---------------------------------------------------------------------------------------

    def live(self, until_ns: int) -> None:
        """Go on until then, everything in its own rhythm."""
        acts = (
            ("joints", JOINTS_NS, self.sense),
            ("chunk", CHUNK_NS, self.think),
            ("status", STATUS_NS, self.look_around),
            ("operator", NS // 2, self.operate),
        )
        while self.now < until_ns:
            step = TICK_NS
            if self.wrong == "stall" and self.rng.random() < 0.01:
                step = int(self.rng.uniform(STALL_NS, 0.6 * NS))
                self.stalls += 1
            self.now += step
            self.tick(step)
            for name, period, act in acts:
                if self.now >= self.due[name]:
                    self.due[name] = max(self.due[name] + period, self.now - period)
                    act()
                    if name == "status":
                        self.trouble()
        self.cut()

    def tick(self, step: int) -> None:
        """One command, as the node asks for it."""
        back = int(self.rng.integers(0, NS)) if self.wrong == "steps back" and self.rng.random() < 0.05 else 0
        command = self.supervisor.tick(self.now - back)
        self.modes[self.supervisor.mode.value] += 1
        self.arm.follow(None if command is None else command.state.position, step / NS)
        if command is None:
            self.cut()
            return
        last = self.stream[-1] if self.stream else None
        if last is not None and command.stamp_ns <= last.stamp_ns:
            self.violations["taken back"] += bool((command.state.position != last.state.position).any())
            return
        if last is not None and command.stamp_ns - last.stamp_ns >= STALL_NS:
            apart = np.abs(command.state.position - last.state.position).max()
            self.violations["step after a stall"] += not apart <= self.supervisor.config.max_command_step_rad
            self.cut()
        self.stream.append(command)
        if len(self.stream) >= STRETCH:
            self.cut(keep=3)

    def cut(self, keep: int = 0) -> None:
        """Judge what was sent, and begin a new stretch with the last few commands of it, or none."""
        if not self.stream:
            return
        stamps = np.array([c.stamp_ns for c in self.stream], dtype=np.int64)
        found = check_limits(stamps, np.stack([c.state.position for c in self.stream]), self.limits)
        self.violations.update({q: n for q, n in found.violations.items() if n})
        self.peaks = {q: max(self.peaks[q], found.peak_ratio[q]) for q in QUANTITIES}
        self.samples += len(self.stream) - keep
        self.stream = self.stream[len(self.stream) - keep :]

    def fall_silent(self) -> None:
        """Nobody speaks any more: what is commanded must come to rest, and running must have ended."""
        self.silences += 1
        for _ in range(REST_NS // TICK_NS):
            self.now += TICK_NS
            self.tick(TICK_NS)
        command = self.supervisor.tick(self.now)
        moving = command is not None and bool(command.state.velocity.any())
        self.violations["silence not at rest"] += moving or self.supervisor.mode is Mode.RUNNING
        self.due = {name: max(due, self.now) for name, due in self.due.items()}
