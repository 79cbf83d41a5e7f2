"""The suites of the learning table: pick and place, two objects of which the instruction names one, and gym-aloha."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.learning_table.suites import (
    EXECUTION_MODES,
    DemonstrationSource,
    Run,
    Suite,
    quick,
)
from vla_ros.config import find_checkpoint, load_robot
from vla_ros.core.errors import UnknownName
from vla_ros.sim import aloha
from vla_ros.train.config import TrainConfig, load_config

SETTINGS = Path(__file__).with_name("so101.yaml")
HEADS = ("regression", "beast", "flow")


def shared_settings() -> TrainConfig:
    """The settings of `so101.yaml`."""
    return load_config(SETTINGS)


def pick_place() -> Suite:
    """The task of the shipped policy.

    In a part of the demonstrations a policy moves the arm while the expert labels (DAgger). The kept records are from
    demonstrations of the residual network of commit aaa6ec5, which is deleted; new ones use the shipped policy.
    """
    sources = (
        DemonstrationSource("expert", 0, 120, 0.05),
        DemonstrationSource("dagger", 100_000, 80, 0.04, find_checkpoint()),
    )
    heads = ("regression", "beast", "flow", "beast_tokens", "bins")
    return Suite(
        "pick_place", shared_settings(), heads, sources, limits=load_robot("so101").limits,
        shorter_horizons={"regression": (10, 21)},
    )  # fmt: skip


def two_objects() -> Suite:
    """The instruction names one of two cubes. All demonstrations are the expert's."""
    sources = (DemonstrationSource("expert", 0, 240, 0.05),)
    shared = shared_settings()
    config = replace(shared, task="two_objects", network=replace(shared.network, encoder="keypoint_film"))
    return Suite("two_objects", config, HEADS, sources, limits=load_robot("so101").limits)


def transfer_cube() -> Suite:
    """gym-aloha's task: the right arm hands a cube to the left arm. All demonstrations are the expert's.

    gym-aloha has no robot file and therefore no planner: chunks are joined by lines.
    """
    shared = shared_settings()
    config = replace(
        shared,
        task=aloha.TASK,
        robot=aloha.ROBOT,
        cameras=aloha.CAMERAS,
        # Its images change little; from some initial weights, feature maps without normalisation never show the cube.
        network=replace(shared.network, norm="group", grippers=aloha.GRIPPERS),
        spline=replace(shared.spline, dt_s=aloha.DT_S),
        joint_weights=dict.fromkeys(aloha.GRIPPERS, 2.0),
    )
    sources = (DemonstrationSource("expert", 0, 160, 0.02),)
    # With r = 1.2 the other suites hardly execute more than the minimum number of steps; it is left out here.
    modes = tuple(mode for mode in EXECUTION_MODES if mode != "consensus")
    return Suite(
        "transfer_cube", config, HEADS, sources, simulator="aloha", timeout_s=aloha.TIMEOUT_S, executor="linear",
        execution_modes=modes, minutes=10.0, unavailable_reason="" if aloha.is_installed() else aloha.NOT_INSTALLED,
    )  # fmt: skip


SUITES: dict[str, Callable[[], Suite]] = {
    "pick_place": pick_place,
    "two_objects": two_objects,
    "transfer_cube": transfer_cube,
}
"""By name, in the order they are run."""


def select(suites: Sequence[str], runs: Sequence[str], small: bool = False, minutes: float | None = None) -> list[Run]:
    """Runs by name.

    Args:
        suites: Names of suites; empty for all.
        runs: Names of runs ("flow-moh"), or suite and name ("pick_place/flow-moh"); empty for all.
        small: Reduce the suites so far that each run takes seconds.
        minutes: Training time in place of the suites' own [min].

    Raises:
        UnknownName: There is no suite or run of that name.
    """
    for name in suites:
        if name not in SUITES:
            raise UnknownName("suite", name, SUITES)
    made = [make() for name, make in SUITES.items() if not suites or name in suites]
    made = [quick(suite) if small else suite for suite in made]
    all_runs = [one for suite in made for one in replace(suite, minutes=minutes or suite.minutes).runs()]
    known = {name for one in all_runs for name in (one.name, one.path)}
    for name in runs:
        if name not in known:
            raise UnknownName("run", name, sorted({one.name for one in all_runs}))
    return [one for one in all_runs if not runs or one.name in runs or one.path in runs]
