"""The supervisor's watchdogs: what is measured, how old it is, and whether it fits what was commanded.

Every check is written as "permit if inside": a fault is present unless a comparison holds, so that a NaN is
a fault. Ages of arrival are on the supervisor's own clock, ages of stamps on the sender's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import NS, Array, JointState, Refusal
from vla_ros.core.robot import Limits
from vla_ros.safety.fault_rules import Fault, worst_first

OVERSPEED_SAMPLES = 5
"""As many measurements in a row must be too fast: one is noise."""
JUMP_GRACE_S = 0.02
"""Added to the time between two joint states, as they may arrive in pairs [s]."""


@dataclass(frozen=True)
class WatchConfig:
    """Thresholds of the watchdogs; the defaults fit joint states at 100 Hz and servos that lag.

    Attributes:
        joint_state_age_s: Longest silence of the joint states [s].
        joint_stamp_age_s: Oldest stamp of a joint state [s].
        joint_stamp_ahead_s: Farthest a stamp may lie in the future [s].
        joint_jump: Multiple of the velocity limit that two joint states may imply; a faster one does not count.
        tracking_warn: Distance from what was commanded that is said [rad].
        tracking_stop: Distance at which the arm is stopped [rad].
        tracking_lag_s: The arm may be anywhere it was commanded to be during this time [s].
        may_be_blocked: Joints that are meant to be stopped by what they hold, so their distance says nothing.
        overspeed: Multiple of the velocity limit that is measured while commanded.
        rest_speed: An arm slower than this rests [rad/s].
        settle_s: How long the arm may go on moving after a stop has ended [s].
        clock_drift_s: How far the system clock may move from the monotonic one [s].
        no_plan_s: Silence of the planner that is said [s].
        estop_heartbeat_s: Longest silence of the emergency stop input [s]; 0 means that none is expected.
        deadman_s: Longest silence of a deadman that is held [s]; 0 means that none is expected.
        cameras: Names of the cameras whose pictures must keep coming; none by default.
        camera_age_s: Longest silence of a camera [s]: nine pictures at 30 Hz.
        camera_stamp_age_s: Oldest stamp of a picture when it arrives [s].
        camera_stamp_ahead_s: Farthest a picture's stamp may lie in the future [s].
    """

    joint_state_age_s: float = 0.2
    joint_stamp_age_s: float = 0.5
    joint_stamp_ahead_s: float = 0.05
    joint_jump: float = 2.0
    tracking_warn: float = 0.25
    tracking_stop: float = 0.5
    tracking_lag_s: float = 0.25
    may_be_blocked: tuple[str, ...] = ("gripper",)
    overspeed: float = 3.0
    rest_speed: float = 0.15
    settle_s: float = 0.5
    clock_drift_s: float = 0.1
    no_plan_s: float = 2.0
    estop_heartbeat_s: float = 0.0
    deadman_s: float = 0.0
    cameras: tuple[str, ...] = ()
    camera_age_s: float = 0.3
    camera_stamp_age_s: float = 0.3
    camera_stamp_ahead_s: float = 0.05

    def __post_init__(self) -> None:
        """Check every number and name."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "float" and not 0.0 <= value < np.inf:
                raise ConfigError(f"supervisor: {field.name} must not be negative; got {value}.")
        if "" in self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise ConfigError(f"supervisor: cameras must have names, each given once; got {self.cameras}.")
        if not self.tracking_warn < self.tracking_stop:
            raise ConfigError("supervisor: tracking_warn must be less than tracking_stop.")


