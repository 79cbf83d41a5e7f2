"""The checkpoints of the package fit its robots and succeed in the simulator."""

import numpy as np
import pytest

from vla_ros.config import config_dir, load_robot
from vla_ros.core.records import Observation
from vla_ros.evaluation.evaluate import evaluate
from vla_ros.policy.base import PolicyContext, make_policy
from vla_ros.policy.network.checkpoint import load_checkpoint

FILES = sorted((config_dir() / "checkpoints").glob("*.safetensors"))


def test_there_is_one() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_it_is_small_and_names_the_command_that_made_it(file) -> None:
    assert file.stat().st_size < 10e6
    model, info = load_checkpoint(file)
    assert info.command.startswith(
        ("python -m vla_ros.train", "./vla experiment learning_table", "./vla bench learning")
    )
    assert info.notes["frames"] > 0
    assert sum(p.numel() for p in model.parameters()) < 2.5e6


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_it_predicts_chunks_for_its_robot(file) -> None:
    robot = load_robot(load_checkpoint(file)[1].robot)
    policy = make_policy("learned", PolicyContext(robot.joints, robot.name, file))
    middle = (robot.limits.lower + robot.limits.upper) / 2
    images = {name: np.full((224, 224, 3), 128, dtype=np.uint8) for name in policy.cameras}
    chunk = policy.infer(Observation(1, images, robot.joints, middle))
    assert chunk.positions.shape[1] == len(robot.joints)
    assert np.isfinite(chunk.positions).all()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_it_puts_the_cube_in_the_bowl(file) -> None:
    """Of 100 episodes 99 or 100 succeeded; two failures in four have a probability of 1/1,500 at 99 %."""
    episodes = evaluate(file, 4, 7_000_000, "planner", quiet=True)
    assert sum(e.success for e in episodes) >= 3
