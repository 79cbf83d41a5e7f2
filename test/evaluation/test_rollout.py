"""Episodes in simulation: executors, disturbance, recording, metrics and worker processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vla_ros.config import find_checkpoint, load_robot
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, Chunk
from vla_ros.evaluation.disturbance import Disturbance
from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.evaluate import inference_latency_ms, report, summarise
from vla_ros.evaluation.executors import LinearExecutor, PlannerExecutor
from vla_ros.evaluation.metrics import chunk_jerk
from vla_ros.evaluation.rollout import RolloutConfig, expert_driver, policy_driver, run_episode
from vla_ros.evaluation.workers import run_episodes
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.base import PolicyContext, make_policy
from vla_ros.policy.curve_chunk import curve_chunk
from vla_ros.sim.so101.scene import JOINTS
from vla_ros.sim.so101.simulator import So101Simulator

MS = NS // 1000


def ramp(stamp_ns: int, start: float = 0.0) -> Chunk:
    """All joints at 0.2 rad/s from `start` at the stamp."""
    times = 0.05 * np.arange(1, 33)
    return Chunk.from_rate(stamp_ns, JOINTS, np.tile(start + 0.2 * times[:, None], (1, 6)), 0.05)


def test_chunks_are_aligned_by_time_with_any_delay() -> None:
    executor = LinearExecutor(np.zeros(6))
    executor.accept(ramp(0), 80 * MS)
    assert executor.at(80 * MS)[0] == pytest.approx(0.0)
    assert executor.at(200 * MS)[0] == pytest.approx(0.04)
    executor.accept(ramp(200 * MS, 0.04), 300 * MS)
    for t in (300, 310, 333, 500):
        assert executor.at(t * MS)[0] == pytest.approx(0.2 * t / 1000)
    assert executor.at(99 * NS)[0] == pytest.approx(0.04 + 0.2 * 1.6)


def test_a_chunk_in_the_past_changes_nothing() -> None:
    executor = LinearExecutor(np.full(6, 0.3))
    executor.accept(ramp(0), 5 * NS)
    np.testing.assert_array_equal(executor.at(6 * NS), np.full(6, 0.3))


def test_the_planner_follows_the_chunk_within_the_limits() -> None:
    limits = load_robot("so101").limits
    start = np.array([0.0, -0.95, 0.75, 1.0, 0.0, 0.5])
    executor = PlannerExecutor(start, JOINTS)
    times = 0.05 * np.arange(1, 33)
    goal = start + 0.2 * times[:, None]
    executor.accept(Chunk.from_rate(0, JOINTS, goal, 0.05), 50 * MS)
    path = np.array([executor.at(t * MS) for t in range(50, 1600, 10)])
    np.testing.assert_allclose(path[0], start, atol=1e-6)
    assert np.abs(path[-1] - goal[-1]).max() < 0.02
    assert (np.abs(np.diff(path, axis=0) / 0.01) <= limits.velocity + 1e-6).all()
    executor.accept(Chunk.from_rate(0, JOINTS, goal + 2.0, 0.05), 1000 * MS)
    assert executor.refusals == {"handover_error": 1}


def test_the_disturbance_is_smooth_and_below_the_given_deviation() -> None:
    source = Disturbance(np.random.default_rng(0), 6, 0.05, 0.3, 0.05)
    path = np.array([source.step() for _ in range(40_000)])
    assert 0.015 < path.std() < 0.05
    assert np.abs(np.diff(path, axis=0)).std() < 0.4 * path.std()
    assert not Disturbance(np.random.default_rng(0), 6, 0.0, 0.3, 0.05).step().any()


@pytest.fixture(scope="module")
def simulator():
    """A simulator with images; skips the test where off-screen rendering is not possible."""
    made = So101Simulator("pick_place")
    try:
        made.observe()
    except Exception as error:
        pytest.skip(f"off-screen rendering is not possible: {error}")
    return made


def test_an_episode_is_recorded_and_reproducible(simulator) -> None:
    config = RolloutConfig(timeout_s=0.5, noise_rad=0.05)
    one, two = (run_episode(simulator, 7, expert_driver(0.05), config) for _ in range(2))
    assert not one.success
    assert one.episode.joints.shape == (5, 6)
    assert one.episode.labels.shape == (5, 32, 6)
    assert one.episode.ground_truth.shape == (5, len(simulator.ground_truth_names))
    assert one.episode.images["wrist"].shape == (5, 96, 96, 3)
    np.testing.assert_array_equal(one.episode.joints, two.episode.joints)
    np.testing.assert_array_equal(one.episode.images["front"], two.episode.images["front"])
    assert run_episode(simulator, 7, expert_driver(0.05), config, record=False).episode is None


@pytest.mark.parametrize(("waypoints", "use", "each"), [(32, 8, 5), (8, 0, 5), (12, 0, 9), (3, 0, 1)])
def test_the_next_chunk_is_requested_before_the_last_is_used_up(simulator, waypoints, use, each) -> None:
    def short(observation, path, committed):
        chunk = expert_driver(0.05)(observation, path, committed)
        return Chunk(chunk.stamp_ns, chunk.joints, chunk.offsets_s[:waypoints], chunk.positions[:waypoints])

    config = RolloutConfig(timeout_s=1.0, lead_steps=3, use_steps=use)
    result = run_episode(simulator, 3, short, config, record=False)
    assert result.steps == 20
    assert result.inferences == -(-20 // each)
    assert summarise([result, result]).steps_per_inference == pytest.approx(20 / result.inferences)


def test_inference_times_are_reported_but_not_compared(simulator) -> None:
    def slow(observation, path, committed):
        started = time.perf_counter()
        while time.perf_counter() < started + 0.003:
            pass
        return expert_driver(0.05)(observation, path, committed)

    one, two = (run_episode(simulator, 3, slow, RolloutConfig(timeout_s=0.5), record=False) for _ in range(2))
    assert one == two
    assert len(one.inference_s) == one.inferences > 1
    assert min(one.inference_s) >= 0.003
    assert summarise([one]) == summarise([two])
    assert "ms (p99): wall time" in report([one])
    assert inference_latency_ms([one])[0] >= 3.0


def test_a_policy_is_warmed_up_before_its_first_episode() -> None:
    job = EpisodeJob("pick_place", "so101", (), RolloutConfig(timeout_s=0.1), policy="evaluation.stubs:warm")
    (result,) = run_episodes(job, (1,), 1)
    assert result.inferences == 1


def test_a_curve_chunk_counts_like_its_waypoints(simulator) -> None:
    spline, still = SplineConfig(control_points=10, degree=4, waypoints=32, dt_s=0.05), (False,) * 6
    control = np.sin(np.arange(10.0))[:, None] * 0.2 * np.ones(6)

    def curve(observation, _path, _committed):
        rows = np.tile(observation.positions, (8, 1))
        return curve_chunk(observation.stamp_ns, observation.joints, control, rows, spline, still)

    def waypoints(observation, path, committed):
        return curve(observation, path, committed).as_waypoints(0.05)

    config = RolloutConfig(timeout_s=1.0, lead_steps=3)
    one, two = (run_episode(simulator, 3, driver, config, record=False) for driver in (curve, waypoints))
    assert one.inferences == two.inferences == 4
    assert one.chunk_jerk == pytest.approx(two.chunk_jerk)


def test_the_planner_limits_the_jerk_of_a_rough_chunk(simulator) -> None:
    limits = load_robot("so101").limits

    def rough(observation, path, committed):
        jumps = np.where(np.arange(32) % 2, 0.03, -0.03)[:, None] + observation.positions
        return Chunk.from_rate(observation.stamp_ns, observation.joints, jumps, 0.05)

    config = RolloutConfig(timeout_s=1.0)
    planned = run_episode(simulator, 3, rough, config, PlannerExecutor, record=False)
    linear = run_episode(simulator, 3, rough, config, record=False)
    one, two = summarise([planned], limits), summarise([linear], limits)
    # Alternating by 0.06 rad every 50 ms: third differences of 0.24 rad over dt^3.
    assert one.chunk_jerk == pytest.approx(0.24 / 0.05**3 / 150.0, rel=1e-3)
    assert one.chunk_jerk == two.chunk_jerk
    assert one.max_command_jerk <= 1.0 + 1e-6
    assert two.max_command_jerk > 10.0
    assert "control steps per inference; maximum jerk without gripper" in report([planned], limits)


def test_the_jerk_of_a_cubic_chunk_is_exact() -> None:
    times = np.array([0.05, 0.1, 0.2, 0.25, 0.4])
    chunk = Chunk(0, ("a", "b"), times, np.stack([2.0 * times**3 - times, times**2], axis=1))
    np.testing.assert_allclose(chunk_jerk(chunk), [12.0, 0.0], atol=1e-9)
    assert not chunk_jerk(Chunk(0, ("a",), times[:3], np.ones((3, 1)))).any()


def test_the_committed_prefix_is_the_newest_plan_until_it_comes_to_rest() -> None:
    executor = PlannerExecutor(np.zeros(6), JOINTS)
    standing = executor.committed_prefix(0, 0)
    assert standing.free_ns == standing.handover_ns  # nothing to agree with but where the arm is
    executor.accept(ramp(0), 80 * MS)
    prefix = executor.committed_prefix(100 * MS, 300 * MS)
    assert 300 * MS < prefix.handover_ns < prefix.free_ns == 500 * MS < prefix.plan.end_ns
    late = executor.committed_prefix(100 * MS, 600 * MS)
    assert 600 * MS < late.handover_ns == late.free_ns  # a late policy is held no longer than it must
    # The same as will be commanded, a joint at a time.
    ahead = prefix.plan.at(prefix.handover_ns).position
    commands = dict(zip(JOINTS, executor.at(prefix.handover_ns), strict=True))
    assert dict(zip(prefix.plan.joints, ahead, strict=True)) == pytest.approx(commands)
    assert executor.committed_prefix(0, prefix.plan.end_ns) is None


def test_real_time_chunking_reduces_the_handover_error(simulator) -> None:
    file = find_checkpoint()
    config = RolloutConfig(timeout_s=2.5, max_delay_steps=4, min_delay_steps=4, lead_steps=4, use_steps=9)
    errors = []
    for enabled in (False, True):
        policy = make_policy("learned", PolicyContext(checkpoint=file, real_time_chunking=enabled))
        driver = policy_driver(policy, real_time_chunking=enabled)
        result = run_episode(simulator, 5, driver, config, executor=PlannerExecutor, record=False)
        assert result.inferences == 11  # one each 5 control steps
        errors.append(max(v for joint, v in result.handover_error.items() if joint != "gripper"))
    assert 0.0 < errors[1] < 0.5 * errors[0]


def test_a_killed_process_is_an_error() -> None:
    job = EpisodeJob("pick_place", "so101", (), RolloutConfig(), simulator="evaluation.stubs:killed")

    def time_out(*_: object) -> None:
        raise TimeoutError("the killed process was not noticed.")

    before = signal.signal(signal.SIGALRM, time_out)
    signal.alarm(60)
    try:
        with pytest.raises(ConfigError, match="a process was killed"):
            list(run_episodes(job, [0, 1], processes=1))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_closing_the_iterator_stops_the_processes() -> None:
    job = EpisodeJob("pick_place", "so101", (), RolloutConfig(), simulator="evaluation.stubs:slow")
    episodes = run_episodes(job, range(10, 13), processes=2)
    first = next(episodes)
    started = time.monotonic()
    episodes.close()
    assert time.monotonic() - started < 20.0
    assert (first.seed, first.success) == (10, True)
    assert not multiprocessing.active_children()


ORPHANS = """
import multiprocessing, time
from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.rollout import RolloutConfig
from vla_ros.evaluation.workers import run_episodes
job = EpisodeJob("pick_place", "so101", (), RolloutConfig(), simulator="evaluation.stubs:slow")
episodes = run_episodes(job, range(10, 13), processes=2)
next(episodes)
print(*[p.pid for p in multiprocessing.active_children()], flush=True)
time.sleep(60)
"""


def test_no_process_outlives_its_killed_parent() -> None:
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    env = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(children) == 2
    deadline = time.monotonic() + 20.0
    while any(alive(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_delay_steps": -1}, "delays must satisfy"),
        ({"max_delay_steps": 1, "min_delay_steps": 2}, "0 <= min <= max"),
        ({"max_replan_steps": 0}, "max_replan_steps"),
        ({"lead_steps": 0, "max_delay_steps": 0}, "lead_steps"),
        ({"lead_steps": 1}, "at least the maximum delay of 2"),
        ({"use_steps": -1}, "use_steps"),
    ],
)
def test_an_inconsistent_rollout_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RolloutConfig(**fields)
