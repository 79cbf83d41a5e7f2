"""What one process does: it builds a simulator and a driver once and runs episodes, whose frames it writes to disk."""

from __future__ import annotations

import os
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path

from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.core.records import Array, Observation
from vla_ros.data.episodes import DemoInfo, DemoWriter
from vla_ros.evaluation.executors import executors
from vla_ros.evaluation.rollout import (
    Driver,
    EpisodeResult,
    RolloutConfig,
    expert_driver,
    policy_driver,
    run_episode,
)
from vla_ros.policy.base import PolicyContext, make_policy
from vla_ros.sim.base import Simulator, simulators


@dataclass(frozen=True)
class EpisodeJob:
    """What every process of a set of episodes does.

    Attributes:
        task: Name of the task.
        robot: Name of the robot.
        robot_file: File with the limits of the robot for the executor; "" for the file of that name in config/robots.
        cameras: Names of the cameras.
        rollout: Timing, disturbance and recording of the episodes.
        checkpoint: Checkpoint of the driving policy; None for policies without one and for the expert.
        policy: Name of the driving policy in the policy registry, made with the simulator's joints and expert. None:
            the checkpoint's policy; without a checkpoint, the path of the expert that labels the frames.
        folder: Folder for recorded episodes; None: nothing is recorded.
        prefix: Prefix of their file names.
        executor: Name of the executor in the registry `executors`.
        real_time_chunking: Pass the committed prefix to the policy; requires an executor with a plan.
        simulator: Name of the simulator in the registry `simulators`.
    """

    task: str
    robot: str
    cameras: tuple[str, ...]
    rollout: RolloutConfig
    checkpoint: Path | None = None
    policy: str | None = None
    folder: Path | None = None
    prefix: str = "expert"
    executor: str = "linear"
    real_time_chunking: bool = False
    simulator: str = "so101"
    robot_file: str = ""

    def info(self, simulator: Simulator) -> DemoInfo:
        """The properties shared by all episodes that this job records."""
        r = self.rollout
        return DemoInfo(
            self.task, self.robot, simulator.joints, self.cameras, simulator.ground_truth_names, r.image_size, r.dt_s,
            r.waypoints,
        )  # fmt: skip


class EpisodeWorker:
    """Runs the episodes of a job in this process."""

    def __init__(self, job: EpisodeJob) -> None:
        """Build simulator and driver. An error is kept and raised by every `run`.

        A process pool restarts a process that fails during initialisation for ever, and not every exception can be
        pickled; so the first episode raises it, as a `ConfigError` or with its traceback as text.
        """
        # Ctrl-C is handled by the parent process, which stops its children.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.environ.setdefault("MUJOCO_GL", "osmesa")
        self._job = job
        self._error: Exception | None = None
        try:
            self._simulator: Simulator = simulators.get(job.simulator)(job.task, job.cameras)
            self._executor = executors.get(job.executor)
            self._driver = _make_driver(job, self._simulator)
            self._writer = DemoWriter(job.folder, job.info(self._simulator), job.prefix) if job.folder else None
        except VlaError as error:
            self._error = ConfigError(str(error))
        except Exception:
            self._error = RuntimeError(traceback.format_exc())

    def run(self, seed: int) -> EpisodeResult:
        """Run one episode; its frames are written to disk and not returned.

        Raises:
            ConfigError: Unknown task, simulator, executor or policy, or a policy that does not fit.
        """
        if self._error is not None:
            raise self._error
        job, record = self._job, self._writer is not None
        result = run_episode(
            self._simulator, seed, self._driver, job.rollout, self._executor, job.robot_file or job.robot, record
        )
        if self._writer is not None and result.episode is not None:
            self._writer.write(result.episode, seed)
            result.episode = None
        return result


def _make_driver(job: EpisodeJob, simulator: Simulator) -> Driver:
    if job.policy is None and job.checkpoint is None:
        return expert_driver(job.rollout.dt_s)
    name = "learned" if job.policy is None else job.policy

    def expert_path(_observation: Observation, count: int, dt_s: float) -> Array:
        return simulator.expert_path(simulator.ground_truth(), count * dt_s, dt_s)

    context = PolicyContext(
        joints=simulator.joints,
        robot=job.robot,
        checkpoint=job.checkpoint,
        real_time_chunking=job.real_time_chunking,
        threads=1,
        ground_truth=expert_path,
    )
    policy = make_policy(name, context)
    driver = policy_driver(policy, name, job.real_time_chunking)
    policy.warm_up()  # as in the ROS graph, before the first observation
    return driver
