"""Many tries at once, each in a process of its own with its own world; episodes to disk."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.data.episodes import DemoInfo, DemoWriter
from vla_ros.evaluation.rollout import Result, RolloutConfig, Stage, expert_driver, policy_driver
from vla_ros.policy.base import PolicyContext, make_policy
from vla_ros.system.processes import terminate_with_parent


@dataclass(frozen=True)
class Job:
    """What every process does.

    Attributes:
        task: Name of the task.
        robot: Name of the robot.
        cameras: Names of the cameras.
        rollout: How a try is run.
        checkpoint: Policy that drives; None for the expert.
        folder: Where episodes go; None to keep none.
        prefix: Start of their file names.
        executor: Factory of what turns chunks into commands; None for linear.
        condition: Tell the policy what is committed; takes one that can be told, and the planner.
        policy: Name of another one that drives, made with the world's joints as the graph makes it; None for none.
        stage: What plays the tries, made with the task's name and the cameras'; another world has another one.
    """

    task: str
    robot: str
    cameras: tuple[str, ...]
    rollout: RolloutConfig
    checkpoint: Path | None = None
    folder: Path | None = None
    prefix: str = "expert"
    executor: Any = None
    condition: bool = False
    policy: str | None = None
    stage: type[Stage] = Stage

    def info(self, joints: tuple[str, ...]) -> DemoInfo:
        """The head of the data set this job writes."""
        r, names = self.rollout, self.stage.auxiliary
        return DemoInfo(self.task, self.robot, joints, self.cameras, names, r.image_size, r.dt_s, r.waypoints)


_state: dict[str, Any] = {}


def begin(job: Job) -> None:
    """Make this process ready for the tries of `job`."""
    # Ctrl-C is for the parent, which ends the children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("MUJOCO_GL", "osmesa")
    _state.clear()
    try:
        _prepare(job)
    except Exception as error:
        # A pool starts a process that ends in here anew, without end; so the first try says it. In plain words, for
        # not every error can be sent to another process.
        told = isinstance(error, VlaError)
        _state["refused"] = ConfigError(str(error)) if told else RuntimeError(traceback.format_exc())


def _begin_child(parent: int, job: Job) -> None:
    terminate_with_parent(parent)  # a pool's own would wait for work for ever
    begin(job)


def _prepare(job: Job) -> None:
    stage = job.stage(job.task, job.cameras)
    driver = expert_driver(job.rollout.dt_s)
    if job.policy is not None or job.checkpoint is not None:
        name = "learned" if job.policy is None else job.policy
        context = PolicyContext(stage.world.joints, job.robot, job.checkpoint, real_time_chunking=job.condition)
        policy = make_policy(name, context)
        driver = policy_driver(policy, name, job.condition)
        policy.warm_up()  # as in the graph: the first inference takes no longer than others
    writer = DemoWriter(job.folder, job.info(stage.world.joints), job.prefix) if job.folder else None
    _state.update(job=job, stage=stage, driver=driver, writer=writer)


def attempt(seed: int) -> Result:
    """One try; its frames go to disk.

    Raises:
        ConfigError: This process could not be made ready: no such task, or a policy that does not fit.
    """
    if "refused" in _state:
        raise _state["refused"]
    job: Job = _state["job"]
    result: Result = _state["stage"].run(
        seed, _state["driver"], job.rollout, executor=job.executor, keep=_state["writer"] is not None
    )
    if result.episode is not None:
        _state["writer"].write(result.episode, seed)
        result.episode = None
    return result


def run(job: Job, seeds: Sequence[int], processes: int = 2, ray: bool = False) -> Iterator[Result]:
    """Run one try per seed; results come as they end, without their frames.

    Leaving the iterator early ends the processes. A try depends on its seed alone, not on where it runs.

    Args:
        job: What is done.
        seeds: One per try.
        processes: How many at once.
        ray: Run them as Ray tasks, on whatever machines Ray has; files of the job must be there under the same names.

    Raises:
        ConfigError: Ray is asked for and not installed; or a process cannot be made ready, see `attempt`; or was ended
            from outside.
    """
    if not seeds:
        return
    if ray:
        from vla_ros.evaluation.ray_workers import run_with_ray

        yield from run_with_ray(job, seeds, processes)
        return
    os.environ.setdefault("MUJOCO_GL", "osmesa")
    # Each process computes on one thread; more would fight over the same cores.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(seeds)), spawn, _begin_child, (os.getpid(), job))
    try:
        with _one_thread():  # here they are started
            tries = [pool.submit(attempt, seed) for seed in seeds]
        for done in as_completed(tries):
            yield done.result()
    except BrokenProcessPool:
        raise ConfigError("a process of the tries was ended from outside; with fewer at once memory may do.") from None
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    old = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
