"""What the robot is told: nothing unproved, nothing after a stop but the stop, and rest after silence."""

from __future__ import annotations

import numpy as np
import pytest
from core.draw import SEED, T0, arm_limits, assert_inside, names, rng_of, wild_chunk
from hypothesis import given, settings

from vla_ros.core.errors import ConfigError
from vla_ros.core.modes import Mode
from vla_ros.core.plan import Plan
from vla_ros.core.planner import Planner, PlannerConfig
from vla_ros.core.records import NS, Chunk, JointState, Refusal
from vla_ros.core.supervisor import Supervisor, SupervisorConfig

MS = 1_000_000
LIMITS = arm_limits(3)
START = np.array([0.3, -0.2, 0.1])
PLANNER = Planner(LIMITS, PlannerConfig(max_disagreement=10.0))


def measured(positions: np.ndarray = START, stamp_ns: int = T0, joints: tuple[str, ...] = LIMITS.joints) -> JointState:
    return JointState(stamp_ns, joints, positions, np.zeros(len(positions)))


def armed(now: int = T0) -> Supervisor:
    supervisor = Supervisor(LIMITS)
    assert supervisor.joint_state(measured(stamp_ns=now), now) is None
    assert supervisor.arm(now).ok
    return supervisor


def reach(supervisor: Supervisor, now: int, target: float = 1.0) -> Plan:
    """A plan that carries every joint towards `target`, from the plan in force."""
    in_force = supervisor.in_force()
    assert in_force is not None
    plan = PLANNER.plan(Chunk.from_rate(now, LIMITS.joints, np.full((60, 3), target), 1 / 30), in_force, now)
    assert isinstance(plan, Plan)
    return plan


def run(supervisor: Supervisor, start: int, end: int, *, fresh: bool = True) -> list:
    """Commands every 2 ms, with joint states of an arm that obeys, or without."""
    commands = []
    pose = START if supervisor.watch.measured is None else supervisor.watch.measured.positions
    for now in range(start, end, 2 * MS):
        if fresh:
            supervisor.joint_state(measured(pose, now), now)
        commands.append(supervisor.tick(now))
        pose = commands[-1].state.position if commands[-1] else pose
    return commands


def moving(now: int = T0) -> tuple[Supervisor, Plan, int]:
    """A supervisor 0.3 s into a motion."""
    supervisor = armed(now)
    supervisor.tick(now)
    plan = reach(supervisor, now)
    assert supervisor.plan(plan, now) is None
    run(supervisor, now, now + 300 * MS)
    return supervisor, plan, now + 300 * MS


def speed(supervisor: Supervisor, now: int) -> float:
    command = supervisor.tick(now)
    assert command is not None
    return float(np.abs(command.state.velocity).max())


def test_nothing_is_commanded_before_it_is_armed() -> None:
    supervisor = Supervisor(LIMITS)
    assert supervisor.tick(T0) is None
    assert not supervisor.arm(T0).ok
    supervisor.joint_state(measured(), T0)
    assert supervisor.tick(T0) is None
    assert supervisor.mode is Mode.READY
    assert supervisor.in_force() is None


def test_armed_it_holds_the_measured_pose() -> None:
    supervisor = armed()
    for command in run(supervisor, T0, T0 + NS):
        np.testing.assert_allclose(command.state.position, START, rtol=0, atol=1e-12)
        np.testing.assert_allclose(command.state.velocity, 0.0, atol=1e-9)
    assert supervisor.mode is Mode.RUNNING


@pytest.mark.parametrize("joint", range(3))
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_pose_outside_the_limits_does_not_arm(joint: int, side: float) -> None:
    supervisor, pose = Supervisor(LIMITS), START.copy()
    pose[joint] = side * 1.8001
    supervisor.joint_state(measured(pose), T0)
    answer = supervisor.arm(T0)
    assert not answer.ok
    assert LIMITS.joints[joint] in answer.text
    assert supervisor.tick(T0) is None


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_pose_on_the_limit_arms(side: float) -> None:
    supervisor = Supervisor(LIMITS)
    supervisor.joint_state(measured(np.full(3, side * 1.8)), T0)
    assert supervisor.arm(T0).ok
    assert supervisor.tick(T0) is not None


