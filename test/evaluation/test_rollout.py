"""Tries in the simulated world: alignment by time, disturbance, what is kept, and the planner in between."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from evaluation.worlds import Deadly, Slow

from vla_ros.config import config_dir, load_robot
from vla_ros.core.errors import ConfigError
from vla_ros.core.records import NS, Chunk
from vla_ros.evaluation.disturbance import Disturbance
from vla_ros.evaluation.evaluate import evaluate, latency_ms, make_executor, report, summarise
from vla_ros.evaluation.executors import LinearExecutor, PlannerExecutor
from vla_ros.evaluation.metrics import chunk_jerk
from vla_ros.evaluation.rollout import (
    AUXILIARY,
    RolloutConfig,
    expert_driver,
    policy_driver,
)
from vla_ros.evaluation.workers import Job, run
from vla_ros.policy.action_spline import SplineConfig
from vla_ros.policy.base import PolicyContext, make_policy
from vla_ros.policy.curve_chunk import curve_chunk
from vla_ros.sim.so101.scene import JOINTS

MS = NS // 1000


def ramp(stamp_ns: int, start: float = 0.0) -> Chunk:
    """All joints at 0.2 rad/s from `start` at the stamp."""
    times = 0.05 * np.arange(1, 33)
    return Chunk.from_rate(stamp_ns, JOINTS, np.tile(start + 0.2 * times[:, None], (1, 6)), 0.05)


def test_chunks_are_aligned_by_time_however_late_they_come() -> None:
    execute = LinearExecutor(np.zeros(6))
    execute.take(ramp(0), 80 * MS)
    assert execute.at(80 * MS)[0] == pytest.approx(0.0)
    assert execute.at(200 * MS)[0] == pytest.approx(0.04)
    execute.take(ramp(200 * MS, 0.04), 300 * MS)
    for t in (300, 310, 333, 500):
        assert execute.at(t * MS)[0] == pytest.approx(0.2 * t / 1000)
    assert execute.at(99 * NS)[0] == pytest.approx(0.04 + 0.2 * 1.6)


def test_a_chunk_that_is_all_past_changes_nothing() -> None:
    execute = LinearExecutor(np.full(6, 0.3))
    execute.take(ramp(0), 5 * NS)
    np.testing.assert_array_equal(execute.at(6 * NS), np.full(6, 0.3))


def test_planner_follows_the_chunk_inside_the_limits() -> None:
    limits = load_robot("so101").limits
    start = np.array([0.0, -0.95, 0.75, 1.0, 0.0, 0.5])
    execute = PlannerExecutor(start)
    times = 0.05 * np.arange(1, 33)
    goal = start + 0.2 * times[:, None]
    execute.take(Chunk.from_rate(0, JOINTS, goal, 0.05), 50 * MS)
    path = np.array([execute.at(t * MS) for t in range(50, 1600, 10)])
    np.testing.assert_allclose(path[0], start, atol=1e-6)
    assert np.abs(path[-1] - goal[-1]).max() < 0.02
    assert (np.abs(np.diff(path, axis=0) / 0.01) <= limits.velocity + 1e-6).all()
    execute.take(Chunk.from_rate(0, JOINTS, goal + 2.0, 0.05), 1000 * MS)
    assert execute.refusals == {"handover_error": 1}


def test_disturbance_has_the_size_it_is_given_and_is_smooth() -> None:
    source = Disturbance(np.random.default_rng(0), 6, 0.05, 0.3, 0.05)
    path = np.array([source.step() for _ in range(40_000)])
    assert 0.015 < path.std() < 0.05
    assert np.abs(np.diff(path, axis=0)).std() < 0.4 * path.std()
    assert not Disturbance(np.random.default_rng(0), 6, 0.0, 0.3, 0.05).step().any()


@pytest.fixture(scope="module")
def stage():
    """A world with pictures, or a skip where nothing can draw."""
    import os

    os.environ.setdefault("MUJOCO_GL", "osmesa")
    from vla_ros.evaluation.rollout import Stage

    made = Stage("pick_place")
    try:
        made.observe()
    except Exception as error:
        pytest.skip(f"no off-screen drawing here: {error}")
    return made


def test_a_try_is_kept_frame_by_frame_and_repeats(stage) -> None:
    config = RolloutConfig(limit_s=0.5, noise_rad=0.05)
    one, two = (stage.run(7, expert_driver(0.05), config) for _ in range(2))
    assert not one.success
    assert one.episode.joints.shape == (5, 6)
    assert one.episode.labels.shape == (5, 32, 6)
    assert one.episode.truth.shape == (5, len(AUXILIARY))
    assert one.episode.images["wrist"].shape == (5, 96, 96, 3)
    np.testing.assert_array_equal(one.episode.joints, two.episode.joints)
    np.testing.assert_array_equal(one.episode.images["front"], two.episode.images["front"])
    assert stage.run(7, expert_driver(0.05), config, keep=False).episode is None


@pytest.mark.parametrize(("waypoints", "use", "each"), [(32, 8, 5), (8, 0, 5), (12, 0, 9), (3, 0, 1)])
def test_steps_per_inference_are_those_driven_before_a_chunk_is_used_up(stage, waypoints, use, each) -> None:
    def short(observation, path, committed):
        whole = expert_driver(0.05)(observation, path, committed)
        return Chunk(whole.stamp_ns, whole.joints, whole.offsets_s[:waypoints], whole.positions[:waypoints])

    config = RolloutConfig(limit_s=1.0, lead_steps=3, use_steps=use)
    result = stage.run(3, short, config, keep=False)
    assert result.steps == 20
    assert result.inferences == -(-20 // each)
    assert summarise([result, result]).steps_per_inference == pytest.approx(20 / result.inferences)


def test_how_long_inferences_take_is_told_and_is_no_part_of_what_a_seed_decides(stage) -> None:
    def slow(observation, path, committed):
        begun = time.perf_counter()
        while time.perf_counter() < begun + 0.003:
            pass
        return expert_driver(0.05)(observation, path, committed)

    one, two = (stage.run(3, slow, RolloutConfig(limit_s=0.5), keep=False) for _ in range(2))
    assert one == two
    assert len(one.inference_s) == one.inferences > 1
    assert min(one.inference_s) >= 0.003
    assert summarise([one]) == summarise([two])
    assert "ms (p99): wall time" in report([one])
    assert latency_ms([one])[0] >= 3.0


def test_a_policy_is_warm_before_its_first_try() -> None:
    job = Job("pick_place", "so101", (), RolloutConfig(limit_s=0.1), policy="train.worlds:warm")
    (result,) = run(job, (1,), 1)
    assert result.inferences == 1


def test_a_curve_counts_like_the_waypoints_it_says(stage) -> None:
    spline, still = SplineConfig(control_points=10, degree=4, waypoints=32, dt_s=0.05), (False,) * 6
    control = np.sin(np.arange(10.0))[:, None] * 0.2 * np.ones(6)

    def curve(observation, _path, _committed):
        rows = np.tile(observation.positions, (8, 1))
        return curve_chunk(observation.stamp_ns, observation.joints, control, rows, spline, still)

    def waypoints(observation, path, committed):
        return curve(observation, path, committed).as_waypoints(0.05)

    config = RolloutConfig(limit_s=1.0, lead_steps=3)
    one, two = (stage.run(3, driver, config, keep=False) for driver in (curve, waypoints))
    assert one.inferences == two.inferences == 4
    assert one.chunk_jerk == pytest.approx(two.chunk_jerk)


def test_a_rough_chunk_leaves_the_planner_within_the_limits(stage) -> None:
    limits = load_robot("so101").limits

    def rough(observation, path, committed):
        jumps = np.where(np.arange(32) % 2, 0.03, -0.03)[:, None] + observation.positions
        return Chunk.from_rate(observation.stamp_ns, observation.joints, jumps, 0.05)

    config = RolloutConfig(limit_s=1.0)
    planned = stage.run(3, rough, config, make_executor("planner", "so101"), keep=False)
    linear = stage.run(3, rough, config, keep=False)
    one, two = summarise([planned], limits), summarise([linear], limits)
    # Alternating by 0.06 rad every 50 ms: third differences of 0.24 rad over dt^3.
    assert one.chunk_jerk == pytest.approx(0.24 / 0.05**3 / 150.0, rel=1e-3)
    assert one.chunk_jerk == two.chunk_jerk
    assert one.greatest_command_jerk <= 1.0 + 1e-6
    assert two.greatest_command_jerk > 10.0
    assert "control steps per inference; peak jerk of the arm" in report([planned], limits)


def test_jerk_of_a_chunk_is_that_of_its_cubic() -> None:
    times = np.array([0.05, 0.1, 0.2, 0.25, 0.4])
    chunk = Chunk(0, ("a", "b"), times, np.stack([2.0 * times**3 - times, times**2], axis=1))
    np.testing.assert_allclose(chunk_jerk(chunk), [12.0, 0.0], atol=1e-9)
    assert not chunk_jerk(Chunk(0, ("a",), times[:3], np.ones((3, 1)))).any()


def test_what_is_committed_is_the_newest_plan_until_it_comes_to_rest() -> None:
    execute = PlannerExecutor(np.zeros(6))
    standing = execute.committed(0, 0)
    assert standing.free_ns == standing.handover_ns  # nothing to agree with but where the arm is
    execute.take(ramp(0), 80 * MS)
    told = execute.committed(100 * MS, 300 * MS)
    assert 300 * MS < told.handover_ns < told.free_ns == 500 * MS < told.plan.end_ns
    late = execute.committed(100 * MS, 600 * MS)
    assert 600 * MS < late.handover_ns == late.free_ns  # a late policy is held no longer than it must
    # The same as will be commanded, a joint at a time.
    ahead = told.plan.at(told.handover_ns).position
    commands = dict(zip(JOINTS, execute.at(told.handover_ns), strict=True))
    assert dict(zip(told.plan.joints, ahead, strict=True)) == pytest.approx(commands)
    assert execute.committed(0, told.plan.end_ns) is None


def test_a_policy_that_is_told_stays_closer_to_what_is_executed(stage) -> None:
    file = config_dir() / "checkpoints" / "so101_pick_place_beast_moh.safetensors"
    config = RolloutConfig(limit_s=2.5, delay_steps=4, least_delay_steps=4, lead_steps=4, use_steps=9)
    apart = []
    for told in (False, True):
        driver = policy_driver(make_policy("learned", PolicyContext(checkpoint=file, real_time_chunking=told)), tell=told)
        result = stage.run(5, driver, config, executor=PlannerExecutor, keep=False)
        assert result.inferences == 11  # one each 5 control steps
        apart.append(max(v for joint, v in result.apart.items() if joint != "gripper"))
    assert 0.0 < apart[1] < 0.5 * apart[0]


def test_only_a_checkpoint_through_the_planner_can_be_told() -> None:
    with pytest.raises(ConfigError, match="--through planner"):
        evaluate(None, 1, condition=True)


def test_a_task_that_is_none_is_one_sentence_and_not_an_endless_wait() -> None:
    """A pool begins anew, for ever, what ends while it is made ready: so that must not end."""
    code = "from vla_ros.evaluation.evaluate import main\nif __name__ == '__main__':\n    main({})"
    given = ["--checkpoint", "expert", "--episodes", "1", "--processes", "1", "--task", "pick_plaze"]
    done = subprocess.run(
        [sys.executable, "-c", code.format(given)], capture_output=True, text=True, timeout=120, check=False
    )
    assert 'evaluate: unknown task "pick_plaze"; did you mean "pick_place"?' in done.stderr


def test_a_process_that_is_killed_is_noticed() -> None:
    job = Job("pick_place", "so101", (), RolloutConfig(), stage=Deadly)

    def enough(*_: object) -> None:
        raise TimeoutError("it was not noticed, and the others would wait for ever.")

    before = signal.signal(signal.SIGALRM, enough)
    signal.alarm(60)
    try:
        with pytest.raises(ConfigError, match="ended from outside"):
            list(run(job, [0, 1], processes=1))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_leaving_early_ends_the_processes() -> None:
    tries = run(Job("pick_place", "so101", (), RolloutConfig(), stage=Slow), range(10, 13), processes=2)
    first = next(tries)
    begun = time.monotonic()
    tries.close()
    assert time.monotonic() - begun < 20.0
    assert first.notes == {"seed": 10, "threads": "1"}
    assert not multiprocessing.active_children()


ORPHANS = """
import multiprocessing, time
from evaluation.worlds import Slow
from vla_ros.evaluation.workers import Job, run
from vla_ros.evaluation.rollout import RolloutConfig
tries = run(Job("pick_place", "so101", (), RolloutConfig(), stage=Slow), range(10, 13), processes=2)
next(tries)
print(*[p.pid for p in multiprocessing.active_children()], flush=True)
time.sleep(60)
"""


def test_no_process_outlives_one_that_is_killed() -> None:
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    env = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(children) == 2
    until = time.monotonic() + 20.0
    while any(alive(pid) for pid in children):
        assert time.monotonic() < until
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process is more than an entry that nobody has asked about yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"delay_steps": -1}, "a delay must lie"),
        ({"delay_steps": 1, "least_delay_steps": 2}, "the least first"),
        ({"replan_steps": 0}, "replan_steps"),
        ({"lead_steps": 0, "delay_steps": 0}, "lead_steps"),
        ({"lead_steps": 1}, "outlast a delay of 2"),
        ({"use_steps": -1}, "use_steps"),
    ],
)
def test_a_rollout_that_makes_no_sense_is_refused(given: dict[str, int], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RolloutConfig(**given)
