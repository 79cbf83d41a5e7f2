"""Episodes as tasks on a Ray cluster; without a cluster, on a temporary one on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vla_ros.core.errors import ConfigError
from vla_ros.evaluation.episode_worker import EpisodeJob, EpisodeWorker
from vla_ros.evaluation.rollout import EpisodeResult


def run_with_ray(
    job: EpisodeJob, seeds: Sequence[int], processes: int, environment: Mapping[str, str]
) -> Iterator[EpisodeResult]:
    """Run one episode per seed, as `workers.run_episodes` does; a Ray instance started here is shut down afterwards.

    Args:
        job: What is run.
        seeds: One per episode.
        processes: Maximum number of parallel workers.
        environment: Environment variables of the workers.

    Raises:
        ConfigError: Ray is not installed, the cluster in RAY_ADDRESS refuses the connection, or see
            `EpisodeWorker.run`.
    """
    remote_cluster = bool(os.environ.get("RAY_ADDRESS"))
    if not remote_cluster:
        # Read when Ray is imported: its servers then listen on the loopback interface only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray.util import ActorPool
    except ModuleNotFoundError:
        raise ConfigError('episodes on a cluster need Ray: pip install "vla_ros[ray]".') from None
    count = min(processes, len(seeds))
    started_here = not ray.is_initialized()
    if started_here:
        local: dict[str, Any] = {"address": "local", "num_cpus": count, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level="error", **({} if remote_cluster else local))
        except ConnectionError:
            raise ConfigError(
                f"the Ray cluster at RAY_ADDRESS={os.environ.get('RAY_ADDRESS')} refuses the connection; a cluster "
                "with token authentication needs RAY_AUTH_MODE=token and the token in ~/.ray/auth_token."
            ) from None
    variables = {"MUJOCO_GL": os.environ.get("MUJOCO_GL", "osmesa"), **environment}
    make_worker = ray.remote(num_cpus=1, runtime_env={"env_vars": variables})(EpisodeWorker)
    workers = [make_worker.remote(job) for _ in range(count)]
    try:
        yield from ActorPool(workers).map_unordered(lambda worker, seed: worker.run.remote(seed), list(seeds))
    except ConfigError as error:
        raise ConfigError(str(getattr(error, "cause", error))) from None  # without the traceback that Ray adds
    finally:
        for worker in workers:
            ray.kill(worker)
        if started_here:
            ray.shutdown()
