"""Many episodes in parallel, each process with its own simulator; locally or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from vla_ros.core.errors import ConfigError
from vla_ros.evaluation.episode_worker import EpisodeJob, EpisodeWorker
from vla_ros.evaluation.rollout import EpisodeResult
from vla_ros.system.processes import environment_variables, terminate_with_parent

SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment variables with which every process computes on one thread, so that processes do not share cores."""


def run_episodes(
    job: EpisodeJob, seeds: Sequence[int], processes: int = 2, ray: bool = False
) -> Iterator[EpisodeResult]:
    """Run one episode per seed and yield the results, without frames, in the order in which the episodes end.

    Closing the iterator stops the processes. An episode depends on its seed only, not on the process that runs it.

    Args:
        job: What is run.
        seeds: One per episode.
        processes: Maximum number of parallel processes.
        ray: Run the episodes as Ray tasks, on the machines of the Ray cluster; the files of the job must have the same
            paths there.

    Raises:
        ConfigError: Ray is requested and not installed, a process cannot be initialised (see `EpisodeWorker.run`), or
            a process was killed.
    """
    if not seeds:
        return
    if ray:
        from vla_ros.evaluation.ray_workers import run_with_ray

        yield from run_with_ray(job, seeds, processes, SINGLE_THREAD)
        return
    os.environ.setdefault("MUJOCO_GL", "osmesa")
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(seeds)), spawn, _initialise, (os.getpid(), job))
    try:
        with environment_variables(SINGLE_THREAD):  # the processes start here and inherit it
            futures = [pool.submit(_run, seed) for seed in seeds]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise ConfigError(
            "a process was killed while it ran an episode; if memory was exhausted, use fewer processes."
        ) from None
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(cancel_futures=True)


_worker: EpisodeWorker | None = None
"""The worker of this process, set when the pool starts it."""


def _initialise(parent: int, job: EpisodeJob) -> None:
    global _worker
    terminate_with_parent(parent)  # the pool's processes would otherwise wait for work for ever
    _worker = EpisodeWorker(job)


def _run(seed: int) -> EpisodeResult:
    if _worker is None:
        raise RuntimeError("this process has no worker.")
    return _worker.run(seed)
