"""The tries of `record.py` on the machines of a Ray cluster; a cluster of this machine alone where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vla_ros.core.errors import ConfigError
from vla_ros.evaluation.rollout import Result

if TYPE_CHECKING:
    from vla_ros.evaluation.workers import Job

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _Worker:
    """One process with a world of its own, kept between tries."""

    def __init__(self, job: Job) -> None:
        from vla_ros.evaluation import workers as record

        record.begin(job)

    def attempt(self, seed: int) -> Result:
        from vla_ros.evaluation import workers as record

        return record.attempt(seed)


def run_with_ray(job: Job, seeds: Sequence[int], processes: int) -> Iterator[Result]:
    """As `record.run`; a Ray that was not running before is ended afterwards.

    Raises:
        ConfigError: Ray is not installed, the cluster in RAY_ADDRESS does not let us in, or see `record.attempt`.
    """
    abroad = bool(os.environ.get("RAY_ADDRESS"))
    if not abroad:
        # Read when Ray is imported: its servers then listen on the loopback interface, not on all of them.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray.util import ActorPool
    except ModuleNotFoundError:
        raise ConfigError('many machines need Ray: pip install "vla_ros[ray]".') from None
    count = min(processes, len(seeds))
    own = not ray.is_initialized()
    if own:
        # Here one is made, with as many places as processes are asked for.
        here: dict[str, Any] = {} if abroad else {"address": "local", "num_cpus": count, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level="error", **here)
        except ConnectionError:
            raise ConfigError(
                f"no Ray cluster lets us in at RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}; one that asks for a token "
                "needs RAY_AUTH_MODE=token here, and the token in ~/.ray/auth_token."
            ) from None
    variables = {"MUJOCO_GL": os.environ.get("MUJOCO_GL", "osmesa"), **_ONE_THREAD}
    make = ray.remote(num_cpus=1, runtime_env={"env_vars": variables})(_Worker)
    workers = [make.remote(job) for _ in range(count)]
    try:
        yield from ActorPool(workers).map_unordered(lambda worker, seed: worker.attempt.remote(seed), list(seeds))
    except ConfigError as error:
        raise ConfigError(str(getattr(error, "cause", error))) from None  # without the traceback Ray puts around it
    finally:
        for worker in workers:
            ray.kill(worker)
        if own:
            ray.shutdown()
