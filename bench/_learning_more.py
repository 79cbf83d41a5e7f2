"""Two further blocks of the learning table: a sentence that chooses, and a task that is not ours.

A policy that could drive while the expert labels does not exist for either, so all demonstrations are the expert's; the
disturbance is what shows how to get back on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import aloha
from _learning_blocks import Block, Order, Source, play_so101

from vla_ros.config import config_dir, load_robot
from vla_ros.core.errors import ConfigError
from vla_ros.data.rollout import Result
from vla_ros.train.config import TrainConfig, load_config

HEADS = ("regression", "beast", "flow")


def _shared() -> TrainConfig:
    config = load_config(config_dir() / "train" / "learning.yaml")
    return replace(config, demos=replace(config.demos, noise_s=0.3))


def two_objects() -> Block:
    """Of two cubes the one that the sentence names."""
    sources = (Source("expert", 0, 240, 0.05),)
    shared = _shared()
    config = replace(shared, task="two_objects", network=replace(shared.network, encoder="keypoint_film"))
    return Block("two_objects", config, HEADS, sources, play_so101, load_robot("so101").limits)


def play_aloha(config: TrainConfig, order: Order) -> Iterator[Result]:
    """Tries in gym-aloha's environment, which has no planner: its chunks are joined by lines.

    Raises:
        ConfigError: gym-aloha is not installed.
    """
    if not aloha.installed():
        raise ConfigError(aloha.MISSING)
    return aloha.tries(
        order.seeds,
        order.rollout,
        order.checkpoint,
        order.folder,
        order.prefix,
        order.processes,
        cameras=config.cameras,
    )


def transfer_cube() -> Block:
    """The right arm hands a cube to the left one."""
    shared = _shared()
    if shared.actor is None:
        raise ConfigError("the learning table needs an action transformer in learning.yaml.")
    config = replace(
        shared,
        task=aloha.TASK,
        robot=aloha.ROBOT,
        cameras=aloha.CAMERAS,
        # Little changes in its one picture: without normalisation the maps of some starts never come to show the cube.
        network=replace(shared.network, norm="group"),
        spline=replace(shared.spline, dt_s=aloha.DT_S),
        joint_weights=dict.fromkeys(aloha.GRIPPERS, 2.0),
        actor=replace(shared.actor, gripper=aloha.GRIPPERS),
    )
    sources = (Source("expert", 0, 160, 0.02),)
    return Block("transfer_cube", config, HEADS, sources, play_aloha, None, limit_s=aloha.LIMIT_S, through="linear")


MORE = {"two_objects": two_objects, "transfer_cube": transfer_cube}
"""To be taken up by `_learning_blocks.BLOCKS`."""