def test_a_plan_that_answers_an_old_picture_slows_the_arm() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    plan = reach(supervisor, T0)
    assert supervisor.plan(plan, T0, plan.start_ns - 2 * NS) is None
    assert supervisor.speed.scale(T0 + 2 * NS) == pytest.approx(0.4)
    assert supervisor.plan(changed(plan), T0, plan.start_ns - NS // 10) is None
    assert supervisor.speed.scale(T0 + 4 * NS) == 1.0
    assert supervisor.speed.scale(T0 + 4 * NS) == 1.0


def test_refused_plans_slow_the_arm() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    late = changed(reach(supervisor, T0), start_ns=T0 - NS)
    for _ in range(20):
        supervisor.plan(late, T0)
    assert supervisor.speed.scale(T0 + 2 * NS) == pytest.approx(0.1)


def test_after_arming_speed_begins_at_the_least() -> None:
    assert armed().speed.scale(T0) == pytest.approx(0.1)


def test_a_stale_joint_state_does_not_arm() -> None:
    supervisor = Supervisor(LIMITS)
    supervisor.joint_state(measured(), T0)
    assert not supervisor.arm(T0 + 201 * MS).ok
    assert supervisor.tick(T0 + 201 * MS) is None


def test_stopped_it_does_not_arm_without_joint_states() -> None:
    supervisor, _, now = moving()
    supervisor.stop(now)
    run(supervisor, now, now + 2 * NS, fresh=False)
    assert supervisor.mode is Mode.STOPPED
    assert not supervisor.arm(now + 2 * NS).ok
    assert supervisor.mode is Mode.STOPPED


@pytest.mark.parametrize("joints", [names(2), names(4), (*names(2), "other")])
def test_a_joint_state_of_another_robot_does_not_count(joints: tuple[str, ...]) -> None:
    supervisor = Supervisor(LIMITS)
    refusal = supervisor.joint_state(measured(np.zeros(len(joints)), joints=joints), T0)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "joint_state"
    assert not supervisor.arm(T0).ok


def test_the_order_of_measured_joints_does_not_matter() -> None:
    supervisor = Supervisor(LIMITS)
    supervisor.joint_state(measured(START[::-1], joints=LIMITS.joints[::-1]), T0)
    supervisor.arm(T0)
    np.testing.assert_array_equal(supervisor.tick(T0).state.position, START)


def changed(plan: Plan, **fields: object) -> Plan:
    names_ = ("joints", "start_ns", "offsets_ns", "positions", "velocities", "accelerations")
    return Plan(**{**{n: getattr(plan, n) for n in names_}, **fields})


def bad_plans(plan: Plan) -> dict[str, list[Plan]]:
    """Plans that differ from a good one in what is named, and in nothing else."""
    first, last = np.zeros_like(plan.positions), np.zeros_like(plan.positions)
    first[0, 1], last[-1, 1] = 1.0, 1.0
    far = np.zeros_like(plan.positions)
    far[5, 2] = 1.0
    two = np.array([0, 1000])
    short = {f: getattr(plan, f)[[0, -1]] for f in ("positions", "velocities", "accelerations")}
    return {
        "joints": [
            plan.in_order(LIMITS.joints[::-1]),
            changed(plan, joints=("joint_0", "joint_1", "other")),
        ],
        "late": [
            changed(plan, start_ns=T0 - MS),
            changed(plan, start_ns=plan.start_ns - NS),
            changed(plan, start_ns=0),
        ],
        "early": [changed(plan, start_ns=T0 + NS + MS), changed(plan, start_ns=2**60 + plan.start_ns)],
        "handover": [
            changed(plan, positions=plan.positions + 1.1e-9 * first),
            changed(plan, velocities=plan.velocities + 1.1e-9 * first),
            changed(plan, accelerations=plan.accelerations + 1.1e-9 * first),
            changed(plan, positions=plan.positions + 1e300 * first),
        ],
        "spacing": [changed(plan, offsets_ns=two, **short)],
        "not_at_rest": [
            changed(plan, velocities=plan.velocities + 1e-8 * last),
            changed(plan, accelerations=plan.accelerations + 1e-8 * last),
        ],
        "limits": [
            changed(plan, positions=plan.positions + 3.0 * far),
            changed(plan, velocities=plan.velocities + 5.0 * far),
            changed(plan, accelerations=plan.accelerations + 20.0 * far),
            changed(plan, accelerations=plan.accelerations + 1e300 * far),
        ],
    }


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("reason", ["joints", "late", "early", "handover", "spacing", "not_at_rest", "limits"])
def test_a_plan_is_refused_for_its_reason_and_changes_nothing(reason: str) -> None:
    supervisor = armed()
    supervisor.tick(T0)
    good = reach(supervisor, T0)
    for bad in bad_plans(good)[reason]:
        before = supervisor.in_force()
        refusal = supervisor.plan(bad, T0)
        assert refusal is not None
        assert refusal.reason == reason
        assert refusal.detail.endswith(".")
        assert supervisor.in_force() is before
    assert supervisor.refused[reason] == len(bad_plans(good)[reason])
    assert supervisor.accepted == 0
    assert supervisor.plan(good, T0) is None
    assert supervisor.accepted == 1


def test_a_plan_that_begins_at_or_before_a_command_already_sent_is_late() -> None:
    supervisor = armed()
    plan = reach(supervisor, T0)
    supervisor.tick(plan.start_ns)
    assert supervisor.plan(plan, plan.start_ns).reason == "late"


@pytest.mark.parametrize("how", ["inactive", "ready", "stopping", "stopped", "estopped"])
def test_plans_are_permitted_only_while_running(how: str) -> None:
    running = armed()
    plan = reach(running, T0)
    supervisor = Supervisor(LIMITS)
    if how != "inactive":
        supervisor.joint_state(measured(), T0)
        supervisor.tick(T0)
    if how in ("stopping", "stopped", "estopped"):
        supervisor.arm(T0)
        supervisor.estop(T0) if how == "estopped" else supervisor.stop(T0)
    if how == "stopped":
        run(supervisor, T0, T0 + NS)
    assert supervisor.mode.value == how
    assert supervisor.plan(plan, T0).reason == "not_running"


def test_a_pending_plan_may_be_replaced_and_copies_do_not_drift() -> None:
    """Each copy starts within the tolerance of the one before; the last is 5 of them away from the truth."""
    supervisor = armed()
    supervisor.tick(T0)
    plan = reach(supervisor, T0)
    assert supervisor.plan(plan, T0) is None
    assert supervisor.plan(plan, T0) is None
    answers = []
    for k in range(1, 6):
        shift = np.zeros_like(plan.positions)
        shift[0] = 0.9e-9 * k
        answers.append(supervisor.plan(changed(plan, positions=plan.positions + shift), T0))
    assert [a and a.reason for a in answers] == [None, "handover", "handover", "handover", "handover"]


def test_the_newest_plan_wins_over_one_still_pending() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    early = reach(supervisor, T0)
    late = changed(early, start_ns=early.start_ns + 400 * MS)
    assert supervisor.plan(late, T0) is None
    assert supervisor.plan(early, T0) is None
    assert supervisor.in_force() is early
    sent = run(supervisor, T0, T0 + NS)[-1]
    np.testing.assert_array_equal(sent.state.position, early.at(sent.stamp_ns).position)


def test_without_a_new_plan_the_one_in_force_ends_at_rest() -> None:
    supervisor, plan, now = moving()
    assert speed(supervisor, now) > 0.1
    last = run(supervisor, now, plan.end_ns + NS)[-1]
    np.testing.assert_array_equal(last.state.position, plan.positions[-1])
    assert not last.state.velocity.any()
    assert supervisor.mode is Mode.RUNNING


def test_a_stop_slows_along_the_path_holds_and_waits_to_be_armed() -> None:
    supervisor, plan, now = moving()
    assert supervisor.stop(now, "hand in the way").ok
    assert supervisor.mode is Mode.STOPPING
    assert supervisor.reason == "hand in the way"
    path = plan.at(now + np.arange(3000) * MS).position
    commands = run(supervisor, now, now + 3 * NS)
    for command in commands:
        assert np.abs(path - command.state.position).max(axis=1).min() < 3e-3
    assert supervisor.mode is Mode.STOPPED
    assert supervisor.reason == "hand in the way"
    end = commands[-1].state.position
    assert np.abs(end - plan.positions[-1]).max() > 0.01
    assert supervisor.plan(plan, now + 3 * NS).reason == "not_running"
    supervisor.joint_state(measured(end, now + 3 * NS), now + 3 * NS)
    assert supervisor.arm(now + 3 * NS).ok
    np.testing.assert_allclose(supervisor.tick(now + 3 * NS).state.position, end, atol=1e-12)


def test_arming_after_a_stop_needs_the_arm_where_it_was_commanded() -> None:
    supervisor, _, now = moving()
    supervisor.stop(now)
    end = run(supervisor, now, now + 3 * NS)[-1].state.position
    later = now + 3 * NS + 90 * MS
    assert supervisor.joint_state(measured(end + np.array([0.0, 0.21, 0.0]), later), later) is None
    answer = supervisor.arm(later)
    assert not answer.ok
    assert "not where it was last commanded" in answer.text
    assert supervisor.reset(later).ok
    assert supervisor.mode is Mode.READY
    assert supervisor.tick(later) is None
    assert supervisor.arm(later).ok


def test_a_stop_forgets_plans_that_have_not_begun() -> None:
    supervisor, _, now = moving()
    pending = reach(supervisor, now, target=-1.0)
    assert supervisor.plan(pending, now) is None
    supervisor.stop(now)
    end = run(supervisor, now, now + 3 * NS)[-1]
    assert supervisor.mode is Mode.STOPPED
    assert (end.state.position > 0.0).any()
    assert supervisor.in_force() is None


def test_losing_joint_states_stops_along_the_path() -> None:
    supervisor, _, now = moving()
    run(supervisor, now, now + 190 * MS, fresh=False)
    assert supervisor.mode is Mode.RUNNING
    run(supervisor, now + 190 * MS, now + 3 * NS, fresh=False)
    assert supervisor.mode is Mode.STOPPED
    assert "joint state" in supervisor.reason
    run(supervisor, now + 3 * NS, now + 4 * NS)
    assert supervisor.mode is Mode.STOPPED


def test_an_emergency_stop_latches_brakes_and_falls_silent() -> None:
    supervisor, plan, now = moving()
    assert supervisor.estop(now).ok
    assert supervisor.mode is Mode.ESTOPPED
    assert not supervisor.reset(now).ok
    assert not supervisor.arm(now).ok
    assert speed(supervisor, now) > 0.1
    assert not supervisor.reset(now).ok
    commands = run(supervisor, now, now + NS)
    moving_for = sum(c is not None for c in commands)
    assert 0 < moving_for < 250
    assert all(c is None for c in commands[moving_for:])
    last = commands[moving_for - 1].state
    assert not last.velocity.any()
    assert not last.acceleration.any()
    assert supervisor.mode is Mode.ESTOPPED
    assert supervisor.plan(plan, now + NS).reason == "not_running"
    assert not supervisor.arm(now + NS).ok
    assert supervisor.reset(now + NS).ok
    assert run(supervisor, now + NS, now + 2 * NS) == [None] * 500
    assert supervisor.mode is Mode.READY


@pytest.mark.parametrize("mode", ["inactive", "ready", "running", "stopping", "stopped", "estopped"])
def test_an_emergency_stop_is_taken_in_every_state(mode: str) -> None:
    supervisor, now = Supervisor(LIMITS), T0
    if mode == "ready":
        supervisor.joint_state(measured(), T0)
        supervisor.tick(T0)
    elif mode != "inactive":
        supervisor, _, now = moving()
        if mode in ("stopping", "stopped"):
            supervisor.stop(now)
        if mode == "estopped":
            supervisor.estop(now, "first")
        if mode == "stopped":
            run(supervisor, now, now + 3 * NS)
            now += 3 * NS
    assert supervisor.mode.value == mode
    assert supervisor.estop(now, "second").ok
    assert supervisor.mode is Mode.ESTOPPED
    assert supervisor.reason == ("first" if mode == "estopped" else "second")
    run(supervisor, now, now + 3 * NS)
    assert supervisor.tick(now + 3 * NS) is None
    assert supervisor.mode is Mode.ESTOPPED
    assert supervisor.reset(now + 3 * NS).ok
    assert supervisor.mode in (Mode.READY, Mode.INACTIVE)


def test_a_clock_that_steps_back_takes_nothing_back() -> None:
    supervisor, _, now = moving()
    last = supervisor.tick(now)
    for act in (supervisor.stop, supervisor.tick, supervisor.estop, supervisor.tick):
        act(now - 100 * MS)
        again = supervisor.tick(now - 10 * NS)
        assert again.stamp_ns == last.stamp_ns
        np.testing.assert_allclose(again.state.position, last.state.position, atol=1e-12)
    run(supervisor, now, now + NS)
    assert supervisor.tick(now + NS) is None


@pytest.mark.parametrize(
    "name",
    ["joint_state_age_s", "handover_tolerance", "plan_late_s", "plan_early_s", "tracking", "largest_step", "ramp_s"],
)
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_every_bad_setting_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        SupervisorConfig(**{name: value})


class Story:
    """A supervisor and everything that happens to it, drawn at random; keeps what was sent."""

    def __init__(self, seed: int) -> None:
        self.rng, self.now = rng_of(seed), T0
        self.supervisor = Supervisor(LIMITS)
        self.streams: list[list] = [[]]
        self.pose, self.plans = START, []

    def sees(self) -> None:
        kind = self.rng.random()
        if kind < 0.96:
            at = self.pose + self.rng.normal(0.0, 1e-3, 3)
            self.supervisor.joint_state(measured(at, self.now), self.now - int(self.rng.integers(0, 2 * MS)))
        else:
            self.supervisor.joint_state(measured(np.zeros(2), self.now, names(2)), self.now)

    def plan(self) -> None:
        in_force = self.supervisor.in_force()
        if in_force is None:
            return
        plan = PLANNER.plan(wild_chunk(self.rng, LIMITS, self.now), in_force, self.now)
        if isinstance(plan, Refusal):
            return
        kind = self.rng.random()
        if kind < 0.1:
            plan = changed(plan, start_ns=plan.start_ns + int(self.rng.integers(-50 * MS, 50 * MS)))
        elif kind < 0.2:
            spoilt = bad_plans(plan)
            plan = self.rng.choice([p for plans in spoilt.values() for p in plans])
        elif kind < 0.3 and self.plans:
            plan = self.plans[self.rng.integers(len(self.plans))]
        elif kind < 0.4:
            self.plans.append(plan)
            return
        self.supervisor.plan(plan, self.now - int(self.rng.integers(0, MS)))
        self.plans.append(plan)

    def tick(self) -> None:
        command = self.supervisor.tick(self.now - int(self.rng.integers(0, MS) if self.rng.random() < 0.02 else 0))
        if command is None:
            self.streams.append([])
            return
        stream = self.streams[-1]
        self.pose = command.state.position
        if not stream or command.stamp_ns > stream[-1].stamp_ns:
            stream.append(command)

    def reset(self) -> None:
        if self.supervisor.reset(self.now).ok:
            self.streams.append([])  # what is armed next is held where it is measured, not where it was sent

    def step(self) -> None:
        r = self.rng
        self.now += int(r.uniform(0.3, 20.0) * MS) if r.random() < 0.3 else 2 * MS
        if r.random() < 0.005:
            self.now += int(r.uniform(20.0, 400.0) * MS)
        acts = [
            (0.7, self.sees),
            (0.06, self.plan),
            (0.004, lambda: self.supervisor.stop(self.now - int(r.integers(0, 3 * MS)))),
            (0.003, lambda: self.supervisor.estop(self.now - int(r.integers(0, 3 * MS)))),
            (0.02, self.reset),
            (0.003, lambda: self.supervisor.watch.estop_input(True, self.now)),
            (0.05, lambda: self.supervisor.watch.estop_input(False, self.now)),
            (0.003, lambda: self.supervisor.watch.publishers(1)),
            (0.05, lambda: self.supervisor.watch.publishers(0)),
            (0.05, lambda: self.supervisor.arm(self.now)),
        ]
        for i in r.permutation(len(acts)):
            if r.random() < acts[i][0]:
                acts[i][1]()
        self.tick()

    def silence(self) -> None:
        for _ in range(4000):
            self.now += 2 * MS
            self.tick()

    def check(self) -> int:
        for stream in (s for s in self.streams if s):
            times = np.array([c.stamp_ns for c in stream])
            told = np.stack([c.state.position for c in stream])
            stalls = np.flatnonzero(np.diff(times) >= 20 * MS) + 1
            assert (np.abs(told[stalls] - told[stalls - 1]) <= self.supervisor.config.largest_step).all()
            for part in np.split(np.arange(len(times)), stalls):
                assert_inside(times[part], told[part], LIMITS)
        return sum(map(len, self.streams))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=25)
