"""The supervisor: the one thing that speaks to the robot, and only what it can prove.

It holds the motions permitted so far and follows the newest that has begun. Every check is written as
"permit if inside", so that a NaN is never inside. Time is an argument; nothing here reads a clock, and an
instant earlier than one already seen counts as that one: what was commanded is never taken back.

What may pass stands in `gate.py`, what is watched in `watch.py`, what a fault does in `faults.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from vla_ros.core.records import NS, Array, JointState, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Motion, Plan
from vla_ros.safety.arming import Answer, pose_to_arm_in
from vla_ros.safety.clearance import Passage, Space
from vla_ros.safety.fault_rules import Action, Fault
from vla_ros.safety.gate import Command, may_be_sent, proved, splice, timely
from vla_ros.safety.monitors import Watch, WatchConfig
from vla_ros.safety.remaining_trajectory import ahead
from vla_ros.safety.speed_scaling import Speed, SpeedConfig
from vla_ros.safety.state_machine import Event, Mode, follow
from vla_ros.safety.stopping import Brake, emergency, path_stop


@dataclass(frozen=True)
class SupervisorConfig(WatchConfig, SpeedConfig):
    """Thresholds, beside those of the watchdogs and of the speed scale.

    Attributes:
        handover_tolerance: Largest step of p, v or a permitted between plans [rad, rad/s, rad/s^2].
        plan_late_s: How long after its start a plan may still arrive [s].
        plan_early_s: How far ahead a plan may start [s].
        tracking: Largest distance between measured and commanded position when armed [rad].
        largest_step: Farthest a command may lie from the one before it; only a stalled loop gets there [rad].
        stall_s: Longest time between two commands while the arm moves [s].
    """

    handover_tolerance: float = 1e-9
    plan_late_s: float = 0.0
    plan_early_s: float = 1.0
    tracking: float = 0.2
    largest_step: float = 0.1
    stall_s: float = 0.3

    def __post_init__(self) -> None:
        """Check every value."""
        SpeedConfig.__post_init__(self)
        WatchConfig.__post_init__(self)  # of every field of a subclass, too


COMMANDED = (Mode.RUNNING, Mode.STOPPING, Mode.STOPPED)


class Supervisor:
    """Permits plans, follows them, stops; one per robot."""

    def __init__(self, limits: Limits, config: SupervisorConfig | None = None, space: Space | None = None) -> None:
        """Start inactive, with nothing permitted; without a space there is nothing to keep clear of."""
        self.limits, self.space = limits, space or Space()
        self.config = config or SupervisorConfig()
        self.mode = Mode.INACTIVE
        self.reason = "no joint state yet"
        self.refused: Counter[str] = Counter()
        self.faulted: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.accepted = 0
        self.watch = Watch(limits, self.config)
        self.speed = Speed(self.config)
        self.handover_jump = np.zeros(3)
        self._motions: list[Motion] = []
        self._seen_ns: int | None = None
        self._last: Command | None = None

    # -- what comes in ---------------------------------------------------------------------------

    def joint_state(self, state: JointState, now_ns: int) -> Refusal | None:
        """Take a measurement; one of other joints, or of an arm that leapt, is refused and does not count."""
        commanded = self._last.state.position if self._last and self.mode in COMMANDED else None
        refusal = self._refuse(self.watch.joint_state(state, self._forward(now_ns), commanded))
        self.speed.strain("tracking", self.watch.strain)
        return refusal

    def plan(
        self, plan: Plan, now_ns: int, capture_ns: int | None = None, passage: Passage | None = None
    ) -> Refusal | None:
        """Permit a plan, or say why not; a refused plan changes nothing.

        Reasons: "not_running", "joints", "late", "early", "handover", those of `certify`, "space", "space_unproved".

        Args:
            plan: The plan.
            now_ns: The time [ns].
            capture_ns: Capture time of the picture it answers, where it is known [ns].
            passage: What came of looking along it in `space`, if that was done before.
        """
        now_ns = self._forward(now_ns)
        refusal = self._refuse(self.fits(plan, now_ns) or proved(plan, self.limits) or self.space.judge(plan, passage))
        latency = None if capture_ns is None else (plan.start_ns - capture_ns) / NS
        self.speed.plan(refusal is not None, latency)
        if refusal:
            return refusal
        self.handover_jump = np.maximum(self.handover_jump, self._jump(plan))
        self._motions = [m for m in self._motions if m.start_ns < plan.start_ns] + [plan]
        self.accepted += 1
        self.watch.plan(now_ns)
        self.speed.strain("space", self.space.nearness)
        return None

    def fits(self, plan: Plan, now_ns: int) -> Refusal | None:
        """What speaks against taking a plan now, whatever it does then; nothing is changed by asking."""
        if self.mode is not Mode.RUNNING:
            return Refusal("not_running", f"plans are permitted while running; the state is {self.mode.value}.")
        config = self.config
        untimely = timely(plan, self.limits, now_ns, self._last, config.plan_late_s, config.plan_early_s)
        if untimely:
            return untimely
        jump = self._jump(plan)
        if not (jump <= config.handover_tolerance).all():
            return Refusal(
                "handover",
                f"the plan starts {jump[0]:.2e} rad, {jump[1]:.2e} rad/s, {jump[2]:.2e} rad/s^2 "
                "from the motion in force.",
            )
        return None

    # -- what an operator asks -------------------------------------------------------------------

    def arm(self, now_ns: int) -> Answer:
        """Begin to command, at rest in the pose the arm is in; nothing moves by it."""
        now_ns = self._forward(now_ns)
        self._heed(now_ns)
        if self.mode not in (Mode.READY, Mode.STOPPED):
            return Answer(False, f"cannot arm: the state is {self.mode.value} ({self.reason}).")
        pose = pose_to_arm_in(self.limits, self.watch, self.faults, self._last, self.config.tracking)
        if isinstance(pose, str):
            return Answer(False, f"cannot arm: {pose}.")
        self._motions = [Plan.hold(self.limits.joints, pose, now_ns)]
        self.watch.rest(None)
        self.watch.plan(now_ns)
        self.speed.begin(now_ns)
        self.space.begin(pose)
        self._become(Event.ARM, "armed")
        return Answer(True, "armed, holding still.")

    def stop(self, now_ns: int, reason: str = "asked to stop") -> Answer:
        """Slow to rest along the path and hold there (category 2)."""
        if self.mode is Mode.RUNNING:
            self._begin_stop(Event.STOP, self._forward(now_ns), reason)
        return Answer(True, f"{self.mode.value}.")

    def estop(self, now_ns: int, reason: str = "emergency stop asked for") -> Answer:
        """Come to rest by the quickest stop that is proved, then command nothing more (category 1); latched."""
        now_ns = self._forward(now_ns)
        if self.mode is not Mode.ESTOPPED:
            if self.mode in COMMANDED:
                self._follow_to_rest(emergency(self._motion_at(now_ns), now_ns, self.limits, self._clear))
            self._become(Event.ESTOP, reason)
        return Answer(True, "estopped, latched.")

    def reset(self, now_ns: int) -> Answer:
        """Leave stopped or estopped, once at rest; never moves, and arming is a separate act."""
        if self.mode is Mode.ESTOPPED and self._motions:
            return Answer(False, "cannot reset: not at rest yet.")
        present = next((f for f in self.faults if f.rule.action is Action.ESTOP), None)
        if self.mode is Mode.ESTOPPED and present:
            return Answer(False, f"cannot reset: {present.detail}.")
        if self.mode not in (Mode.STOPPED, Mode.ESTOPPED):
            return Answer(False, f"nothing to reset: the state is {self.mode.value}.")
        self._become(Event.RESET, "reset")
        self._motions, self._last = [], None
        self.watch.rest(None)
        self._heed(self._forward(now_ns))
        return Answer(True, f"{self.mode.value}; arm to go on.")

    # -- what goes out ---------------------------------------------------------------------------

    def tick(self, now_ns: int) -> Command | None:
        """The command for this instant, or None while nothing may be commanded."""
        now_ns = self._forward(now_ns)
        self._mind_the_gap(now_ns)
        self._heed(now_ns)
        if not self._motions:
            return None
        motion = self._motion_at(now_ns)
        if self._motions[0] is not motion:
            self._motions = self._motions[self._motions.index(motion) :]
        command = Command(now_ns, motion.at(now_ns))
        if not may_be_sent(command, self._last, self.limits):
            self.faulted["command"] += 1
            self._motions = []
            self._become(Event.ESTOP, "a command outside what may be sent was held back")
            return None
        self._last = command
        if now_ns >= motion.end_ns:
            self._rested(now_ns)
        return self._last

    @property
    def motions(self) -> tuple[Motion, ...]:
        """What is followed, and what follows it: the first has begun, the last ends at rest; () for nothing."""
        return tuple(self._motions)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is commanded to move, now or later."""
        return not self._motions or self.mode is Mode.STOPPED

    def in_force(self) -> Plan | None:
        """The newest plan permitted; None unless running."""
        if self.mode is not Mode.RUNNING or not isinstance(self._motions[-1], Plan):
            return None
        return self._motions[-1]

    # -- inside ----------------------------------------------------------------------------------

    def _forward(self, now_ns: int) -> int:
        self._seen_ns = now_ns if self._seen_ns is None else max(self._seen_ns, now_ns)
        return self._seen_ns

    def _motion_at(self, t_ns: int, *, pending: bool = True) -> Motion:
        """The newest motion that has begun at `t_ns`; without `pending`, one that begins then does not count."""
        last = t_ns if pending else t_ns - 1
        return next((m for m in reversed(self._motions) if m.start_ns <= last), self._motions[0])

    def _jump(self, plan: Plan) -> Array:
        return splice(plan, self._motion_at(plan.start_ns, pending=False).at(plan.start_ns))

    def _heed(self, now_ns: int) -> None:
        """Do what the most severe of the faults demands; `faults.py` has the table."""
        before, self.faults = self.faults, self.watch.faults(now_ns, running=self.mode is Mode.RUNNING)
        known = {fault.name for fault in before}
        self.faulted.update(fault.name for fault in self.faults if fault.name not in known)
        worst = self.faults[0] if self.faults else None
        if worst is None or worst.rule.action is Action.WARN:
            self._become(Event.FRESH, "inputs are fresh")
        elif worst.rule.action is Action.ESTOP:
            self.estop(now_ns, worst.detail)
        elif self.mode is Mode.RUNNING:
            self._begin_stop(Event.LOST, now_ns, worst.detail)
        else:
            self._become(Event.LOST, worst.detail)
            if self.mode is Mode.INACTIVE and (not before or worst.name != before[0].name):
                self.reason = worst.detail

    def _mind_the_gap(self, now_ns: int) -> None:
        """A stall in mid-motion is a stop, from the last command if the curve has run far ahead of it: no jump."""
        if self._last is None or not self._motions:
            return
        motion, held = self._motion_at(now_ns), self._last.state.position
        near = (np.abs(motion.at(now_ns).position - held) <= self.config.largest_step).all()
        stood_s = (now_ns - self._last.stamp_ns) / NS
        if near and (stood_s <= self.config.stall_s or np.array_equal(motion.at(motion.end_ns).position, held)):
            return
        self.faulted["loop"] += 1
        reason = f"the command loop stood still for {stood_s:.3f} s"
        if near:
            self.stop(now_ns, reason)
            return
        self._follow_to_rest(Plan.hold(self.limits.joints, held, now_ns))
        self._become(Event.STOP, reason)
        self._become(Event.REST, reason)

    def _begin_stop(self, event: Event, now_ns: int, reason: str) -> None:
        motion = self._motion_at(now_ns)
        self._follow_to_rest(path_stop(motion, now_ns, self.limits) if isinstance(motion, Plan) else motion)
        self._become(event, reason)

    def _clear(self, brake: Brake) -> bool:
        return self.space.clear(ahead([brake], self.limits.joints, brake.start_ns))

    def _follow_to_rest(self, motion: Motion) -> None:
        self._motions = [motion]
        self.watch.rest(motion.end_ns)

    def _rested(self, now_ns: int) -> None:
        if self.mode is Mode.STOPPING:
            pose = self._motion_at(now_ns).at(now_ns).position
            self._motions = [Plan.hold(self.limits.joints, pose, now_ns)]
            self._become(Event.REST, self.reason)
        elif self.mode is Mode.ESTOPPED:
            self._motions = []

    def _become(self, event: Event, reason: str) -> None:
        mode = follow(self.mode, event)
        if mode is not self.mode:
            self.mode, self.reason = mode, reason

    def _refuse(self, refusal: Refusal | None) -> Refusal | None:
        if refusal:
            self.refused[refusal.reason] += 1
        return refusal
