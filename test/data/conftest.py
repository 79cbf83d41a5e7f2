"""Demonstrations recorded in simulation: two short episodes of the expert."""

import os
from pathlib import Path

import pytest

from vla_ros.evaluation.episode_worker import EpisodeJob
from vla_ros.evaluation.rollout import RolloutConfig
from vla_ros.evaluation.workers import run_episodes


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of demonstrations as `./vla train` records it; skips without off-screen rendering."""
    os.environ.setdefault("MUJOCO_GL", "osmesa")
    import mujoco

    try:
        mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>")).close()
    except Exception as error:
        pytest.skip(f"off-screen rendering is not possible: {error}")
    folder = tmp_path_factory.mktemp("run") / "demos"
    rollout = RolloutConfig(image_size=32, noise_rad=0.05, timeout_s=2.0)
    job = EpisodeJob("pick_place", "so101", ("front", "wrist"), rollout, folder=folder)
    assert len(list(run_episodes(job, [0, 1], processes=1))) == 2
    return folder
