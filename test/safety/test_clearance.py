"""Space: what is permitted keeps its distance at every instant, what is refused really comes near."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core.draw import SEED, T0, instants, rng_of
from hypothesis import given
from safety.shapes import CARTS, CLEAR, LIMITS, SHAPE, Carts, TwoLinks, poses_of, ride, straight

from vla_ros.core.records import NS, JointState
from vla_ros.core.trajectory import Plan
from vla_ros.safety.clearance import AT_ONCE, MOST, MOST_OF_A_BRAKE, RESOLUTION, Passage, Space, look_along, whole
from vla_ros.safety.remaining_trajectory import ahead
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
def test_what_is_permitted_keeps_its_distance_and_what_is_refused_does_not(seed: int) -> None:
    plan = any_motion(rng_of(seed))
    space = Space(SHAPE)
    space.begin(plan.positions[0])
    start = densely(plan)[0]
    least = np.minimum(SHAPE.stop, start - RESOLUTION)
    refusal, seen = space.judge(plan), densely(plan)
    if refusal is None:
        assert (seen >= least - 1e-12).all()
    elif refusal.reason == "space":
        assert (seen < least + 2 * RESOLUTION).any()
    else:
        assert refusal.reason == "space_unproved"


def test_random_motions_are_of_all_kinds() -> None:
    kinds = [space.judge(any_motion(rng_of(seed))) for seed in range(200) for space in [Space(SHAPE)]]
    reasons = [kind.reason if kind else "" for kind in kinds]
    assert min(reasons.count(""), reasons.count("space")) > 30
    assert reasons.count("space_unproved") < 10


def test_a_dip_between_two_samples_is_found() -> None:
    """Clear at every knot and at every middle of a piece; only the bound between them tells."""
    rest, dip = np.array([1.2, 0.4]), np.array([0.75, 0.0])
    knots = np.array([rest, rest, rest, rest, dip, rest, rest, rest, rest])
    zero = np.zeros_like(knots)
    plan = Plan(LIMITS.joints, T0, np.arange(9) * (NS // 5), knots, zero, zero)
    assert Space(SHAPE).judge(plan) is None
    nearer = Plan(LIMITS.joints, T0, np.arange(9) * (NS // 5), np.where(knots == dip, [0.62, 0.0], knots), zero, zero)
    refusal = Space(SHAPE).judge(nearer)
    assert refusal is not None
    assert refusal.reason == "space"


def test_a_refusal_says_what_and_how_near_and_when() -> None:
    refusal = Space(SHAPE).judge(straight(CLEAR, np.array([0.0, 0.0])))
    assert refusal is not None
    assert refusal.detail.startswith("tip and wall would be ")
    for words in ("mm apart about", "s after the start", "at least 10.0 mm"):
        assert words in refusal.detail


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_distance_that_is_none_is_never_far_enough(bad: float) -> None:
    class Broken(TwoLinks):
        def distances(self, poses: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
            out = super().distances(poses, wanted)
            if len(self.calls) > 1:  # not at arming, nor where the plan starts
                out[-1, 1] = bad
            return out

    space = Space(Broken())
    space.begin(CLEAR)
    refusal = space.judge(straight(CLEAR, CLEAR + 0.1))
    assert refusal is not None
    assert refusal.reason == "space"


# -- already too near --------------------------------------------------------------------------------

INSIDE = np.array([0.53, 0.28])
"""3 mm from the wall, where 10 mm are the least [rad]."""
AWAY = np.array([0.58, 0.33])


def test_an_arm_that_is_too_near_may_hold_still_and_come_out_but_not_go_deeper() -> None:
    assert SHAPE.distances(INSIDE[None])[0, 0] < SHAPE.stop[0]
    for end, permitted in ((INSIDE, True), (AWAY, True), (CLEAR, True), (INSIDE - 0.02, False)):
        space = Space(SHAPE)
        space.begin(INSIDE)
        assert (space.judge(straight(INSIDE, end)) is None) is permitted


def test_going_deeper_in_small_steps_ends_at_the_first_resolution() -> None:
    space, pose = Space(SHAPE), INSIDE.copy()
    space.begin(pose)
    at_first = SHAPE.distances(pose[None])[0, 0]
    for step in np.tile([-0.0004, -0.0001, -0.00001], 200):
        if space.judge(straight(pose, pose + step, duration_s=0.3)) is None:
            pose = pose + step
    assert at_first - 1.01 * RESOLUTION <= SHAPE.distances(pose[None])[0, 0] < at_first


def test_what_was_gained_is_not_given_back() -> None:
    space = Space(SHAPE)
    space.begin(INSIDE)
    assert space.judge(straight(INSIDE, AWAY)) is None
    assert space.judge(straight(AWAY, AWAY + 0.001)) is None
    assert space.judge(straight(AWAY, INSIDE)) is not None
    space.begin(INSIDE)  # armed anew where it stands: the operator's word
    assert space.judge(straight(INSIDE, INSIDE)) is None


# -- the work it takes -------------------------------------------------------------------------------


def test_others_have_their_turn_after_few_poses_and_the_work_is_bounded() -> None:
    shape = TwoLinks()
    space = Space(shape)
    space.begin(CLEAR)
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape.calls.clear()
        parts = list(space.look(any_motion(rng)))
        assert parts[:-1] == [None] * (len(parts) - 1)
        assert max(shape.calls) <= AT_ONCE
        assert parts[-1].poses == sum(shape.calls) <= MOST + 1


def test_a_plan_that_cannot_be_proved_in_time_is_refused() -> None:
    class Slippery(TwoLinks):
        """The same, but nobody knows how fast it may move."""

        reach = TwoLinks.reach * 1e3

    refusal = Space(Slippery()).judge(straight(CLEAR, CLEAR + 0.3))
    assert refusal is not None
    assert refusal.reason == "space_unproved"


def looked(space: Space, plan: Plan) -> Passage:
    return whole(space.look(plan))


def test_a_passage_counts_for_its_own_plan_and_for_what_was_asked() -> None:
    shape = TwoLinks()
    space = Space(shape)
    space.begin(CLEAR)
    good, bad = straight(CLEAR, CLEAR + 0.1), straight(CLEAR, np.zeros(2))
    passage = looked(space, good)
    shape.calls.clear()
    assert space.judge(good, passage) is None
    assert shape.calls == []
    assert space.judge(bad, passage) is not None
    assert shape.calls != []
    lenient = whole(look_along(bad, shape, lambda _start: np.full(2, -1.0)))
    assert lenient.refusal is None
    assert space.judge(bad, lenient) is not None
    assert space.judge(bad, replace(lenient, least=np.full(2, np.nan))) is not None


def test_without_a_shape_every_plan_keeps_clear() -> None:
    space = Space()
    space.begin(CLEAR)
    assert space.judge(straight(CLEAR, np.zeros(2))) is None
    assert list(space.look(straight(CLEAR, np.zeros(2)))) == []
    assert space.nearness == 0.0


# -- in the supervisor -------------------------------------------------------------------------------


def supervisor(pose: np.ndarray, config: SupervisorConfig | None = None) -> Supervisor:
    """Armed in `pose` at T0, and ramped up to full speed."""
    it = Supervisor(LIMITS, config, Space(TwoLinks()))
    it.joint_state(JointState(T0, LIMITS.joints, pose, np.zeros(2)), T0)
    it.tick(T0)
    assert it.arm(T0).ok
    return it


def test_a_plan_into_the_wall_is_refused_and_changes_nothing() -> None:
    it = supervisor(CLEAR)
    before = it.in_force()
    refusal = it.plan(straight(CLEAR, np.zeros(2), T0 + NS // 50), T0 + 1)
    assert refusal is not None
    assert refusal.reason == "space"
    assert it.in_force() is before
    assert it.refused["space"] == 1
    assert it.accepted == 0
    assert it.mode is Mode.RUNNING
    assert it.plan(straight(CLEAR, CLEAR + 0.1, T0 + NS // 50), T0 + 2) is None


@pytest.mark.parametrize("asked_first", [False, True])
def test_a_look_made_before_counts_the_same(asked_first: bool) -> None:
    it = supervisor(CLEAR)
    for end, permitted in ((np.zeros(2), False), (CLEAR + 0.1, True)):
        plan = straight(CLEAR, end, T0 + NS // 50)
        passage = looked(it.space, plan) if asked_first else None
        assert (it.plan(plan, T0 + 1, passage=passage) is None) is permitted


def test_a_stop_at_any_instant_of_a_permitted_plan_stays_clear() -> None:
    end = np.array([0.75, -0.1])
    plan = straight(CLEAR, end)
    space = Space(SHAPE)
    space.begin(CLEAR)
    assert space.judge(plan) is None
    for now in instants(plan.start_ns, plan.end_ns - 1, 40):
        stop = path_stop(plan, int(now), LIMITS)
        poses = np.array([stop.at(int(t)).position for t in instants(int(now), stop.end_ns, 50)])
        assert (SHAPE.distances(poses) >= SHAPE.stop).all()


# -- an emergency stop, which leaves the path ----------------------------------------------------------


def braked(plan: Plan, now: int) -> Plan:
    return ahead([brake(plan.at(now), now, CARTS)], plan.joints, now)


def test_a_brake_that_is_clear_keeps_its_distance_and_one_that_is_not_comes_near() -> None:
    """Two carts keep any gap on their way; the front one brakes harder."""
    answers = []
    for gap in np.linspace(0.1, 0.8, 4):
        plan, space = ride(gap), Space(Carts())
        space.begin(plan.positions[0])
        assert space.judge(plan) is None
        for now in instants(plan.start_ns, plan.end_ns - 1, 15):
            stop = braked(plan, int(now))
            nearest = np.diff(poses_of(stop, int(now), 50)).min()
            answers.append(space.clear(stop))
            assert nearest >= 0.05 if answers[-1] else nearest <= 0.05 + 2 * RESOLUTION
    assert 0.2 < np.mean(answers) < 0.8


def test_a_brake_is_held_against_what_the_arm_was_armed_with_and_changes_nothing() -> None:
    plan, space = ride(0.02), Space(Carts())
    space.begin(plan.positions[0])
    kept, nearness = space._kept, space.nearness
    assert space.clear(braked(plan, plan.start_ns))
    assert not space.clear(braked(plan, plan.start_ns + NS // 2))
    np.testing.assert_array_equal(space._kept, kept)
    assert space.nearness == nearness


def test_an_emergency_waits_for_few_poses() -> None:
    class Slippery(TwoLinks):
        reach = TwoLinks.reach * 1e3

    shape = Slippery()
    assert not Space(shape).clear(straight(CLEAR, CLEAR + 0.3))
    assert MOST_OF_A_BRAKE / 2 <= sum(shape.calls) <= MOST_OF_A_BRAKE + 1


def test_a_shape_that_fails_clears_no_brake_and_without_one_every_brake_is_clear() -> None:
    class Broken(TwoLinks):
        def distances(self, poses: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
            raise RuntimeError("no model")

    still = straight(CLEAR, CLEAR)
    assert Space(SHAPE).clear(still)
    assert not Space(Broken()).clear(still)
    assert Space().clear(still)


def scale_after(it: Supervisor, now_ns: int) -> float:
    it.speed.scale(T0)
    return it.speed.scale(now_ns)


def test_the_nearer_a_plan_comes_the_slower_it_goes() -> None:
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


def test_an_arm_armed_near_the_wall_begins_slowly() -> None:
    assert supervisor(INSIDE).space.nearness > 1.0


@pytest.mark.parametrize(("error", "scale"), [(0.1, 1.0), (0.25, 1.0), (0.375, 0.55), (0.45, 0.28), (0.5, 0.1)])
def test_an_arm_that_strays_goes_slower_before_it_is_stopped(error: float, scale: float) -> None:
    it = supervisor(CLEAR, SupervisorConfig(joint_jump=100.0, tracking_warn=0.25, tracking_stop=0.5))
    it.tick(T0 + 1)
    it.joint_state(JointState(T0 + 2, LIMITS.joints, CLEAR + np.array([error, 0.0]), np.zeros(2)), T0 + 2)
    assert scale_after(it, T0 + 5 * NS) == pytest.approx(scale)
    assert it.mode is Mode.RUNNING