class Watch:
    """What has been heard, and which faults follow from it."""

    def __init__(self, limits: Limits, config: WatchConfig) -> None:
        """Nothing has been heard yet."""
        self._limits, self._config = limits, config
        self._tracked = np.array([name not in config.may_be_blocked for name in limits.joints])
        self.measured: JointState | None = None
        self.speed = np.full(len(limits.joints), np.inf)
        self.tracking_error = 0.0
        self._received_ns = 0
        self._too_fast = 0
        self._commanded: deque[tuple[int, Array]] = deque()
        self._rest_due_ns: int | None = None
        self._plan_ns = 0
        self._estop_ns: int | None = None
        self._pressed = False
        self._held_ns: int | None = None
        self._seen: dict[str, tuple[int, int]] = {}
        self._clock_moved_s = 0.0
        self._others = 0

    # -- what comes in ---------------------------------------------------------------------------

    def joint_state(self, state: JointState, now_ns: int, commanded: Array | None) -> Refusal | None:
        """Take a measurement, and compare it with what was commanded last (None: nothing).

        One that names other joints, or lies farther from the last one than the arm can have moved, does not count.
        """
        try:
            state = state.in_order(self._limits.joints)
        except RecordError as error:
            return Refusal("joint_state", str(error))
        if self.measured is not None:
            step = np.abs(state.positions - self.measured.positions)
            elapsed = (now_ns - self._received_ns) / NS + JUMP_GRACE_S
            reach = self._config.joint_jump * self._limits.velocity * elapsed
            if not (step <= reach).all():
                worst = int(np.argmax(step - reach))
                far = f"{self._limits.joints[worst]} is measured {step[worst]:.3f} rad"
                return Refusal("joint_jump", f"{far} from where it just was.")
        self._take(state, now_ns)
        self._compare(state.positions, now_ns, commanded)
        return None

    def _take(self, state: JointState, now_ns: int) -> None:
        before, self.measured, self._received_ns = self.measured, state, now_ns
        if state.velocities is not None:
            self.speed = np.abs(state.velocities)
        elif before is not None and state.stamp_ns > before.stamp_ns:
            self.speed = np.abs(state.positions - before.positions) / ((state.stamp_ns - before.stamp_ns) / NS)

    def _compare(self, measured: Array, now_ns: int, commanded: Array | None) -> None:
        if commanded is None:
            self._commanded.clear()
            self.tracking_error, self._too_fast = 0.0, 0
            return
        self._commanded.append((now_ns, commanded))
        while self._commanded[0][0] < now_ns - self._config.tracking_lag_s * NS:
            self._commanded.popleft()
        poses = np.stack([pose for _, pose in self._commanded])
        apart = np.maximum(poses.min(axis=0) - measured, measured - poses.max(axis=0))[self._tracked]
        self.tracking_error = float(np.maximum(apart, 0.0).max(initial=0.0))
        within = (self.speed <= self._config.overspeed * self._limits.velocity).all()
        self._too_fast = 0 if within else self._too_fast + 1

    def estop_input(self, pressed: bool, now_ns: int) -> None:
        """The emergency stop button speaks."""
        self._pressed, self._estop_ns = pressed, now_ns

    def deadman(self, held: bool, now_ns: int) -> None:
        """The deadman speaks; released, it counts as never held."""
        self._held_ns = now_ns if held else None

    def picture(self, camera: str, stamp_ns: int, now_ns: int) -> None:
        """A picture of one of `cameras` arrived, stamped `stamp_ns`."""
        self._seen[camera] = (stamp_ns, now_ns)

    def clock(self, drift_ns: int) -> None:
        """How far the system clock has moved from the monotonic one [ns]; the farthest is remembered."""
        self._clock_moved_s = max(self._clock_moved_s, abs(drift_ns) / NS)

    def publishers(self, others: int) -> None:
        """How many others publish on the robot's command topic."""
        self._others = others

    def plan(self, now_ns: int) -> None:
        """A plan is in force from now on."""
        self._plan_ns = now_ns

    def rest(self, due_ns: int | None) -> None:
        """A stop begins that ends at `due_ns`, or None: the arm may move."""
        self._rest_due_ns = due_ns

    # -- what follows from it --------------------------------------------------------------------

    def age_s(self, now_ns: int) -> float:
        """Time since the last joint state that counts [s]."""
        return (now_ns - self._received_ns) / NS if self.measured else float("inf")

    @property
    def strain(self) -> float:
        """How far the tracking error has come from where it is said (0) to where the arm is stopped (1)."""
        config = self._config
        return (self.tracking_error - config.tracking_warn) / (config.tracking_stop - config.tracking_warn)

    @property
    def resting(self) -> bool:
        """Whether the arm is measured to be at rest."""
        return bool((self.speed <= self._config.rest_speed).all())

    def faults(self, now_ns: int, running: bool) -> list[Fault]:
        """Every fault that is present, the most severe first."""
        found = [*self._inputs(now_ns), *self._cameras(now_ns), *self._arm(now_ns)]
        return worst_first([*found, *self._surroundings(now_ns, running)])

    def _inputs(self, now_ns: int) -> list[Fault]:
        config, found, age = self._config, [], self.age_s(now_ns)
        if not 0.0 <= age <= config.joint_state_age_s:
            found.append(Fault("joint_state", f"no joint state for {age:.3f} s"))
        elif self.measured is not None:
            old = (self._received_ns - self.measured.stamp_ns) / NS
            if not -config.joint_stamp_ahead_s <= old <= config.joint_stamp_age_s:
                found.append(Fault("joint_stamp", f"joint states are stamped {old:.3f} s before they come"))
        if self._pressed:
            found.append(Fault("estop_input", "the emergency stop button is pressed"))
        if config.estop_heartbeat_s:
            if self._estop_ns is None:
                found.append(Fault("estop_missing", "the emergency stop button was not heard yet"))
            elif not (now_ns - self._estop_ns) / NS <= config.estop_heartbeat_s:
                found.append(Fault("estop_heartbeat", "the emergency stop button is silent"))
        if config.deadman_s:
            if self._held_ns is None:
                found.append(Fault("deadman", "nobody holds the deadman"))
            elif not 0.0 <= (silence := (now_ns - self._held_ns) / NS) <= config.deadman_s:
                found.append(Fault("deadman", f"the deadman is silent for {silence:.3f} s"))
        return found

    def _cameras(self, now_ns: int) -> list[Fault]:
        """One fault for all that are silent, one for all whose stamps are wrong."""
        config = self._config
        silent, untimely = [], []
        for name in self._config.cameras:
            if name not in self._seen:
                silent.append(f"camera {name} was not seen yet")
                continue
            stamp_ns, came_ns = self._seen[name]
            silence, old = (now_ns - came_ns) / NS, (came_ns - stamp_ns) / NS
            if not 0.0 <= silence <= config.camera_age_s:
                silent.append(f"camera {name} is silent for {silence:.3f} s")
            elif not -config.camera_stamp_ahead_s <= old <= config.camera_stamp_age_s:
                untimely.append(f"pictures of camera {name} are stamped {old:.3f} s before they come")
        rows = (("camera", silent), ("camera_stamp", untimely))
        return [Fault(fault, ", ".join(details)) for fault, details in rows if details]

    def _arm(self, now_ns: int) -> list[Fault]:
        config, found = self._config, []
        if self._too_fast >= OVERSPEED_SAMPLES:
            worst = int(np.argmax(self.speed / self._limits.velocity))
            found.append(Fault("overspeed", f"{self._limits.joints[worst]} moves at {self.speed[worst]:.2f} rad/s"))
        if self._rest_due_ns is not None and self._received_ns > self._rest_due_ns:
            if self.resting:
                self._rest_due_ns = None
            elif self._received_ns > self._rest_due_ns + config.settle_s * NS:
                found.append(Fault("not_resting", f"the arm still moves at {self.speed.max():.2f} rad/s after a stop"))
        if not self.tracking_error <= config.tracking_stop:
            found.append(Fault("tracking", f"the arm is {self.tracking_error:.3f} rad from its command"))
        elif not self.tracking_error <= config.tracking_warn:
            found.append(Fault("tracking_high", f"the arm is {self.tracking_error:.3f} rad from its command"))
        return found

    def _surroundings(self, now_ns: int, running: bool) -> list[Fault]:
        config, found = self._config, []
        if not self._clock_moved_s <= config.clock_drift_s:
            found.append(Fault("clock", f"the system clock was set by {self._clock_moved_s:.3f} s"))
        if not self._others <= 0:
            found.append(Fault("second_publisher", f"{self._others + 1} publishers on the robot's command topic"))
        if running and not (now_ns - self._plan_ns) / NS <= config.no_plan_s:
            found.append(Fault("no_plan", f"no plan for {config.no_plan_s:g} s or longer"))
        return found
