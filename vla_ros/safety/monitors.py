"""Monitors of the inputs and of the arm: record what is received and report the faults that follow from it.

Every check has the form "permit if inside": a fault is present unless a comparison holds, so that NaN is a fault.
Times of arrival are on the supervisor's clock, stamps on the sender's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import NS, Array, JointState, Refusal
from vla_ros.core.robot import Limits
from vla_ros.safety.fault_rules import Fault, by_severity

OVERSPEED_SAMPLES = 5
"""Number of consecutive measurements above the speed threshold that cause a fault; a single one is noise."""
JUMP_GRACE_S = 0.02
"""Added to the time between two joint states in the jump check, as they may arrive in pairs [s]."""


def check_not_negative(config: object) -> None:
    """Raise `ConfigError` unless every float field of a dataclass is finite and not negative; NaN is rejected."""
    for field in fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if field.type == "float" and not 0.0 <= value < np.inf:
            raise ConfigError(f"supervisor: {field.name} must not be negative; got {value}.")


@dataclass(frozen=True)
class MonitorConfig:
    """Thresholds of the monitors; the defaults fit joint states at 100 Hz and servos that lag.

    Attributes:
        joint_state_timeout_s: Maximum time since the last valid joint state [s].
        joint_stamp_max_age_s: Maximum age of a joint state's stamp on arrival [s].
        joint_stamp_max_ahead_s: Maximum time by which a joint state's stamp may lie in the future [s].
        max_joint_jump_ratio: Maximum ratio to the velocity limit of the speed that two consecutive joint states
            imply; a joint state beyond it is refused.
        tracking_error_warn_rad: Tracking error that causes a warning [rad].
        tracking_error_stop_rad: Tracking error that causes a stop [rad].
        tracking_lag_s: Time window of past commands: the tracking error is the distance from the range of positions
            commanded in it [s].
        untracked_joints: Joints without tracking error check, because the object they grip may block them.
        overspeed_ratio: Maximum ratio of a measured joint speed to the velocity limit while commanded.
        rest_speed_rad_s: Maximum joint speed of an arm at rest [rad/s].
        settling_time_s: Maximum time for which the arm may still move after the end of a stop [s].
        max_clock_drift_s: Maximum deviation of the system clock from the monotonic clock since the start [s].
        plan_timeout_s: Time without an accepted plan that causes a warning [s].
        estop_timeout_s: Maximum time between messages of the emergency stop button [s]; 0: no button is required.
        deadman_timeout_s: Maximum time between messages of a held deadman switch [s]; 0: no switch is required.
        cameras: Names of the monitored cameras; none by default.
        camera_timeout_s: Maximum time since the last image of a camera [s]; the default is nine images at 30 Hz.
        camera_stamp_max_age_s: Maximum age of an image stamp on arrival [s].
        camera_stamp_max_ahead_s: Maximum time by which an image stamp may lie in the future [s].
    """

    joint_state_timeout_s: float = 0.2
    joint_stamp_max_age_s: float = 0.5
    joint_stamp_max_ahead_s: float = 0.05
    max_joint_jump_ratio: float = 2.0
    tracking_error_warn_rad: float = 0.25
    tracking_error_stop_rad: float = 0.5
    tracking_lag_s: float = 0.25
    untracked_joints: tuple[str, ...] = ("gripper",)
    overspeed_ratio: float = 3.0
    rest_speed_rad_s: float = 0.15
    settling_time_s: float = 0.5
    max_clock_drift_s: float = 0.1
    plan_timeout_s: float = 2.0
    estop_timeout_s: float = 0.0
    deadman_timeout_s: float = 0.0
    cameras: tuple[str, ...] = ()
    camera_timeout_s: float = 0.3
    camera_stamp_max_age_s: float = 0.3
    camera_stamp_max_ahead_s: float = 0.05

    def __post_init__(self) -> None:
        """Check every number and name."""
        check_not_negative(self)
        if "" in self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise ConfigError(f"supervisor: cameras must be distinct names, none empty; got {self.cameras}.")
        if not self.tracking_error_warn_rad < self.tracking_error_stop_rad:
            raise ConfigError("supervisor: tracking_error_warn_rad must be less than tracking_error_stop_rad.")


class Monitors:
    """Records all inputs of the supervisor and derives the present faults from them."""

    def __init__(self, limits: Limits, config: MonitorConfig) -> None:
        """Start with nothing received."""
        self._limits, self._config = limits, config
        self._tracked = np.array([name not in config.untracked_joints for name in limits.joints])
        self.measured: JointState | None = None
        self.joint_speed = np.full(len(limits.joints), np.inf)
        self.tracking_error = 0.0
        self._received_ns = 0
        self._overspeed_count = 0
        self._commanded: deque[tuple[int, Array]] = deque()
        self._stop_end_ns: int | None = None
        self._plan_ns = 0
        self._estop_ns: int | None = None
        self._estop_pressed = False
        self._deadman_ns: int | None = None
        self._images: dict[str, tuple[int, int]] = {}
        self._clock_drift_s = 0.0
        self._other_publishers = 0

    # -- inputs ----------------------------------------------------------------------------------

    def joint_state(self, state: JointState, now_ns: int, commanded: Array | None) -> Refusal | None:
        """Record a measurement and compare it with the commanded positions.

        Args:
            state: The measurement. It is refused, and has no effect, if it has other joints or lies farther from the
                previous one than the arm can have moved.
            now_ns: Time of arrival [ns].
            commanded: The last commanded positions, shape (J,) [rad], None if the arm is not commanded.
        """
        try:
            state = state.reordered(self._limits.joints)
        except RecordError as error:
            return Refusal("joint_state", str(error))
        if self.measured is not None:
            step = np.abs(state.positions - self.measured.positions)
            elapsed = (now_ns - self._received_ns) / NS + JUMP_GRACE_S
            max_step = self._config.max_joint_jump_ratio * self._limits.velocity * elapsed
            if not (step <= max_step).all():
                worst = int(np.argmax(step - max_step))
                jump = f"{self._limits.joints[worst]} is measured {step[worst]:.3f} rad"
                return Refusal("joint_jump", f"{jump} from its previous position.")
        self._record(state, now_ns)
        self._compare(state.positions, now_ns, commanded)
        return None

    def _record(self, state: JointState, now_ns: int) -> None:
        previous, self.measured, self._received_ns = self.measured, state, now_ns
        if state.velocities is not None:
            self.joint_speed = np.abs(state.velocities)
        elif previous is not None and state.stamp_ns > previous.stamp_ns:
            elapsed = (state.stamp_ns - previous.stamp_ns) / NS
            self.joint_speed = np.abs(state.positions - previous.positions) / elapsed

    def _compare(self, measured: Array, now_ns: int, commanded: Array | None) -> None:
        if commanded is None:
            self._commanded.clear()
            self.tracking_error, self._overspeed_count = 0.0, 0
            return
        self._commanded.append((now_ns, commanded))
        while self._commanded[0][0] < now_ns - self._config.tracking_lag_s * NS:
            self._commanded.popleft()
        poses = np.stack([pose for _, pose in self._commanded])
        deviation = np.maximum(poses.min(axis=0) - measured, measured - poses.max(axis=0))[self._tracked]
        self.tracking_error = float(np.maximum(deviation, 0.0).max(initial=0.0))
        inside = (self.joint_speed <= self._config.overspeed_ratio * self._limits.velocity).all()
        self._overspeed_count = 0 if inside else self._overspeed_count + 1

    def estop_input(self, pressed: bool, now_ns: int) -> None:
        """Record a message of the emergency stop button."""
        self._estop_pressed, self._estop_ns = pressed, now_ns

    def deadman(self, held: bool, now_ns: int) -> None:
        """Record a message of the deadman switch; a released switch counts as never held."""
        self._deadman_ns = now_ns if held else None

    def image(self, camera: str, stamp_ns: int, now_ns: int) -> None:
        """Record the arrival of an image of `camera` with stamp `stamp_ns`."""
        self._images[camera] = (stamp_ns, now_ns)

    def clock_drift(self, drift_ns: int) -> None:
        """Record the deviation of the system clock from the monotonic clock [ns]; the maximum is kept."""
        self._clock_drift_s = max(self._clock_drift_s, abs(drift_ns) / NS)

    def other_publishers(self, count: int) -> None:
        """Record the number of other publishers on the robot's command topic."""
        self._other_publishers = count

    def plan(self, now_ns: int) -> None:
        """Record that a plan was accepted."""
        self._plan_ns = now_ns

    def expect_rest(self, stop_end_ns: int | None) -> None:
        """Expect the arm to be at rest after a stop that ends at `stop_end_ns`; None: the arm may move."""
        self._stop_end_ns = stop_end_ns

    # -- outputs ---------------------------------------------------------------------------------

    def age_s(self, now_ns: int) -> float:
        """Time since the last valid joint state [s]; infinite before the first."""
        return (now_ns - self._received_ns) / NS if self.measured else float("inf")

    @property
    def severity(self) -> float:
        """Severity of the tracking error: 0 at the warning threshold, 1 at the stop threshold."""
        warn, stop = self._config.tracking_error_warn_rad, self._config.tracking_error_stop_rad
        return (self.tracking_error - warn) / (stop - warn)

    @property
    def at_rest(self) -> bool:
        """Whether the arm is measured to be at rest."""
        return bool((self.joint_speed <= self._config.rest_speed_rad_s).all())

    def faults(self, now_ns: int, running: bool) -> list[Fault]:
        """All faults that are present, the most severe first; `running`: whether plans are expected."""
        found = [
            *self._check_joint_states(now_ns),
            *self._check_estop(now_ns),
            *self._check_deadman(now_ns),
            *self._check_cameras(now_ns),
            *self._check_joint_speed(),
            *self._check_rest_after_stop(),
            *self._check_tracking_error(),
            *self._check_clock(),
            *self._check_publishers(),
            *self._check_plans(now_ns, running),
        ]
        return by_severity(found)

    def _check_joint_states(self, now_ns: int) -> list[Fault]:
        config, age = self._config, self.age_s(now_ns)
        if not 0.0 <= age <= config.joint_state_timeout_s:
            return [Fault("joint_state_timeout", f"no joint state for {age:.3f} s")]
        if self.measured is not None:
            stamp_age = (self._received_ns - self.measured.stamp_ns) / NS
            if not -config.joint_stamp_max_ahead_s <= stamp_age <= config.joint_stamp_max_age_s:
                return [Fault("joint_stamp", f"joint states are stamped {stamp_age:.3f} s before their arrival")]
        return []

    def _check_estop(self, now_ns: int) -> list[Fault]:
        config, found = self._config, []
        if self._estop_pressed:
            found.append(Fault("estop_input", "the emergency stop button is pressed"))
        if config.estop_timeout_s:
            if self._estop_ns is None:
                found.append(Fault("estop_missing", "no message of the emergency stop button yet"))
            elif not (now_ns - self._estop_ns) / NS <= config.estop_timeout_s:
                found.append(Fault("estop_timeout", "the emergency stop button is silent"))
        return found

    def _check_deadman(self, now_ns: int) -> list[Fault]:
        config = self._config
        if config.deadman_timeout_s:
            if self._deadman_ns is None:
                return [Fault("deadman", "the deadman switch is not held")]
            if not 0.0 <= (silence := (now_ns - self._deadman_ns) / NS) <= config.deadman_timeout_s:
                return [Fault("deadman", f"the deadman switch is silent for {silence:.3f} s")]
        return []

    def _check_cameras(self, now_ns: int) -> list[Fault]:
        """At most one fault for all silent cameras and one for all cameras with invalid stamps."""
        config = self._config
        silent, invalid_stamps = [], []
        for name in self._config.cameras:
            if name not in self._images:
                silent.append(f"no image of camera {name} yet")
                continue
            stamp_ns, arrival_ns = self._images[name]
            silence, stamp_age = (now_ns - arrival_ns) / NS, (arrival_ns - stamp_ns) / NS
            if not 0.0 <= silence <= config.camera_timeout_s:
                silent.append(f"camera {name} is silent for {silence:.3f} s")
            elif not -config.camera_stamp_max_ahead_s <= stamp_age <= config.camera_stamp_max_age_s:
                invalid_stamps.append(f"images of camera {name} are stamped {stamp_age:.3f} s before their arrival")
        rows = (("camera_timeout", silent), ("camera_stamp", invalid_stamps))
        return [Fault(fault, ", ".join(details)) for fault, details in rows if details]

    def _check_joint_speed(self) -> list[Fault]:
        if self._overspeed_count >= OVERSPEED_SAMPLES:
            worst = int(np.argmax(self.joint_speed / self._limits.velocity))
            return [Fault("overspeed", f"{self._limits.joints[worst]} moves at {self.joint_speed[worst]:.2f} rad/s")]
        return []

    def _check_rest_after_stop(self) -> list[Fault]:
        if self._stop_end_ns is not None and self._received_ns > self._stop_end_ns:
            if self.at_rest:
                self._stop_end_ns = None
            elif self._received_ns > self._stop_end_ns + self._config.settling_time_s * NS:
                speed = self.joint_speed.max()
                return [Fault("motion_after_stop", f"the arm still moves at {speed:.2f} rad/s after a stop")]
        return []

    def _check_tracking_error(self) -> list[Fault]:
        detail = f"the arm is {self.tracking_error:.3f} rad from its command"
        if not self.tracking_error <= self._config.tracking_error_stop_rad:
            return [Fault("tracking_error", detail)]
        if not self.tracking_error <= self._config.tracking_error_warn_rad:
            return [Fault("tracking_error_high", detail)]
        return []

    def _check_clock(self) -> list[Fault]:
        if not self._clock_drift_s <= self._config.max_clock_drift_s:
            return [Fault("clock_jump", f"the system clock was set by {self._clock_drift_s:.3f} s")]
        return []

    def _check_publishers(self) -> list[Fault]:
        if not self._other_publishers <= 0:
            detail = f"{self._other_publishers + 1} publishers on the robot's command topic"
            return [Fault("second_publisher", detail)]
        return []

    def _check_plans(self, now_ns: int, running: bool) -> list[Fault]:
        timeout_s = self._config.plan_timeout_s
        if running and not (now_ns - self._plan_ns) / NS <= timeout_s:
            return [Fault("no_plan", f"no plan for {timeout_s:g} s or longer")]
        return []
