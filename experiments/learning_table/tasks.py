"""The blocks of the learning table: the task of the shipped policy, a sentence that chooses, a task that is not ours.

A policy that could drive while the expert labels exists for the first alone; of the others all demonstrations are the
expert's, and the disturbance is what shows how to get back on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bench import aloha_expert as aloha
from experiments.learning_table.suites import WAYS, Block, Cell, Order, Source, quick
from vla_ros.config import config_dir, load_robot
from vla_ros.core.errors import ConfigError, UnknownName
from vla_ros.evaluation.evaluate import make_executor
from vla_ros.evaluation.rollout import Result
from vla_ros.evaluation.workers import Job, run
from vla_ros.train.config import TrainConfig, load_config

HEADS = ("regression", "beast", "flow")


def play_so101(config: TrainConfig, order: Order) -> Iterator[Result]:
    """Tries in the MuJoCo world of the SO-101."""
    executor = make_executor(order.through, config.robot)
    job = Job(
        config.task, config.robot, config.cameras, order.rollout, order.checkpoint, order.folder, order.prefix, executor
    )
    return run(job, order.seeds, order.processes)


def _shared() -> TrainConfig:
    config = load_config(config_dir() / "train" / "learning.yaml")
    return replace(config, demos=replace(config.demos, noise_s=0.3))


def pick_place() -> Block:
    """The task of the shipped policy."""
    trunk = config_dir() / "checkpoints" / "so101_pick_place.safetensors"
    sources = (Source("expert", 0, 120, 0.05), Source("driven", 100_000, 80, 0.04, trunk))
    heads = ("regression", "beast", "flow", "beast_tokens", "bins")
    limits = load_robot("so101").limits
    return Block("pick_place", _shared(), heads, sources, play_so101, limits, shorter={"regression": (10, 21)})


def two_objects() -> Block:
    """Of two cubes the one that the sentence names."""
    sources = (Source("expert", 0, 240, 0.05),)
    shared = _shared()
    config = replace(shared, task="two_objects", network=replace(shared.network, encoder="keypoint_film"))
    return Block("two_objects", config, HEADS, sources, play_so101, load_robot("so101").limits)


def play_aloha(config: TrainConfig, order: Order) -> Iterator[Result]:
    """Tries in gym-aloha's environment, which has no planner: its chunks are joined by lines."""
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
    # r = 1.2 hardly executes more than the first waypoints in the other blocks; its tries are saved here.
    ways = tuple(way for way in WAYS if way != "consensus")
    return Block(
        "transfer_cube", config, HEADS, sources, play_aloha, limit_s=aloha.LIMIT_S, through="linear", ways=ways,
        minutes=10.0, lacks="" if aloha.installed() else aloha.MISSING,
    )  # fmt: skip


BLOCKS: dict[str, Callable[[], Block]] = {
    "pick_place": pick_place,
    "two_objects": two_objects,
    "transfer_cube": transfer_cube,
}
"""By name, in the order they are run."""


def select(
    blocks: Sequence[str], cells: Sequence[str], small: bool = False, minutes: float | None = None
) -> list[Cell]:
    """The cells asked for; all of them where nothing is named.

    Args:
        blocks: Their names; none for all.
        cells: Names or paths; none for all.
        small: With so little of everything that each takes seconds.
        minutes: Of training, in place of the blocks' own.

    Raises:
        UnknownName: There is no block or cell of that name.
    """
    for name in blocks:
        if name not in BLOCKS:
            raise UnknownName("block", name, BLOCKS)
    made = [make() for name, make in BLOCKS.items() if not blocks or name in blocks]
    made = [quick(block) if small else block for block in made]
    all_cells = [cell for block in made for cell in replace(block, minutes=minutes or block.minutes).cells()]
    known = {name for cell in all_cells for name in (cell.name, cell.path)}
    for name in cells:
        if name not in known:
            raise UnknownName("cell", name, sorted({cell.name for cell in all_cells}))
    return [c for c in all_cells if not cells or c.name in cells or c.path in cells]