@given(seed=SEED)
def test_whatever_happens_what_is_sent_keeps_every_limit_and_silence_ends_at_rest(seed: int) -> None:
    story = Story(seed)
    for _ in range(700):
        story.step()
    story.silence()
    story.check()
    command = story.supervisor.tick(story.now)
    assert command is None or not command.state.velocity.any()
    assert story.supervisor.mode is not Mode.RUNNING


def test_after_a_stall_of_its_own_loop_it_goes_on_from_the_last_command_and_not_from_the_curve():
    supervisor, _, now = moving()
    last = supervisor.tick(now)
    assert last is not None
    later = now + 300 * MS
    supervisor.joint_state(measured(), later)
    command = supervisor.tick(later)
    assert command is not None
    assert np.array_equal(command.state.position, last.state.position)
    assert not command.state.velocity.any()
    assert supervisor.mode is Mode.STOPPED
    assert "stood still for 0.300 s" in supervisor.reason


@pytest.mark.parametrize(("share", "mode"), [(0.98, Mode.RUNNING), (1.02, Mode.STOPPED)])
def test_a_stall_is_one_if_the_curve_has_run_ahead_by_more_than_the_largest_step(share: float, mode: Mode) -> None:
    supervisor, plan, now = moving()
    last = supervisor.tick(now)
    assert last is not None
    times = now + np.arange(0, 400 * MS, MS // 10)
    ahead = np.abs(plan.at(times).position - last.state.position).max(axis=1)
    later = int(times[np.searchsorted(ahead, share * supervisor.config.largest_step)])
    supervisor.joint_state(measured(supervisor.watch.measured.positions, later), later)
    supervisor.tick(later)
    assert supervisor.mode is mode
    assert supervisor.faulted["loop"] == (mode is Mode.STOPPED)


def test_an_exact_splice_is_permitted_without_any_tolerance_and_its_jump_is_kept() -> None:
    exact = Supervisor(LIMITS, SupervisorConfig(handover_tolerance=0.0))
    exact.joint_state(measured(), T0)
    assert exact.arm(T0).ok
    assert exact.plan(reach(exact, T0), T0) is None
    assert not exact.handover_jump.any()
    supervisor = armed()
    plan = reach(supervisor, T0)
    shift = np.zeros_like(plan.positions)
    shift[0] = 0.9e-9
    assert supervisor.plan(changed(plan, positions=plan.positions + shift), T0) is None
    assert supervisor.plan(plan, T0) is None
    np.testing.assert_allclose(supervisor.handover_jump, [0.9e-9, 0.0, 0.0], rtol=1e-3)


def test_a_permitted_plan_ends_the_warning_that_none_comes() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    assert not supervisor.faults
    run(supervisor, T0, T0 + 3 * NS)
    assert [f.name for f in supervisor.faults] == ["no_plan"]
    now = T0 + 3 * NS
    assert supervisor.plan(reach(supervisor, now), now) is None
    run(supervisor, now, now + 10 * MS)
    assert not supervisor.faults


def test_an_emergency_stop_while_stopping_is_quicker_than_the_stop() -> None:
    ends = []
    for emergency in (False, True):
        supervisor, _, now = moving()
        supervisor.stop(now)
        run(supervisor, now, now + 20 * MS)
        if emergency:
            supervisor.estop(now + 20 * MS)
        sent = [c for c in run(supervisor, now + 20 * MS, now + 2 * NS) if c is not None]
        ends.append(max(c.stamp_ns for c in sent if c.state.velocity.any()) - now)
    assert ends[1] < ends[0] - 20 * MS


@pytest.mark.parametrize("way", ["stop", "estop"])
def test_once_let_go_the_arm_may_move_though_a_stop_was_not_seen_to_rest(way: str) -> None:
    """The last measurement is from before the end of the stop, and the next one moves: armed anew, or by hand."""
    supervisor = armed()
    supervisor.tick(T0)
    getattr(supervisor, way)(T0)
    end = T0 + 102 * MS
    supervisor.joint_state(measured(stamp_ns=T0 + 50 * MS), T0 + 50 * MS)
    supervisor.tick(end - 40 * MS)
    supervisor.tick(end)
    if way == "estop":
        supervisor.watch.rest(end + 100 * MS)  # as after a longer brake
        assert supervisor.reset(end).ok
    else:
        assert supervisor.mode is Mode.STOPPED
        supervisor.watch.rest(end + 100 * MS)
        assert supervisor.arm(end).ok
    for now in range(end, end + NS, 10 * MS):
        moved = JointState(now, LIMITS.joints, START, np.ones(3))
        supervisor.joint_state(moved, now)
        supervisor.tick(now)
    assert supervisor.mode is (Mode.READY if way == "estop" else Mode.RUNNING)


def test_a_reset_of_nothing_is_refused() -> None:
    supervisor = armed()
    assert not supervisor.reset(T0).ok
    assert supervisor.mode is Mode.RUNNING


def test_a_warning_does_not_keep_a_stopped_arm_from_being_armed() -> None:
    supervisor = Supervisor(LIMITS, SupervisorConfig(tracking=0.4))
    supervisor.joint_state(measured(np.zeros(3)), T0)
    supervisor.arm(T0)
    supervisor.tick(T0)
    supervisor.stop(T0)
    run(supervisor, T0, T0 + NS)
    for apart, ok in ((0.41, False), (0.4, True)):
        now = T0 + NS
        supervisor.watch.measured = None
        supervisor.joint_state(measured(np.array([apart, 0.0, 0.0]), now), now)
        assert supervisor.arm(now).ok is ok
        assert [f.name for f in supervisor.faults] == ["tracking_high"]


def test_an_arm_that_races_while_held_is_an_emergency() -> None:
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.stop(T0)
    run(supervisor, T0, T0 + NS)
    for now in range(T0 + NS, T0 + NS + 20 * MS, 2 * MS):
        supervisor.joint_state(JointState(now, LIMITS.joints, START, np.full(3, 9.0)), now)
        supervisor.tick(now)
    assert supervisor.mode is Mode.ESTOPPED
    assert "moves at 9.00" in supervisor.reason


def test_a_stall_while_holding_still_is_harmless():
    supervisor = armed()
    supervisor.tick(T0)
    supervisor.joint_state(measured(stamp_ns=T0 + 300 * MS), T0 + 300 * MS)
    assert supervisor.tick(T0 + 300 * MS) is not None
    assert supervisor.mode is Mode.RUNNING
