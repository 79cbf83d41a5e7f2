"""Joint states lost, frozen, malformed, wrong, late, or stamped by another clock."""

from __future__ import annotations

from typing import Any

import numpy as np

from faults.fault import NO_EFFECT, Fault, Injection
from faults.injections import joint_states as inject


def joint_states(name: str, injection: Injection, *expected: Any, **options: Any) -> Fault:
    """A row whose joint states are restored at the end."""
    return Fault(name, injection, *expected, remove=inject.restore, **options)


def driver_clock(name: str, seconds: float) -> Fault:
    """A row of a driver whose clock differs by `seconds` [s]."""
    return joint_states(f"driver's clock {name}", inject.stamps_shifted(seconds), "stopped", 0.3, "stamped")


LOST = ("stopped", 0.5, "no joint state")
"""Unusable joint states are discarded, so that they count as lost."""

FAULTS = (
    joint_states("joint states lost", inject.LOST, *LOST),
    joint_states(
        "joint states: values frozen", inject.frozen(values=True, stamps=False), "stopped", 3.0, "from its command"
    ),
    joint_states("joint states: stamps frozen", inject.frozen(values=False, stamps=True), "stopped", 1.0, "stamped"),
    joint_states("joint states: all frozen", inject.frozen(values=True, stamps=True), "stopped", 1.0, "stamped"),
    joint_states("joint states: one joint missing", inject.modify(inject.without_last_joint), *LOST),
    joint_states("joint states: joints in another order", inject.modify(inject.reversed_joints), **NO_EFFECT),
    joint_states("joint states: names shifted by one joint", inject.modify(inject.rotated_names), "stopped", 0.5),
    joint_states("joint states: NaN", inject.positions(lambda p: np.where(np.arange(6) == 3, np.nan, p)), *LOST),
    joint_states("joint states: every second one off by 0.5 rad", inject.every_second_offset(0.5), **NO_EFFECT),
    joint_states("joint states: off by 0.8 rad", inject.positions(lambda p: p + 0.8), "stopped", 0.5),
    joint_states("joint states: degrees", inject.positions(np.degrees), *LOST),
    joint_states("joint states: 0.7 s late", inject.delayed(70), *LOST),
    joint_states(
        "joint states: velocity of 50 rad/s", inject.modify(inject.high_velocity), "estopped", 0.3, "moves at"
    ),
    driver_clock("1 s behind", -1.0),
    driver_clock("1 s ahead", 1.0),
    driver_clock("1 h behind", -3600.0),
    driver_clock("1 h ahead", 3600.0),
    joint_states("joint states: velocities NaN", inject.modify(inject.nan_velocities), *LOST),
    joint_states("joint states: no velocities", inject.modify(inject.without_velocities), **NO_EFFECT),
    joint_states("joint states: one joint twice", inject.modify(inject.first_joint_twice), *LOST),
    joint_states("joint states: half of them lost", inject.lost_at_random(0.5), **NO_EFFECT),
    joint_states("joint states: milliradians", inject.positions(lambda p: p * 1e3), *LOST),
)
