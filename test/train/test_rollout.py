"""Tries in the simulated world: alignment by time, disturbance, what is kept, and the planner in between."""

import numpy as np
import pytest

from vla_ros.config import load_robot
from vla_ros.core.records import NS, Chunk
from vla_ros.data.rollout import AUXILIARY, Disturbance, LinearExecutor, RolloutConfig, expert_driver
from vla_ros.data.through_planner import PlannerExecutor
from vla_ros.sim.scene import JOINTS

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
    assert execute.refusals == {"disagreement": 1}


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
    from vla_ros.data.rollout import Stage

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
