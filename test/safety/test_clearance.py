"""Clearance check: a permitted plan keeps its distances at every instant, a refused plan comes close."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core.generators import SEED, T0, instants, rng_of
from hypothesis import given
from safety.shapes import CARTS, CLEAR, LIMITS, SHAPE, Carts, TwoLinks, poses_of, ride, straight

from vla_ros.core.records import NS, JointState
from vla_ros.core.trajectory import Plan
from vla_ros.safety import clearance as module
from vla_ros.safety.clearance import (
    BATCH_POSES,
    MAX_BRAKE_POSES,
    MAX_POSES,
    RESOLUTION_M,
    ClearanceChecker,
    ClearanceResult,
    check_clearance,
    run_to_completion,
)
from vla_ros.safety.monitors import MonitorConfig
from vla_ros.safety.remaining_trajectory import remaining_trajectory
from vla_ros.safety.state_machine import Mode
from vla_ros.safety.stopping import brake, path_stop
from vla_ros.safety.supervisor import Supervisor, SupervisorConfig


def any_motion(rng: np.random.Generator) -> Plan:
    """Random knots, from a pose that is mostly clear, at rest at the end."""
    pieces = int(rng.integers(1, 14))
    offsets = np.concatenate([[0], np.cumsum(rng.integers(2_000_000, 300_000_000, pieces))])
    p = CLEAR - 0.4 + rng.normal(0.0, 0.3, 2) + np.cumsum(rng.normal(0.0, 0.2, (pieces + 1, 2)), axis=0)
    v, a = rng.normal(0.0, 0.5, (pieces + 1, 2)), rng.normal(0.0, 3.0, (pieces + 1, 2))
    v[-1] = a[-1] = 0.0
    return Plan(LIMITS.joints, T0, offsets, p, v, a)


def densely(plan: Plan, count: int = 3000) -> np.ndarray:
    return SHAPE.distances(plan.at(instants(plan.start_ns, plan.end_ns, count)).position)


@given(SEED)
def test_permitted_plans_keep_their_distances_and_refused_plans_do_not(seed: int) -> None:
    plan = any_motion(rng_of(seed))
    space = ClearanceChecker(SHAPE)
    space.reset(plan.positions[0])
    start = densely(plan)[0]
    least = np.minimum(SHAPE.stop_distance, start - RESOLUTION_M)
    refusal, seen = space.check(plan), densely(plan)
    if refusal is None:
        assert (seen >= least - 1e-12).all()
    elif refusal.reason == "clearance":
        assert (seen < least + 2 * RESOLUTION_M).any()
    else:
        assert refusal.reason == "clearance_unproved"


def test_random_motions_cover_all_results() -> None:
    kinds = [space.check(any_motion(rng_of(seed))) for seed in range(200) for space in [ClearanceChecker(SHAPE)]]
    reasons = [kind.reason if kind else "" for kind in kinds]
    assert min(reasons.count(""), reasons.count("clearance")) > 30
    assert reasons.count("clearance_unproved") < 10


def test_a_violation_between_knots_is_found() -> None:
    """Clear at every knot and at every middle of a piece; only the bound between them tells."""
    rest, dip = np.array([1.2, 0.4]), np.array([0.75, 0.0])
    knots = np.array([rest, rest, rest, rest, dip, rest, rest, rest, rest])
    zero = np.zeros_like(knots)
    plan = Plan(LIMITS.joints, T0, np.arange(9) * (NS // 5), knots, zero, zero)
    assert ClearanceChecker(SHAPE).check(plan) is None
    nearer = Plan(LIMITS.joints, T0, np.arange(9) * (NS // 5), np.where(knots == dip, [0.62, 0.0], knots), zero, zero)
    refusal = ClearanceChecker(SHAPE).check(nearer)
    assert refusal is not None
    assert refusal.reason == "clearance"


def test_a_refusal_names_pair_distance_and_time() -> None:
    refusal = ClearanceChecker(SHAPE).check(straight(CLEAR, np.array([0.0, 0.0])))
    assert refusal is not None
    assert refusal.detail.startswith("the distance of tip and wall would be ")
    for words in ("mm about", "s after the start", "the minimum is 10.0 mm"):
        assert words in refusal.detail


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_an_invalid_distance_is_refused(bad: float) -> None:
    class Broken(TwoLinks):
        def distances(self, poses: np.ndarray, selected: np.ndarray | None = None) -> np.ndarray:
            out = super().distances(poses, selected)
            if len(self.calls) > 1:  # not at arming, nor where the plan starts
                out[-1, 1] = bad
            return out

    space = ClearanceChecker(Broken())
    space.reset(CLEAR)
    refusal = space.check(straight(CLEAR, CLEAR + 0.1))
    assert refusal is not None
    assert refusal.reason == "clearance"


# -- already too near --------------------------------------------------------------------------------

INSIDE = np.array([0.53, 0.28])
"""3 mm from the wall, where 10 mm are the least [rad]."""
AWAY = np.array([0.58, 0.33])


def test_an_arm_below_the_stop_distance_may_hold_and_move_out_but_not_go_deeper() -> None:
    assert SHAPE.distances(INSIDE[None])[0, 0] < SHAPE.stop_distance[0]
    for end, permitted in ((INSIDE, True), (AWAY, True), (CLEAR, True), (INSIDE - 0.02, False)):
        space = ClearanceChecker(SHAPE)
        space.reset(INSIDE)
        assert (space.check(straight(INSIDE, end)) is None) is permitted


def test_small_steps_together_go_deeper_by_at_most_one_resolution() -> None:
    space, pose = ClearanceChecker(SHAPE), INSIDE.copy()
    space.reset(pose)
    at_first = SHAPE.distances(pose[None])[0, 0]
    for step in np.tile([-0.0004, -0.0001, -0.00001], 200):
        if space.check(straight(pose, pose + step, duration_s=0.3)) is None:
            pose = pose + step
    assert at_first - 1.01 * RESOLUTION_M <= SHAPE.distances(pose[None])[0, 0] < at_first


def test_an_increased_distance_is_kept_until_the_next_arming() -> None:
    space = ClearanceChecker(SHAPE)
    space.reset(INSIDE)
    assert space.check(straight(INSIDE, AWAY)) is None
    assert space.check(straight(AWAY, AWAY + 0.001)) is None
    assert space.check(straight(AWAY, INSIDE)) is not None
    space.reset(INSIDE)  # armed anew where it stands: the operator's word
    assert space.check(straight(INSIDE, INSIDE)) is None


# -- the work it takes -------------------------------------------------------------------------------


def test_batches_and_total_number_of_poses_are_bounded() -> None:
    shape = TwoLinks()
    space = ClearanceChecker(shape)
    space.reset(CLEAR)
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape.calls.clear()
        parts = list(space.check_incrementally(any_motion(rng)))
        assert parts[:-1] == [None] * (len(parts) - 1)
        assert max(shape.calls) <= BATCH_POSES
        assert parts[-1].poses == sum(shape.calls) <= MAX_POSES + 1


def test_a_plan_that_needs_too_many_poses_is_refused() -> None:
    class Slippery(TwoLinks):
        """The same, but nobody knows how fast it may move."""

        motion_bound = TwoLinks.motion_bound * 1e3

    refusal = ClearanceChecker(Slippery()).check(straight(CLEAR, CLEAR + 0.3))
    assert refusal is not None
    assert refusal.reason == "clearance_unproved"


def looked(space: ClearanceChecker, plan: Plan) -> ClearanceResult:
    return run_to_completion(space.check_incrementally(plan))


def test_a_result_is_used_only_for_its_own_plan_and_requirement() -> None:
    shape = TwoLinks()
    space = ClearanceChecker(shape)
    space.reset(CLEAR)
    good, bad = straight(CLEAR, CLEAR + 0.1), straight(CLEAR, np.zeros(2))
    result = looked(space, good)
    shape.calls.clear()
    assert space.check(good, result) is None
    assert shape.calls == []
    assert space.check(bad, result) is not None
    assert shape.calls != []
    lenient = run_to_completion(check_clearance(bad, shape, lambda _start: np.full(2, -1.0)))
    assert lenient.refusal is None
    assert space.check(bad, lenient) is not None
    assert space.check(bad, replace(lenient, required=np.full(2, np.nan))) is not None


def test_without_a_collision_model_every_plan_is_permitted() -> None:
    space = ClearanceChecker()
    space.reset(CLEAR)
    assert space.check(straight(CLEAR, np.zeros(2))) is None
    assert list(space.check_incrementally(straight(CLEAR, np.zeros(2)))) == []
    assert space.proximity == 0.0


# -- in the supervisor -------------------------------------------------------------------------------


def supervisor(pose: np.ndarray, config: SupervisorConfig | None = None) -> Supervisor:
    """Armed in `pose` at T0, and ramped up to full speed."""
    it = Supervisor(LIMITS, config, ClearanceChecker(TwoLinks()))
    it.joint_state(JointState(T0, LIMITS.joints, pose, np.zeros(2)), T0)
    it.tick(T0)
    assert it.arm(T0).success
    return it


def test_a_plan_into_the_wall_is_refused_and_leaves_the_active_plan_unchanged() -> None:
    it = supervisor(CLEAR)
    before = it.active_plan()
    refusal = it.plan(straight(CLEAR, np.zeros(2), T0 + NS // 50), T0 + 1)
    assert refusal is not None
    assert refusal.reason == "clearance"
    assert it.active_plan() is before
    assert it.refused["clearance"] == 1
    assert it.accepted == 0
    assert it.mode is Mode.RUNNING
    assert it.plan(straight(CLEAR, CLEAR + 0.1, T0 + NS // 50), T0 + 2) is None


@pytest.mark.parametrize("asked_first", [False, True])
def test_an_incremental_check_gives_the_same_decision(asked_first: bool) -> None:
    it = supervisor(CLEAR)
    for end, permitted in ((np.zeros(2), False), (CLEAR + 0.1, True)):
        plan = straight(CLEAR, end, T0 + NS // 50)
        result = looked(it.clearance, plan) if asked_first else None
        assert (it.plan(plan, T0 + 1, result=result) is None) is permitted


def test_a_path_stop_at_any_instant_of_a_permitted_plan_keeps_its_distances() -> None:
    end = np.array([0.75, -0.1])
    plan = straight(CLEAR, end)
    space = ClearanceChecker(SHAPE)
    space.reset(CLEAR)
    assert space.check(plan) is None
    for now in instants(plan.start_ns, plan.end_ns - 1, 40):
        stop = path_stop(plan, int(now), LIMITS)
        poses = np.array([stop.at(int(t)).position for t in instants(int(now), stop.end_ns, 50)])
        assert (SHAPE.distances(poses) >= SHAPE.stop_distance).all()


# -- an emergency stop, which leaves the path ----------------------------------------------------------


def braked(plan: Plan, now: int) -> Plan:
    return remaining_trajectory([brake(plan.at(now), now, CARTS)], plan.joints, now)


def test_a_clear_brake_keeps_its_distances_and_any_other_comes_close() -> None:
    """Two carts keep any gap on their way; the front one brakes harder."""
    answers = []
    for gap in np.linspace(0.1, 0.8, 4):
        plan, space = ride(gap), ClearanceChecker(Carts())
        space.reset(plan.positions[0])
        assert space.check(plan) is None
        for now in instants(plan.start_ns, plan.end_ns - 1, 15):
            stop = braked(plan, int(now))
            nearest = np.diff(poses_of(stop, int(now), 50)).min()
            answers.append(space.is_clear(stop))
            assert nearest >= 0.05 if answers[-1] else nearest <= 0.05 + 2 * RESOLUTION_M
    assert 0.2 < np.mean(answers) < 0.8


def test_a_brake_is_checked_against_the_baseline_and_changes_no_state() -> None:
    plan, space = ride(0.02), ClearanceChecker(Carts())
    space.reset(plan.positions[0])
    kept, proximity = space._baseline, space.proximity
    assert space.is_clear(braked(plan, plan.start_ns))
    assert not space.is_clear(braked(plan, plan.start_ns + NS // 2))
    np.testing.assert_array_equal(space._baseline, kept)
    assert space.proximity == proximity


def test_the_check_of_a_brake_needs_few_poses() -> None:
    class Slippery(TwoLinks):
        motion_bound = TwoLinks.motion_bound * 1e3

    shape = Slippery()
    assert not ClearanceChecker(shape).is_clear(straight(CLEAR, CLEAR + 0.3))
    assert MAX_BRAKE_POSES / 2 <= sum(shape.calls) <= MAX_BRAKE_POSES + 1


def test_no_brake_is_clear_if_the_model_fails_and_every_brake_is_without_a_model() -> None:
    class Broken(TwoLinks):
        def distances(self, poses: np.ndarray, selected: np.ndarray | None = None) -> np.ndarray:
            raise RuntimeError("no model")

    still = straight(CLEAR, CLEAR)
    assert ClearanceChecker(SHAPE).is_clear(still)
    assert not ClearanceChecker(Broken()).is_clear(still)
    assert ClearanceChecker().is_clear(still)


def scale_after(it: Supervisor, now_ns: int) -> float:
    it.speed_scaling.scale(T0)
    return it.speed_scaling.scale(now_ns)


def test_the_speed_scale_falls_with_the_distance() -> None:
    scales = []
    for first in np.linspace(1.0, 0.6, 30):
        it = supervisor(CLEAR)
        plan = straight(CLEAR, np.array([first, 0.0]), T0 + NS // 50)
        if it.plan(plan, T0 + 1) is None:
            nearest = densely(plan)[:, 0].min()
            expected = np.clip((nearest - 0.01) / 0.04, 0.0, 1.0) * 0.9 + 0.1
            scales.append(scale_after(it, T0 + 5 * NS))
            assert scales[-1] == pytest.approx(expected, abs=0.02)
    assert scales[0] == 1.0
    assert scales[-1] < 0.4
    assert (np.diff(scales) <= 0.0).all()
    assert (np.abs(np.diff(scales)) < 0.25).all()


def test_arming_near_the_wall_sets_the_proximity() -> None:
    assert supervisor(INSIDE).clearance.proximity > 1.0


@pytest.mark.parametrize(("error", "scale"), [(0.1, 1.0), (0.25, 1.0), (0.375, 0.55), (0.45, 0.28), (0.5, 0.1)])
def test_tracking_error_slows_the_arm_before_it_stops_it(error: float, scale: float) -> None:
    it = supervisor(CLEAR, SupervisorConfig(MonitorConfig(max_joint_jump_ratio=100.0)))
    it.tick(T0 + 1)
    it.joint_state(JointState(T0 + 2, LIMITS.joints, CLEAR + np.array([error, 0.0]), np.zeros(2)), T0 + 2)
    assert scale_after(it, T0 + 5 * NS) == pytest.approx(scale)
    assert it.mode is Mode.RUNNING


def test_the_constants() -> None:
    constants = (RESOLUTION_M, module.MAX_POSES, module.MAX_BRAKE_POSES, module.BATCH_POSES, module.INITIAL_DEPTH)
    assert constants == (5e-4, 200, 40, 8, 3)


def seen(plan: Plan, least: float, **limits: int) -> ClearanceResult:
    return run_to_completion(check_clearance(plan, Carts(), lambda _start: np.array([least]), **limits))


def knots(gaps: list[float]) -> Plan:
    """Carts at rest at every knot, the back one at 0."""
    p = np.zeros((len(gaps), 2))
    p[:, 1] = gaps
    zero = np.zeros_like(p)
    return Plan(LIMITS.joints, T0, np.arange(len(gaps)) * (NS // 10), p, zero, zero)


def test_exactly_the_required_distance_is_permitted() -> None:
    assert seen(knots([0.25, 0.25]), 0.25).refusal is None
    assert seen(knots([0.25, 0.25]), np.nextafter(0.25, 1.0)).refusal is not None


@pytest.mark.parametrize(("pieces", "poses"), [(1, 2), (2, 2), (8, 5), (16, 9), (17, 6), (32, 9), (33, 6), (64, 9)])
def test_number_of_initial_intervals(pieces: int, poses: int) -> None:
    assert seen(knots([1.0] * (pieces + 1)), 0.25).poses == poses


def test_the_padding_is_at_rest_at_the_end_of_the_plan() -> None:
    """From there the last of three polynomials is proved at once, though from where it begins it is not."""
    assert seen(knots([0.5, 0.5, 0.5, 1.0]), 0.25).poses == 3


@pytest.mark.parametrize("cart", [0, 1])
@pytest.mark.parametrize(("pieces", "knot"), [(16, 4), (16, 12), (64, 10), (64, 17), (64, 38), (40, 37)])
def test_a_single_knot_that_is_too_close_is_found_at_any_index(pieces: int, knot: int, cart: int) -> None:
    """None of these is in the middle of a piece. The back cart comes from below, the front one from above."""
    plan = knots([1.0] * (pieces + 1))
    p = plan.positions.copy()
    p[knot, cart] += (0.8, -0.8)[cart]
    refusal = seen(Plan(plan.joints, T0, plan.offsets_ns, p, plan.velocities, plan.accelerations), 0.25).refusal
    assert refusal is not None
    assert refusal.reason == "clearance"


def test_an_interval_with_motion_below_the_resolution_is_not_bisected() -> None:
    """The piece ends 0.5 mm apart and moves as much, so at its start it may be at 0, and 0.25 mm are the least."""
    result = seen(knots([0.0, RESOLUTION_M]), RESOLUTION_M / 2)
    assert result.refusal is not None
    assert result.poses == 2


def test_the_maximum_number_of_poses_is_inclusive() -> None:
    plan = knots([1.0, 0.3, 1.0, 0.26, 1.0])
    result = seen(plan, 0.25)
    assert result.refusal is None
    assert result.poses == 7
    assert seen(plan, 0.25, max_poses=result.poses).refusal is None
    refusal = seen(plan, 0.25, max_poses=result.poses - 1).refusal
    assert refusal is not None
    assert refusal.reason == "clearance_unproved"


def test_a_result_with_one_lower_requirement_is_not_used() -> None:
    space, bad = ClearanceChecker(SHAPE), straight(CLEAR, np.zeros(2))
    space.reset(CLEAR)
    lenient = run_to_completion(check_clearance(bad, SHAPE, lambda _start: np.array([-1.0, TwoLinks.stop_distance[1]])))
    assert lenient.refusal is None
    assert space.check(bad, lenient) is not None


def test_before_arming_an_arm_below_the_stop_distance_may_hold() -> None:
    inside = np.array([0.53, 0.28])
    assert ClearanceChecker(SHAPE).check(straight(inside, inside)) is None


def at(plan: Plan, offsets_ns: np.ndarray) -> np.ndarray:
    return plan.at(plan.start_ns + offsets_ns.astype(np.int64)).position


@pytest.mark.parametrize(("seed", "count"), [(0, 1), (1, 5), (2, 11), (3, 17), (4, 34)])
def test_interval_bounds_contain_the_motion(seed: int, count: int) -> None:
    """Halved again and again, to quarters of polynomials."""
    rng = rng_of(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(5_000_000, 300_000_000, count))])
    plan = Plan(LIMITS.joints, T0, offsets, *(rng.normal(0.0, s, (count + 1, 2)) for s in (0.5, 1.0, 5.0)))
    pieces, spans = module._Intervals(plan), np.empty((0, 2))
    while pieces._level <= pieces._depth + 2:
        (middle, moved), width = pieces.bounds(), pieces._width
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
        pieces.bisect(np.full(len(pieces.index), True))
