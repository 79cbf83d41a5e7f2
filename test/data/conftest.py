"""Demonstrations that were really recorded: two tries of the expert in the MuJoCo world, cut short."""

import os
from pathlib import Path

import pytest

from vla_ros.evaluation.rollout import RolloutConfig
from vla_ros.evaluation.workers import Job, run


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `./vla train` leaves it, by what it records with; skipped where nothing can draw."""
    os.environ.setdefault("MUJOCO_GL", "osmesa")
    import mujoco

    try:
        mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>")).close()
    except Exception as error:
        pytest.skip(f"no off-screen drawing here: {error}")
    folder = tmp_path_factory.mktemp("run") / "demos"
    rollout = RolloutConfig(image_size=32, noise_rad=0.05, limit_s=2.0)
    job = Job("pick_place", "so101", ("front", "wrist"), rollout, folder=folder)
    assert len(list(run(job, [0, 1], processes=1))) == 2
    return folder
