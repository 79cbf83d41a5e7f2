"""What may pass: a plan on its way in, a command on its way out. Default deny; "permit if inside"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.records import NS, Array, Refusal
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan, State
from vla_ros.safety.limit_certificate import certify

POSITION_ROUNDING = 1e-6
"""Excess of a commanded position over its range, or over what speed allows, that counts as rounding [rad]."""
SPEED_ROUNDING = 1.0 + 1e-3
"""Largest fraction of the velocity limit of a single command; stops are sampled, not proved."""


@dataclass(frozen=True)
class Command:
    """What the robot is told at one instant.

    Attributes:
        stamp_ns: The instant [ns].
        state: Commanded position, velocity and acceleration.
    """

    stamp_ns: int
    state: State


def timely(
    plan: Plan, limits: Limits, now_ns: int, last: Command | None, late_s: float, early_s: float
) -> Refusal | None:
    """Refuse a plan of another robot, or one that does not begin soon from now."""
    if plan.joints != limits.joints:
        return Refusal("joints", f"a plan names exactly {', '.join(limits.joints)}, in this order.")
    wait = (plan.start_ns - now_ns) / NS
    if not wait >= -late_s:
        return Refusal("late", f"the plan starts {-wait:.4f} s in the past.")
    if not wait <= early_s:
        return Refusal("early", f"the plan starts {wait:.3f} s ahead; at most {early_s} s.")
    if not (last is None or plan.start_ns > last.stamp_ns):
        return Refusal("late", "a command later than the start of the plan was already sent.")
    return None


def splice(plan: Plan, before: State) -> Array:
    """Largest step of p, v and a where the plan takes over from `before` [rad, rad/s, rad/s^2]."""
    first = (plan.positions[0], plan.velocities[0], plan.accelerations[0])
    return np.array([np.abs(b - f).max() for b, f in zip(before, first, strict=True)])


def proved(plan: Plan, limits: Limits) -> Refusal | None:
    """Refuse a plan that is not proved inside the limits, with room to brake, and at rest at its end.

    Near the ends of its range a plan may be only where it has begun: an arm may be moved there by hand, and
    is let back in.
    """
    start, room = plan.positions[0], limits.braking_room
    inner = limits.between(np.minimum(limits.lower + room, start), np.maximum(limits.upper - room, start))
    verdict = certify(plan, inner)
    if verdict.permitted and (limits.lower <= start).all() and (start <= limits.upper).all():
        return None
    return Refusal(verdict.reason or "limits", str(verdict))


def may_be_sent(command: Command, last: Command | None, limits: Limits) -> bool:
    """Whether a command is finite, inside position and velocity limits, and near the one before it."""
    p, v, _ = command.state
    inside = (limits.lower - POSITION_ROUNDING <= p) & (p <= limits.upper + POSITION_ROUNDING)
    slow = np.abs(v) <= limits.velocity * SPEED_ROUNDING
    if last is None:
        return bool((inside & slow).all())
    reach = limits.velocity * SPEED_ROUNDING * ((command.stamp_ns - last.stamp_ns) / NS) + POSITION_ROUNDING
    return bool((inside & slow & (np.abs(p - last.state.position) <= reach)).all())
