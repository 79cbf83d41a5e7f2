"""The supervisor: accepts plans that are proved safe, executes them, and stops the arm on faults.

It holds the accepted motions and executes the newest one that has started. Every check has the form "permit if
inside", so that NaN is refused. Time is an argument; nothing here reads a clock. A time earlier than the latest one
is replaced by the latest one, so a clock that steps back never repeats or reverts a command.

`gate.py` has the acceptance checks, `monitors.py` the monitors of the inputs, `fault_rules.py` the reaction to faults.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from vla_ros.core.records import NS, Array, JointState, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Motion, Plan
from vla_ros.safety.arming import RequestResult, arming_pose
from vla_ros.safety.clearance import ClearanceChecker, ClearanceResult
from vla_ros.safety.fault_rules import Action, Fault
from vla_ros.safety.gate import Command, check_certificate, check_timing, command_permitted, switch_discontinuity
from vla_ros.safety.monitors import MonitorConfig, Monitors, check_not_negative
from vla_ros.safety.remaining_trajectory import remaining_trajectory
from vla_ros.safety.speed_scaling import SpeedScaling, SpeedScalingConfig
from vla_ros.safety.state_machine import Event, Mode, next_state
from vla_ros.safety.stopping import Brake, emergency, path_stop


@dataclass(frozen=True)
class SupervisorConfig:
    """Thresholds of the supervisor.

    Attributes:
        monitors: Thresholds of the monitors.
        speed_scaling: Thresholds of the speed scaling.
        handover_tolerance: Maximum step of p, v or a at the switch between plans [rad, rad/s, rad/s^2].
        max_plan_late_s: Maximum time by which the start of a new plan may lie in the past [s].
        max_plan_early_s: Maximum time by which the start of a new plan may lie in the future [s].
        arming_tolerance_rad: Maximum deviation of the measured pose from the last command when arming [rad].
        max_command_step_rad: Maximum distance of a command from the previous one [rad]; only a stalled command loop
            exceeds it.
        max_loop_stall_s: Maximum time between two commands while the arm moves [s].
    """

    monitors: MonitorConfig = field(default_factory=MonitorConfig)
    speed_scaling: SpeedScalingConfig = field(default_factory=SpeedScalingConfig)
    handover_tolerance: float = 1e-9
    max_plan_late_s: float = 0.0
    max_plan_early_s: float = 1.0
    arming_tolerance_rad: float = 0.2
    max_command_step_rad: float = 0.1
    max_loop_stall_s: float = 0.3

    def __post_init__(self) -> None:
        """Check every number."""
        check_not_negative(self)


COMMANDING_MODES = (Mode.RUNNING, Mode.STOPPING, Mode.STOPPED)
"""Modes in which the arm is commanded and its tracking error is monitored."""


class Supervisor:
    """Accepts plans, executes them and stops the arm; one per robot.

    Attributes:
        limits: The robot's limits.
        config: The thresholds.
        clearance: The clearance checker.
        monitors: The monitors of the inputs.
        speed_scaling: The speed scaling.
        mode: The current mode.
        reason: Why the mode was entered.
        faults: The faults that are present, the most severe first.
        refusal_counts: Number of refused plans and joint states by reason.
        fault_counts: Number of occurrences of each fault.
        accepted: Number of accepted plans.
        switch_discontinuity: Maximum step of p, v and a at the switches to accepted plans, shape (3,) [rad, rad/s,
            rad/s^2].
    """

    def __init__(
        self, limits: Limits, config: SupervisorConfig | None = None, clearance: ClearanceChecker | None = None
    ) -> None:
        """Start inactive; without a clearance checker, clearance is not monitored."""
        self.limits, self.clearance = limits, clearance or ClearanceChecker()
        self.config = config or SupervisorConfig()
        self.mode = Mode.INACTIVE
        self.reason = "no joint state yet"
        self.refusal_counts: Counter[str] = Counter()
        self.fault_counts: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.accepted = 0
        self.monitors = Monitors(limits, self.config.monitors)
        self.speed_scaling = SpeedScaling(self.config.speed_scaling)
        self.switch_discontinuity = np.zeros(3)
        self._motions: list[Motion] = []
        self._latest_ns: int | None = None
        self._last: Command | None = None

    # -- inputs ----------------------------------------------------------------------------------

    def joint_state(self, state: JointState, now_ns: int) -> Refusal | None:
        """Record a measurement; a refused one (see `Monitors.joint_state`) has no effect."""
        commanded = self._last.state.position if self._last and self.mode in COMMANDING_MODES else None
        refusal = self._count_refusal(self.monitors.joint_state(state, self._monotonic(now_ns), commanded))
        self.speed_scaling.severity("tracking_error", self.monitors.severity)
        return refusal

    def plan(
        self, plan: Plan, now_ns: int, capture_ns: int | None = None, result: ClearanceResult | None = None
    ) -> Refusal | None:
        """Accept a plan, or return why it is refused; a refused plan leaves the motions unchanged.

        Reasons: "not_running", "joints", "late", "early", "handover", the reasons of `certify`, "clearance",
        "clearance_unproved".

        Args:
            plan: The plan.
            now_ns: Current time [ns].
            capture_ns: Capture time of the image from which the plan was computed, None if unknown [ns].
            result: Result of an incremental check of the plan by `clearance`, if that was run before.
        """
        now_ns = self._monotonic(now_ns)
        refusal = self._count_refusal(
            self.precheck(plan, now_ns) or check_certificate(plan, self.limits) or self.clearance.check(plan, result)
        )
        latency = None if capture_ns is None else (plan.start_ns - capture_ns) / NS
        self.speed_scaling.plan(refusal is not None, latency)
        if refusal:
            return refusal
        self.switch_discontinuity = np.maximum(self.switch_discontinuity, self._switch_discontinuity(plan))
        self._motions = [m for m in self._motions if m.start_ns < plan.start_ns] + [plan]
        self.accepted += 1
        self.monitors.plan(now_ns)
        self.speed_scaling.severity("clearance", self.clearance.proximity)
        return None

    def precheck(self, plan: Plan, now_ns: int) -> Refusal | None:
        """The checks of mode, timing and handover, without certificate and clearance; changes no state."""
        if self.mode is not Mode.RUNNING:
            return Refusal("not_running", f"plans are accepted while running; the mode is {self.mode.value}.")
        config = self.config
        mistimed = check_timing(plan, self.limits, now_ns, self._last, config.max_plan_late_s, config.max_plan_early_s)
        if mistimed:
            return mistimed
        step = self._switch_discontinuity(plan)
        if not (step <= config.handover_tolerance).all():
            return Refusal(
                "handover",
                f"the plan starts {step[0]:.2e} rad, {step[1]:.2e} rad/s, {step[2]:.2e} rad/s^2 "
                "from the active motion.",
            )
        return None

    # -- operator requests -----------------------------------------------------------------------

    def arm(self, now_ns: int) -> RequestResult:
        """Start commanding the arm, at rest in its current pose; arming causes no motion."""
        now_ns = self._monotonic(now_ns)
        self._apply_faults(now_ns)
        if self.mode not in (Mode.READY, Mode.STOPPED):
            return RequestResult(False, f"cannot arm: the mode is {self.mode.value} ({self.reason}).")
        pose = arming_pose(self.limits, self.monitors, self.faults, self._last, self.config.arming_tolerance_rad)
        if isinstance(pose, str):
            return RequestResult(False, f"cannot arm: {pose}.")
        self._motions = [Plan.hold(self.limits.joints, pose, now_ns)]
        self.monitors.expect_rest(None)
        self.monitors.plan(now_ns)
        self.speed_scaling.reset(now_ns)
        self.clearance.reset(pose)
        self._transition(Event.ARM, "armed")
        return RequestResult(True, "armed, holding still.")

    def stop(self, now_ns: int, reason: str = "stop requested") -> RequestResult:
        """Slow to rest along the path and hold there (stop category 2)."""
        if self.mode is Mode.RUNNING:
            self._begin_stop(Event.STOP, self._monotonic(now_ns), reason)
        return RequestResult(True, f"{self.mode.value}.")

    def estop(self, now_ns: int, reason: str = "emergency stop requested") -> RequestResult:
        """Come to rest by the quickest stop that is proved, then stop commanding (stop category 1); latched."""
        now_ns = self._monotonic(now_ns)
        if self.mode is not Mode.ESTOPPED:
            if self.mode in COMMANDING_MODES:
                self._execute_stop(emergency(self._motion_at(now_ns), now_ns, self.limits, self._brake_is_clear))
            self._transition(Event.ESTOP, reason)
        return RequestResult(True, "estopped, latched.")

    def reset(self, now_ns: int) -> RequestResult:
        """Leave mode stopped or estopped, once at rest; causes no motion and does not arm."""
        if self.mode is Mode.ESTOPPED and self._motions:
            return RequestResult(False, "cannot reset: not at rest yet.")
        present = next((f for f in self.faults if f.rule.action is Action.ESTOP), None)
        if self.mode is Mode.ESTOPPED and present:
            return RequestResult(False, f"cannot reset: {present.detail}.")
        if self.mode not in (Mode.STOPPED, Mode.ESTOPPED):
            return RequestResult(False, f"nothing to reset: the mode is {self.mode.value}.")
        self._transition(Event.RESET, "reset")
        self._motions, self._last = [], None
        self.monitors.expect_rest(None)
        self._apply_faults(self._monotonic(now_ns))
        return RequestResult(True, f"{self.mode.value}; arm to continue.")

    # -- outputs ---------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> Command | None:
        """The command at `now_ns`, or None while the arm is not commanded."""
        now_ns = self._monotonic(now_ns)
        self._handle_loop_stall(now_ns)
        self._apply_faults(now_ns)
        if not self._motions:
            return None
        motion = self._motion_at(now_ns)
        if self._motions[0] is not motion:
            self._motions = self._motions[self._motions.index(motion) :]
        command = Command(now_ns, motion.at(now_ns))
        if not command_permitted(command, self._last, self.limits):
            self.fault_counts["invalid_command"] += 1
            self._motions = []
            self._transition(Event.ESTOP, "an invalid command was not sent")
            return None
        self._last = command
        if now_ns >= motion.end_ns:
            self._on_rest(now_ns)
        return self._last

    @property
    def motions(self) -> tuple[Motion, ...]:
        """The active motion and those that follow it: the first has started, the last ends at rest; may be empty."""
        return tuple(self._motions)

    @property
    def at_rest(self) -> bool:
        """Whether the arm is commanded to move neither now nor later."""
        return not self._motions or self.mode is Mode.STOPPED

    def active_plan(self) -> Plan | None:
        """The newest accepted plan; None unless running."""
        if self.mode is not Mode.RUNNING or not isinstance(self._motions[-1], Plan):
            return None
        return self._motions[-1]

    # -- internal --------------------------------------------------------------------------------

    def _monotonic(self, now_ns: int) -> int:
        """The latest time that was passed so far, `now_ns` included."""
        self._latest_ns = now_ns if self._latest_ns is None else max(self._latest_ns, now_ns)
        return self._latest_ns

    def _motion_at(self, t_ns: int, *, pending: bool = True) -> Motion:
        """The newest motion that has started at `t_ns`; without `pending`, one that starts exactly then is ignored."""
        last = t_ns if pending else t_ns - 1
        return next((m for m in reversed(self._motions) if m.start_ns <= last), self._motions[0])

    def _switch_discontinuity(self, plan: Plan) -> Array:
        return switch_discontinuity(plan, self._motion_at(plan.start_ns, pending=False).at(plan.start_ns))

    def _apply_faults(self, now_ns: int) -> None:
        """Update the faults and take the action of the most severe one, by the table in `fault_rules.py`."""
        before, self.faults = self.faults, self.monitors.faults(now_ns, running=self.mode is Mode.RUNNING)
        known = {fault.name for fault in before}
        self.fault_counts.update(fault.name for fault in self.faults if fault.name not in known)
        worst = self.faults[0] if self.faults else None
        if worst is None or worst.rule.action is Action.WARN:
            self._transition(Event.INPUTS_OK, "inputs are valid")
        elif worst.rule.action is Action.ESTOP:
            self.estop(now_ns, worst.detail)
        elif self.mode is Mode.RUNNING:
            self._begin_stop(Event.INPUT_FAULT, now_ns, worst.detail)
        else:
            self._transition(Event.INPUT_FAULT, worst.detail)
            if self.mode is Mode.INACTIVE and (not before or worst.name != before[0].name):
                self.reason = worst.detail

    def _handle_loop_stall(self, now_ns: int) -> None:
        """Stop after a stall of the command loop while the arm was moving.

        The stop is along the path if the path is still near the last command; otherwise the arm is held at the last
        command, so that it does not jump.
        """
        if self._last is None or not self._motions:
            return
        motion, held = self._motion_at(now_ns), self._last.state.position
        near = (np.abs(motion.at(now_ns).position - held) <= self.config.max_command_step_rad).all()
        stall_s = (now_ns - self._last.stamp_ns) / NS
        if near and (
            stall_s <= self.config.max_loop_stall_s or np.array_equal(motion.at(motion.end_ns).position, held)
        ):
            return
        self.fault_counts["loop_stall"] += 1
        reason = f"the command loop stalled for {stall_s:.3f} s"
        if near:
            self.stop(now_ns, reason)
            return
        self._execute_stop(Plan.hold(self.limits.joints, held, now_ns))
        self._transition(Event.STOP, reason)
        self._transition(Event.AT_REST, reason)

    def _begin_stop(self, event: Event, now_ns: int, reason: str) -> None:
        motion = self._motion_at(now_ns)
        self._execute_stop(path_stop(motion, now_ns, self.limits) if isinstance(motion, Plan) else motion)
        self._transition(event, reason)

    def _brake_is_clear(self, brake: Brake) -> bool:
        return self.clearance.is_clear(remaining_trajectory([brake], self.limits.joints, brake.start_ns))

    def _execute_stop(self, motion: Motion) -> None:
        self._motions = [motion]
        self.monitors.expect_rest(motion.end_ns)

    def _on_rest(self, now_ns: int) -> None:
        if self.mode is Mode.STOPPING:
            pose = self._motion_at(now_ns).at(now_ns).position
            self._motions = [Plan.hold(self.limits.joints, pose, now_ns)]
            self._transition(Event.AT_REST, self.reason)
        elif self.mode is Mode.ESTOPPED:
            self._motions = []

    def _transition(self, event: Event, reason: str) -> None:
        mode = next_state(self.mode, event)
        if mode is not self.mode:
            self.mode, self.reason = mode, reason

    def _count_refusal(self, refusal: Refusal | None) -> Refusal | None:
        if refusal:
            self.refusal_counts[refusal.reason] += 1
        return refusal
