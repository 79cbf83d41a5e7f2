"""Clearance check: a permitted plan keeps its distances at every instant, a refused plan comes close."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core.generators import SEED, T0, instants, rng_of
from hypothesis import given
from safety.collision_models import CARTS, CLEAR, LIMITS, MODEL, Carts, TwoLinks, cart_plan, sampled_poses, straight

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


def random_plan(rng: np.random.Generator) -> Plan:
    """A plan with random knots, usually clear at the start, at rest at the end."""
    intervals = int(rng.integers(1, 14))
    offsets = np.concatenate([[0], np.cumsum(rng.integers(2_000_000, 300_000_000, intervals))])
    p = CLEAR - 0.4 + rng.normal(0.0, 0.3, 2) + np.cumsum(rng.normal(0.0, 0.2, (intervals + 1, 2)), axis=0)
    v, a = rng.normal(0.0, 0.5, (intervals + 1, 2)), rng.normal(0.0, 3.0, (intervals + 1, 2))
    v[-1] = a[-1] = 0.0
    return Plan(LIMITS.joints, T0, offsets, p, v, a)


def sampled_distances(plan: Plan, count: int = 3000) -> np.ndarray:
    return MODEL.distances(plan.at(instants(plan.start_ns, plan.end_ns, count)).position)


@given(SEED)
def test_permitted_plans_keep_their_distances_and_refused_plans_do_not(seed: int) -> None:
    plan = random_plan(rng_of(seed))
    checker = ClearanceChecker(MODEL)
    checker.reset(plan.positions[0])
    start = sampled_distances(plan)[0]
    required = np.minimum(MODEL.stop_distance, start - RESOLUTION_M)
    refusal, distances = checker.check(plan), sampled_distances(plan)
    if refusal is None:
        assert (distances >= required - 1e-12).all()
    elif refusal.reason == "clearance":
        assert (distances < required + 2 * RESOLUTION_M).any()
    else:
        assert refusal.reason == "clearance_unproved"


def test_random_motions_cover_all_results() -> None:
    refusals = [
        checker.check(random_plan(rng_of(seed))) for seed in range(200) for checker in [ClearanceChecker(MODEL)]
    ]
    reasons = [refusal.reason if refusal else "" for refusal in refusals]
    assert min(reasons.count(""), reasons.count("clearance")) > 30
    assert reasons.count("clearance_unproved") < 10


def test_a_violation_between_knots_is_found() -> None:
    """Clear at every knot and at the middle of every segment, so only the bound between them reveals it."""
    rest, dip = np.array([1.2, 0.4]), np.array([0.75, 0.0])
    knots = np.array([rest, rest, rest, rest, dip, rest, rest, rest, rest])
    zero = np.zeros_like(knots)
    plan = Plan(LIMITS.joints, T0, np.arange(9) * (NS // 5), knots, zero, zero)
    assert ClearanceChecker(MODEL).check(plan) is None
    closer = Plan(LIMITS.joints, T0, np.arange(9) * (NS // 5), np.where(knots == dip, [0.62, 0.0], knots), zero, zero)
    refusal = ClearanceChecker(MODEL).check(closer)
    assert refusal is not None
    assert refusal.reason == "clearance"


def test_a_refusal_names_pair_distance_and_time() -> None:
    refusal = ClearanceChecker(MODEL).check(straight(CLEAR, np.array([0.0, 0.0])))
    assert refusal is not None
    assert refusal.detail.startswith("the distance of tip and wall would be ")
    for text in ("mm about", "s after the start", "the minimum is 10.0 mm"):
        assert text in refusal.detail


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_an_invalid_distance_is_refused(bad: float) -> None:
    class FailingModel(TwoLinks):
        def distances(self, poses: np.ndarray, selected: np.ndarray | None = None) -> np.ndarray:
            out = super().distances(poses, selected)
            if len(self.calls) > 1:  # neither at arming nor at the start of the plan
                out[-1, 1] = bad
            return out

    checker = ClearanceChecker(FailingModel())
    checker.reset(CLEAR)
    refusal = checker.check(straight(CLEAR, CLEAR + 0.1))
    assert refusal is not None
    assert refusal.reason == "clearance"


# -- armed below the stop distance --------------------------------------------------------------------------------

INSIDE = np.array([0.53, 0.28])
"""3 mm from the wall, where 10 mm are required [rad]."""
AWAY = np.array([0.58, 0.33])


def test_an_arm_below_the_stop_distance_may_hold_and_move_out_but_not_go_deeper() -> None:
    assert MODEL.distances(INSIDE[None])[0, 0] < MODEL.stop_distance[0]
    for end, permitted in ((INSIDE, True), (AWAY, True), (CLEAR, True), (INSIDE - 0.02, False)):
        checker = ClearanceChecker(MODEL)
        checker.reset(INSIDE)
        assert (checker.check(straight(INSIDE, end)) is None) is permitted


def test_small_steps_together_go_deeper_by_at_most_one_resolution() -> None:
    checker, pose = ClearanceChecker(MODEL), INSIDE.copy()
    checker.reset(pose)
    at_first = MODEL.distances(pose[None])[0, 0]
    for step in np.tile([-0.0004, -0.0001, -0.00001], 200):
        if checker.check(straight(pose, pose + step, duration_s=0.3)) is None:
            pose = pose + step
    assert at_first - 1.01 * RESOLUTION_M <= MODEL.distances(pose[None])[0, 0] < at_first


def test_an_increased_distance_is_kept_until_the_next_arming() -> None:
    checker = ClearanceChecker(MODEL)
    checker.reset(INSIDE)
    assert checker.check(straight(INSIDE, AWAY)) is None
    assert checker.check(straight(AWAY, AWAY + 0.001)) is None
    assert checker.check(straight(AWAY, INSIDE)) is not None
    checker.reset(INSIDE)  # armed again at this pose
    assert checker.check(straight(INSIDE, INSIDE)) is None


# -- computation time -------------------------------------------------------------------------------


def test_batches_and_total_number_of_poses_are_bounded() -> None:
    model = TwoLinks()
    checker = ClearanceChecker(model)
    checker.reset(CLEAR)
    rng = np.random.default_rng(0)
    for _ in range(50):
        model.calls.clear()
        parts = list(checker.check_incrementally(random_plan(rng)))
        assert parts[:-1] == [None] * (len(parts) - 1)
        assert max(model.calls) <= BATCH_POSES
        assert parts[-1].poses == sum(model.calls) <= MAX_POSES + 1


def test_a_plan_that_needs_too_many_poses_is_refused() -> None:
    class LooseBounds(TwoLinks):
        """The same arm with motion bounds that are too loose to prove anything."""

        motion_bound = TwoLinks.motion_bound * 1e3

    refusal = ClearanceChecker(LooseBounds()).check(straight(CLEAR, CLEAR + 0.3))
    assert refusal is not None
    assert refusal.reason == "clearance_unproved"


def checked(checker: ClearanceChecker, plan: Plan) -> ClearanceResult:
    return run_to_completion(checker.check_incrementally(plan))


def test_a_result_is_used_only_for_its_own_plan_and_requirement() -> None:
    model = TwoLinks()
    checker = ClearanceChecker(model)
    checker.reset(CLEAR)
    good, bad = straight(CLEAR, CLEAR + 0.1), straight(CLEAR, np.zeros(2))
    result = checked(checker, good)
    model.calls.clear()
    assert checker.check(good, result) is None
    assert model.calls == []
    assert checker.check(bad, result) is not None
    assert model.calls != []
    permissive = run_to_completion(check_clearance(bad, model, lambda _start: np.full(2, -1.0)))
    assert permissive.refusal is None
    assert checker.check(bad, permissive) is not None
    assert checker.check(bad, replace(permissive, required=np.full(2, np.nan))) is not None


def test_without_a_collision_model_every_plan_is_permitted() -> None:
    checker = ClearanceChecker()
    checker.reset(CLEAR)
    assert checker.check(straight(CLEAR, np.zeros(2))) is None
    assert list(checker.check_incrementally(straight(CLEAR, np.zeros(2)))) == []
    assert checker.proximity == 0.0


# -- with the supervisor -------------------------------------------------------------------------------


def armed_supervisor(pose: np.ndarray, config: SupervisorConfig | None = None) -> Supervisor:
    """A supervisor armed in `pose` at T0."""
    supervisor = Supervisor(LIMITS, config, ClearanceChecker(TwoLinks()))
    supervisor.joint_state(JointState(T0, LIMITS.joints, pose, np.zeros(2)), T0)
    supervisor.tick(T0)
    assert supervisor.arm(T0).success
    return supervisor


def test_a_plan_into_the_wall_is_refused_and_leaves_the_active_plan_unchanged() -> None:
    supervisor = armed_supervisor(CLEAR)
    before = supervisor.active_plan()
    refusal = supervisor.plan(straight(CLEAR, np.zeros(2), T0 + NS // 50), T0 + 1)
    assert refusal is not None
    assert refusal.reason == "clearance"
    assert supervisor.active_plan() is before
    assert supervisor.refusal_counts["clearance"] == 1
    assert supervisor.accepted == 0
    assert supervisor.mode is Mode.RUNNING
    assert supervisor.plan(straight(CLEAR, CLEAR + 0.1, T0 + NS // 50), T0 + 2) is None


@pytest.mark.parametrize("incremental", [False, True])
def test_an_incremental_check_gives_the_same_decision(incremental: bool) -> None:
    supervisor = armed_supervisor(CLEAR)
    for end, permitted in ((np.zeros(2), False), (CLEAR + 0.1, True)):
        plan = straight(CLEAR, end, T0 + NS // 50)
        result = checked(supervisor.clearance, plan) if incremental else None
        assert (supervisor.plan(plan, T0 + 1, result=result) is None) is permitted


def test_a_path_stop_at_any_instant_of_a_permitted_plan_keeps_its_distances() -> None:
    end = np.array([0.75, -0.1])
    plan = straight(CLEAR, end)
    checker = ClearanceChecker(MODEL)
    checker.reset(CLEAR)
    assert checker.check(plan) is None
    for now in instants(plan.start_ns, plan.end_ns - 1, 40):
        stop = path_stop(plan, int(now), LIMITS)
        poses = np.array([stop.at(int(t)).position for t in instants(int(now), stop.end_ns, 50)])
        assert (MODEL.distances(poses) >= MODEL.stop_distance).all()


# -- emergency stops, which leave the path ----------------------------------------------------------


def brake_of(plan: Plan, now: int) -> Plan:
    return remaining_trajectory([brake(plan.at(now), now, CARTS)], plan.joints, now)


def test_a_clear_brake_keeps_its_distances_and_any_other_comes_close() -> None:
    """Two carts keep their gap along the plan; the front one brakes harder."""
    results = []
    for gap in np.linspace(0.1, 0.8, 4):
        plan, checker = cart_plan(gap), ClearanceChecker(Carts())
        checker.reset(plan.positions[0])
        assert checker.check(plan) is None
        for now in instants(plan.start_ns, plan.end_ns - 1, 15):
            stop = brake_of(plan, int(now))
            minimum = np.diff(sampled_poses(stop, int(now), 50)).min()
            results.append(checker.is_clear(stop))
            assert minimum >= 0.05 if results[-1] else minimum <= 0.05 + 2 * RESOLUTION_M
    assert 0.2 < np.mean(results) < 0.8


def test_a_brake_is_checked_against_the_baseline_and_changes_no_state() -> None:
    plan, checker = cart_plan(0.02), ClearanceChecker(Carts())
    checker.reset(plan.positions[0])
    baseline, proximity = checker._baseline, checker.proximity
    assert checker.is_clear(brake_of(plan, plan.start_ns))
    assert not checker.is_clear(brake_of(plan, plan.start_ns + NS // 2))
    np.testing.assert_array_equal(checker._baseline, baseline)
    assert checker.proximity == proximity


def test_the_check_of_a_brake_needs_few_poses() -> None:
    class LooseBounds(TwoLinks):
        motion_bound = TwoLinks.motion_bound * 1e3

    model = LooseBounds()
    assert not ClearanceChecker(model).is_clear(straight(CLEAR, CLEAR + 0.3))
    assert MAX_BRAKE_POSES / 2 <= sum(model.calls) <= MAX_BRAKE_POSES + 1


def test_no_brake_is_clear_if_the_model_fails_and_every_brake_is_without_a_model() -> None:
    class FailingModel(TwoLinks):
        def distances(self, poses: np.ndarray, selected: np.ndarray | None = None) -> np.ndarray:
            raise RuntimeError("no model")

    still = straight(CLEAR, CLEAR)
    assert ClearanceChecker(MODEL).is_clear(still)
    assert not ClearanceChecker(FailingModel()).is_clear(still)
    assert ClearanceChecker().is_clear(still)


def scale_after(supervisor: Supervisor, now_ns: int) -> float:
    supervisor.speed_scaling.scale(T0)
    return supervisor.speed_scaling.scale(now_ns)


def test_the_speed_scale_falls_with_the_distance() -> None:
    scales = []
    for first in np.linspace(1.0, 0.6, 30):
        supervisor = armed_supervisor(CLEAR)
        plan = straight(CLEAR, np.array([first, 0.0]), T0 + NS // 50)
        if supervisor.plan(plan, T0 + 1) is None:
            minimum = sampled_distances(plan)[:, 0].min()
            expected = np.clip((minimum - 0.01) / 0.04, 0.0, 1.0) * 0.9 + 0.1
            scales.append(scale_after(supervisor, T0 + 5 * NS))
            assert scales[-1] == pytest.approx(expected, abs=0.02)
    assert scales[0] == 1.0
    assert scales[-1] < 0.4
    assert (np.diff(scales) <= 0.0).all()
    assert (np.abs(np.diff(scales)) < 0.25).all()


def test_arming_near_the_wall_sets_the_proximity() -> None:
    assert armed_supervisor(INSIDE).clearance.proximity > 1.0


@pytest.mark.parametrize(("error", "scale"), [(0.1, 1.0), (0.25, 1.0), (0.375, 0.55), (0.45, 0.28), (0.5, 0.1)])
def test_tracking_error_slows_the_arm_before_it_stops_it(error: float, scale: float) -> None:
    supervisor = armed_supervisor(CLEAR, SupervisorConfig(MonitorConfig(max_joint_jump_ratio=100.0)))
    supervisor.tick(T0 + 1)
    supervisor.joint_state(JointState(T0 + 2, LIMITS.joints, CLEAR + np.array([error, 0.0]), np.zeros(2)), T0 + 2)
    assert scale_after(supervisor, T0 + 5 * NS) == pytest.approx(scale)
    assert supervisor.mode is Mode.RUNNING


def test_the_constants() -> None:
    constants = (RESOLUTION_M, module.MAX_POSES, module.MAX_BRAKE_POSES, module.BATCH_POSES, module.INITIAL_DEPTH)
    assert constants == (5e-4, 200, 40, 8, 3)


def result_of(plan: Plan, required: float, **limits: int) -> ClearanceResult:
    return run_to_completion(check_clearance(plan, Carts(), lambda _start: np.array([required]), **limits))


def plan_with_gaps(gaps: list[float]) -> Plan:
    """Carts at rest at every knot, the back cart at 0."""
    p = np.zeros((len(gaps), 2))
    p[:, 1] = gaps
    zero = np.zeros_like(p)
    return Plan(LIMITS.joints, T0, np.arange(len(gaps)) * (NS // 10), p, zero, zero)


def test_exactly_the_required_distance_is_permitted() -> None:
    assert result_of(plan_with_gaps([0.25, 0.25]), 0.25).refusal is None
    assert result_of(plan_with_gaps([0.25, 0.25]), np.nextafter(0.25, 1.0)).refusal is not None


@pytest.mark.parametrize(("intervals", "poses"), [(1, 2), (2, 2), (8, 5), (16, 9), (17, 6), (32, 9), (33, 6), (64, 9)])
def test_number_of_initial_intervals(intervals: int, poses: int) -> None:
    assert result_of(plan_with_gaps([1.0] * (intervals + 1)), 0.25).poses == poses


def test_the_padding_is_at_rest_at_the_end_of_the_plan() -> None:
    """The last of three segments is proved from its end, though not from its start."""
    assert result_of(plan_with_gaps([0.5, 0.5, 0.5, 1.0]), 0.25).poses == 3


@pytest.mark.parametrize("cart", [0, 1])
@pytest.mark.parametrize(("intervals", "knot"), [(16, 4), (16, 12), (64, 10), (64, 17), (64, 38), (40, 37)])
def test_a_single_knot_that_is_too_close_is_found_at_any_index(intervals: int, knot: int, cart: int) -> None:
    """None of these knots is in the middle of an interval. The back cart comes from below, the front one from above."""
    plan = plan_with_gaps([1.0] * (intervals + 1))
    p = plan.positions.copy()
    p[knot, cart] += (0.8, -0.8)[cart]
    refusal = result_of(Plan(plan.joints, T0, plan.offsets_ns, p, plan.velocities, plan.accelerations), 0.25).refusal
    assert refusal is not None
    assert refusal.reason == "clearance"


def test_an_interval_with_motion_below_the_resolution_is_not_bisected() -> None:
    """The segment ends at 0.5 mm and moves by as much, so its start may be at 0, where 0.25 mm are required."""
    result = result_of(plan_with_gaps([0.0, RESOLUTION_M]), RESOLUTION_M / 2)
    assert result.refusal is not None
    assert result.poses == 2


def test_the_maximum_number_of_poses_is_inclusive() -> None:
    plan = plan_with_gaps([1.0, 0.3, 1.0, 0.26, 1.0])
    result = result_of(plan, 0.25)
    assert result.refusal is None
    assert result.poses == 7
    assert result_of(plan, 0.25, max_poses=result.poses).refusal is None
    refusal = result_of(plan, 0.25, max_poses=result.poses - 1).refusal
    assert refusal is not None
    assert refusal.reason == "clearance_unproved"


def test_a_result_with_one_lower_requirement_is_not_used() -> None:
    checker, bad = ClearanceChecker(MODEL), straight(CLEAR, np.zeros(2))
    checker.reset(CLEAR)
    permissive = run_to_completion(
        check_clearance(bad, MODEL, lambda _start: np.array([-1.0, TwoLinks.stop_distance[1]]))
    )
    assert permissive.refusal is None
    assert checker.check(bad, permissive) is not None


def test_before_arming_an_arm_below_the_stop_distance_may_hold() -> None:
    inside = np.array([0.53, 0.28])
    assert ClearanceChecker(MODEL).check(straight(inside, inside)) is None


def positions_at(plan: Plan, offsets_ns: np.ndarray) -> np.ndarray:
    return plan.at(plan.start_ns + offsets_ns.astype(np.int64)).position


@pytest.mark.parametrize(("seed", "count"), [(0, 1), (1, 5), (2, 11), (3, 17), (4, 34)])
def test_interval_bounds_contain_the_motion(seed: int, count: int) -> None:
    """Bisected repeatedly, down to quarters of segments."""
    rng = rng_of(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(5_000_000, 300_000_000, count))])
    plan = Plan(LIMITS.joints, T0, offsets, *(rng.normal(0.0, s, (count + 1, 2)) for s in (0.5, 1.0, 5.0)))
    intervals, spans = module._Intervals(plan), np.empty((0, 2))
    while intervals._level <= intervals._depth + 2:
        (middle, moved), width = intervals.bounds(), intervals._width
        if intervals._level <= intervals._depth:
            np.testing.assert_array_equal(np.sort(intervals.index), np.arange(0, count, width))
            ends = np.minimum(intervals.index + width, count)
            spans = np.stack([offsets[intervals.index], offsets[ends]], axis=1).astype(float)
            halfway = np.minimum(intervals.index + width // 2, count)
            assert [intervals.offset_ns(i) for i in range(len(halfway))] == offsets[halfway].tolist()
        if intervals._level < intervals._depth:
            np.testing.assert_array_equal(middle, plan.positions[halfway])
        else:
            np.testing.assert_allclose(middle, positions_at(plan, spans.mean(axis=1)), atol=1e-6)
        for (start, end), pose, displacement in zip(spans, middle, moved, strict=True):
            path = positions_at(plan, np.linspace(start, end, 20))
            assert (np.abs(path - pose) <= displacement + 1e-7).all()
        halfway = spans.mean(axis=1)
        first, second = np.stack([spans[:, 0], halfway], axis=1), np.stack([halfway, spans[:, 1]], axis=1)
        spans = np.concatenate([first, second])
        intervals.bisect(np.full(len(intervals.index), True))
