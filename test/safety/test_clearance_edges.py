"""Space at the very edge of what it grants, and how much it looks at."""

import numpy as np
import pytest
from core.draw import T0, rng_of
from safety.shapes import CLEAR, LIMITS, SHAPE, Carts, TwoLinks, straight

from vla_ros.core.records import NS
from vla_ros.core.trajectory import Plan
from vla_ros.safety import clearance as module
from vla_ros.safety.clearance import RESOLUTION, Passage, Space, look_along, whole


def test_the_constants_are_changed_here_or_not_at_all() -> None:
    constants = (RESOLUTION, module.MOST, module.MOST_OF_A_BRAKE, module.AT_ONCE, module.COARSE)
    assert constants == (5e-4, 200, 40, 8, 3)


def seen(plan: Plan, least: float, **most: int) -> Passage:
    return whole(look_along(plan, Carts(), lambda _start: np.array([least]), **most))


def knots(gaps: list[float]) -> Plan:
    """Carts at rest at every knot, the back one at 0."""
    p = np.zeros((len(gaps), 2))
    p[:, 1] = gaps
    zero = np.zeros_like(p)
    return Plan(LIMITS.joints, T0, np.arange(len(gaps)) * (NS // 10), p, zero, zero)


def test_exactly_the_least_distance_is_enough() -> None:
    assert seen(knots([0.25, 0.25]), 0.25).refusal is None
    assert seen(knots([0.25, 0.25]), np.nextafter(0.25, 1.0)).refusal is not None


@pytest.mark.parametrize(("pieces", "poses"), [(1, 2), (2, 2), (8, 5), (16, 9), (17, 6), (32, 9), (33, 6), (64, 9)])
def test_into_how_many_pieces_a_plan_is_cut_at_first(pieces: int, poses: int) -> None:
    assert seen(knots([1.0] * (pieces + 1)), 0.25).poses == poses


def test_what_fills_up_the_last_piece_stands_where_the_plan_ends() -> None:
    """From there the last of three polynomials is proved at once, though from where it begins it is not."""
    assert seen(knots([0.5, 0.5, 0.5, 1.0]), 0.25).poses == 3


@pytest.mark.parametrize("cart", [0, 1])
@pytest.mark.parametrize(("pieces", "knot"), [(16, 4), (16, 12), (64, 10), (64, 17), (64, 38), (40, 37)])
def test_one_knot_that_is_too_near_is_found_wherever_it_is(pieces: int, knot: int, cart: int) -> None:
    """None of these is in the middle of a piece. The back cart comes from below, the front one from above."""
    plan = knots([1.0] * (pieces + 1))
    p = plan.positions.copy()
    p[knot, cart] += (0.8, -0.8)[cart]
    refusal = seen(Plan(plan.joints, T0, plan.offsets_ns, p, plan.velocities, plan.accelerations), 0.25).refusal
    assert refusal is not None
    assert refusal.reason == "space"


def test_where_bodies_move_less_than_the_resolution_nothing_is_halved() -> None:
    """The piece ends 0.5 mm apart and moves as much, so at its start it may be at 0, and 0.25 mm are the least."""
    passage = seen(knots([0.0, RESOLUTION]), RESOLUTION / 2)
    assert passage.refusal is not None
    assert passage.poses == 2


def test_as_many_poses_as_are_granted_may_be_looked_at() -> None:
    plan = knots([1.0, 0.3, 1.0, 0.26, 1.0])
    passage = seen(plan, 0.25)
    assert passage.refusal is None
    assert passage.poses == 7
    assert seen(plan, 0.25, most=passage.poses).refusal is None
    refusal = seen(plan, 0.25, most=passage.poses - 1).refusal
    assert refusal is not None
    assert refusal.reason == "space_unproved"


def test_a_passage_counts_only_if_every_distance_was_held_against_what_counts_now() -> None:
    space, bad = Space(SHAPE), straight(CLEAR, np.zeros(2))
    space.begin(CLEAR)
    lenient = whole(look_along(bad, SHAPE, lambda _start: np.array([-1.0, TwoLinks.stop[1]])))
    assert lenient.refusal is None
    assert space.judge(bad, lenient) is not None


def test_before_it_is_armed_an_arm_that_is_too_near_may_stay() -> None:
    inside = np.array([0.53, 0.28])
    assert Space(SHAPE).judge(straight(inside, inside)) is None


def at(plan: Plan, offsets_ns: np.ndarray) -> np.ndarray:
    return plan.at(plan.start_ns + offsets_ns.astype(np.int64)).position


@pytest.mark.parametrize(("seed", "count"), [(0, 1), (1, 5), (2, 11), (3, 17), (4, 34)])
def test_every_piece_is_about_its_middle_and_no_joint_goes_farther_from_there_than_it_says(
    seed: int, count: int
) -> None:
    """Halved again and again, to quarters of polynomials."""
    rng = rng_of(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(5_000_000, 300_000_000, count))])
    plan = Plan(LIMITS.joints, T0, offsets, *(rng.normal(0.0, s, (count + 1, 2)) for s in (0.5, 1.0, 5.0)))
    pieces, spans = module._Pieces(plan), np.empty((0, 2))
    while pieces._level <= pieces._depth + 2:
        (middle, moved), width = pieces.look(), pieces._width
        if pieces._level <= pieces._depth:
            np.testing.assert_array_equal(np.sort(pieces.index), np.arange(0, count, width))
            ends = np.minimum(pieces.index + width, count)
            spans = np.stack([offsets[pieces.index], offsets[ends]], axis=1).astype(float)
            halfway = np.minimum(pieces.index + width // 2, count)
            assert [pieces.offset_ns(i) for i in range(len(halfway))] == offsets[halfway].tolist()
        if pieces._level < pieces._depth:
            np.testing.assert_array_equal(middle, plan.positions[halfway])
        else:
            np.testing.assert_allclose(middle, at(plan, spans.mean(axis=1)), atol=1e-6)
        for (start, end), pose, most in zip(spans, middle, moved, strict=True):
            path = at(plan, np.linspace(start, end, 20))
            assert (np.abs(path - pose) <= most + 1e-7).all()
        halfway = spans.mean(axis=1)
        first, second = np.stack([spans[:, 0], halfway], axis=1), np.stack([halfway, spans[:, 1]], axis=1)
        spans = np.concatenate([first, second])
        pieces.split(np.full(len(pieces.index), True))
