"""Acceptance checks for incoming plans and outgoing commands.

Every check has the form "permit if inside": everything else, NaN included, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.records import NS, Array, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan, State
from vla_ros.safety.limit_certificate import certify

POSITION_TOLERANCE_RAD = 1e-6
"""Rounding tolerance of a commanded position, beyond its range and beyond the step that the speed allows [rad]."""
VELOCITY_TOLERANCE_RATIO = 1.0 + 1e-3
"""Maximum ratio of a commanded velocity to its limit; above 1 because stops are checked at samples, not proved."""


@dataclass(frozen=True)
class Command:
    """The command to the robot at one instant.

    Attributes:
        stamp_ns: The instant [ns].
        state: Commanded position, velocity and acceleration.
    """

    stamp_ns: int
    state: State


def check_timing(
    plan: Plan, limits: Limits, now_ns: int, last: Command | None, max_late_s: float, max_early_s: float
) -> Refusal | None:
    """Refuse a plan of another robot and a plan that starts too early, too late or before the last command.

    Args:
        plan: The plan.
        limits: The robot's limits; the plan must have the same joints in the same order.
        now_ns: Current time [ns].
        last: The last command that was sent, None if there is none; the plan must start after it.
        max_late_s: Maximum time by which the start may lie in the past [s].
        max_early_s: Maximum time by which the start may lie in the future [s].

    Returns:
        None if the plan passes, else a refusal with reason "joints", "late" or "early".
    """
    if plan.joints != limits.joints:
        return Refusal("joints", f"a plan must have exactly the joints {', '.join(limits.joints)}, in this order.")
    wait = (plan.start_ns - now_ns) / NS
    if not wait >= -max_late_s:
        return Refusal("late", f"the plan starts {-wait:.4f} s in the past.")
    if not wait <= max_early_s:
        return Refusal("early", f"the plan starts {wait:.3f} s in the future; the maximum is {max_early_s} s.")
    if not (last is None or plan.start_ns > last.stamp_ns):
        return Refusal("late", "a command later than the start of the plan was already sent.")
    return None


def switch_discontinuity(plan: Plan, before: State) -> Array:
    """Maximum step over the joints of p, v and a at the switch from state `before` to the plan.

    Returns:
        Shape (3,) [rad, rad/s, rad/s^2].
    """
    first = (plan.positions[0], plan.velocities[0], plan.accelerations[0])
    return np.array([np.abs(b - f).max() for b, f in zip(before, first, strict=True)])


def check_certificate(plan: Plan, limits: Limits) -> Refusal | None:
    """Refuse a plan unless `certify` proves it inside the limits, with room to brake, and at rest at its end.

    The position range is narrowed by `Limits.braking_margin`. A plan may start in that margin and leave it, since an
    arm can be moved there by hand, but it may not go deeper into the margin.

    Returns:
        None if the plan passes, else a refusal with the reason of the certificate.
    """
    start, room = plan.positions[0], limits.braking_margin
    inner = limits.with_range(np.minimum(limits.lower + room, start), np.maximum(limits.upper - room, start))
    verdict = certify(plan, inner)
    if verdict.permitted and (limits.lower <= start).all() and (start <= limits.upper).all():
        return None
    return Refusal(verdict.reason or "limits", str(verdict))


def command_permitted(command: Command, last: Command | None, limits: Limits) -> bool:
    """Whether a command is finite, inside position and velocity limits, and reachable from the last command.

    Args:
        command: The command.
        last: The command before it, None if there is none.
        limits: The robot's limits.
    """
    p, v, _ = command.state
    inside = (limits.lower - POSITION_TOLERANCE_RAD <= p) & (p <= limits.upper + POSITION_TOLERANCE_RAD)
    slow = np.abs(v) <= limits.velocity * VELOCITY_TOLERANCE_RATIO
    if last is None:
        return bool((inside & slow).all())
    elapsed = (command.stamp_ns - last.stamp_ns) / NS
    max_step = limits.velocity * VELOCITY_TOLERANCE_RATIO * elapsed + POSITION_TOLERANCE_RAD
    return bool((inside & slow & (np.abs(p - last.state.position) <= max_step)).all())
