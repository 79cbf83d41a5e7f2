"""The certificate exactly at what it grants to rounding, and what its verdict says."""

import numpy as np
import pytest
from core.draw import T0, names

from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.core.trajectory import Plan
from vla_ros.safety.limit_certificate import CEILING, DEEPEST, REST, SHORTEST_PIECE_NS, Verdict, certify


def test_what_is_granted_is_changed_here_or_not_at_all() -> None:
    assert (CEILING, REST, DEEPEST, SHORTEST_PIECE_NS) == (1.0 + 1e-9, 1e-9, 6, 1_000_000)


def plan(p: list[float], v: list[float], a: list[float], seconds: float = 1.0) -> Plan:
    offsets = (np.arange(len(p)) * seconds * NS).astype(np.int64)
    return Plan(names(1), T0, offsets, *(np.array(x, dtype=float)[:, None] for x in (p, v, a)))


def limits(upper: float = 9.0, velocity: float = 9.0, acceleration: float = 99.0, jerk: float = 999.0) -> Limits:
    one = np.ones(1)
    return Limits(names(1), -upper * one, upper * one, velocity * one, acceleration * one, jerk * one)


@pytest.mark.parametrize(("rest", "permitted"), [(1e-9, True), (-1e-9, True), (1.1e-9, False), (-1.1e-9, False)])
@pytest.mark.parametrize("field", ["velocity", "acceleration"])
def test_what_counts_as_rest(rest: float, permitted: bool, field: str) -> None:
    v, a = (rest, 0.0) if field == "velocity" else (0.0, rest)
    assert certify(plan([0.0, 0.0], [0.0, v], [0.0, a]), limits()).permitted is permitted


STEP = plan([0.0, 1.0], [0.0, 0.0], [0.0, 0.0])
"""From rest to rest in a second: u^3 (10 - 15 u + 6 u^2), whose peaks are known."""
PEAKS = {"velocity": 1.875, "acceleration": 10.0 / np.sqrt(3.0), "jerk": 60.0}


@pytest.mark.parametrize("quantity", PEAKS)
@pytest.mark.parametrize(("share", "permitted"), [(1.01, True), (0.999, False)])
def test_the_peaks_of_the_smoothest_step_are_found(quantity: str, share: float, permitted: bool) -> None:
    verdict = certify(STEP, limits(**{quantity: share * PEAKS[quantity]}))
    assert verdict.permitted is permitted
    assert verdict.quantity == quantity
    assert verdict.ratio == pytest.approx(1 / share, rel=0.01)


@pytest.mark.parametrize(
    ("share", "permitted"), [(1 + 1e-12, True), (1.0, True), (1 - 0.5e-9, True), (1 - 2e-9, False)]
)
def test_a_peak_at_a_knot_is_judged_to_a_billionth(share: float, permitted: bool) -> None:
    assert certify(STEP, limits(jerk=60.0 * share)).permitted is permitted
    assert certify(plan([1.0, 1.0], [0.0, 0.0], [0.0, 0.0]), limits(upper=share)).permitted is permitted


def test_the_verdict_says_where() -> None:
    late = plan([0.0, 0.0, 0.0, 1.0], [0.0] * 4, [0.0] * 4, seconds=0.5)
    verdict = certify(late, limits(velocity=1.0))
    assert (verdict.reason, verdict.quantity, verdict.at_ns) == ("limits", "velocity", NS)
    assert verdict.ratio >= 3.7
    assert str(verdict).startswith("not permitted (limits): velocity of joint_0 reaches 3.7")
    good = certify(late, limits(velocity=4.0))
    assert (good.permitted, good.reason, good.at_ns) == (True, "", NS)
    assert 3.75 / 4 <= good.ratio <= 1.0
    assert str(good).startswith("permitted; velocity of joint_0 reaches 0.9")


def test_one_bad_piece_among_many_good_ones_is_found_wherever_it_is() -> None:
    for bad in range(8):
        p = np.zeros(9)
        p[bad + 1 :] = 0.3
        verdict = certify(plan(p.tolist(), [0.0] * 9, [0.0] * 9), limits(velocity=0.5))
        assert not verdict.permitted
        assert verdict.at_ns == bad * NS


def test_without_a_joint_it_says_no_instant() -> None:
    assert certify(STEP, Limits(("other",), *np.array([[-1.0], [1.0], [1.0], [1.0], [1.0]]))) == Verdict(
        False, "joints"
    )
    assert Verdict(False, "joints").at_ns == 0


@pytest.mark.parametrize("velocity", [9.0, 4.0])
def test_exactly_the_ceiling_is_permitted(velocity: float) -> None:
    """At once, and where another piece needs a closer look: 4 is beyond the peak of 1.875 and inside the hull of 5."""
    assert certify(plan([CEILING, CEILING, CEILING - 1.0], [0.0] * 3, [0.0] * 3), limits(1.0, velocity)).permitted


@pytest.mark.parametrize(("share", "permitted"), [(1 + 8e-4, True), (1 + 1e-4, False)])
def test_how_close_a_look_is_taken(share: float, permitted: bool) -> None:
    """Each halving leaves a quarter of the gap: at the sixth it is 4e-4 here, at the fifth 2e-3, at a seventh 3e-5."""
    verdict = certify(STEP, limits(acceleration=share * PEAKS["acceleration"]))
    assert verdict.permitted is permitted


def test_of_two_pieces_that_cannot_be_proved_the_worse_is_named() -> None:
    two = plan([0.0, 0.99995, -0.00005], [0.0] * 3, [0.0] * 3)
    verdict = certify(two, limits(acceleration=(1 + 1e-4) * PEAKS["acceleration"]))
    assert (verdict.permitted, verdict.quantity, verdict.at_ns) == (False, "acceleration", NS)


def test_a_knot_beyond_a_limit_is_enough_to_refuse() -> None:
    """Faster between the knots, but that is not looked at any more; and the good piece after it does not help."""
    verdict = certify(plan([0.0, 0.5, 0.5], [2.0, 0.0, 0.0], [3.0, 0.0, 0.0]), limits(velocity=1.9))
    assert (verdict.permitted, verdict.quantity, verdict.at_ns) == (False, "velocity", 0)
    assert verdict.ratio == pytest.approx(2.0 / 1.9)


def test_what_was_proved_at_once_may_be_what_comes_closest() -> None:
    """Of two that come equally close the later one is named; the first needs a closer look at its velocity."""
    verdict = certify(plan([-0.01, 0.99, 0.99], [0.0] * 3, [0.0] * 3), limits(upper=1.0, velocity=3.0))
    assert (verdict.permitted, verdict.quantity, verdict.at_ns) == (True, "position", NS)
    assert verdict.ratio == pytest.approx(0.99)


def test_pieces_too_short_to_prove_are_not_permitted_though_nothing_moves() -> None:
    verdict = certify(plan([0.0, 0.0], [0.0, 0.0], [0.0, 0.0], seconds=0.9e-3), limits())
    assert (verdict.permitted, verdict.reason) == (False, "spacing")
