"""Runs a policy: images and joint states in, chunks out. It always uses the newest observation; nothing is queued."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64, String
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import SHIPPED_CHECKPOINT, find_checkpoint, load_robot, require
from vla_ros.core.errors import RecordError
from vla_ros.core.records import NS, Array, Observation, Refusal
from vla_ros.core.synchroniser import Synchroniser, SynchroniserConfig
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.active_plan import ActivePlanListener
from vla_ros.nodes.common.conversions import (
    chunk_to_message,
    image_from_message,
    joint_state_from_message,
    to_ns,
    to_time,
)
from vla_ros.nodes.common.node_loop import Loop, PollingSubscription, RosTime, subscribe
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.policy.active_plan_tracker import ActivePlanTracker
from vla_ros.policy.base import PolicyContext, infer_chunk, make_policy, require_committed_prefix
from vla_ros.policy.inference_monitor import InferenceConfig, InferenceMonitor
from vla_ros.system.processes import set_cpu_affinity

if TYPE_CHECKING:
    from vla_ros.sim.ground_truth_json import GroundTruthObserver

RETRY_NS = NS // 20
"""Pause after a refused observation [ns]."""


@dataclass(frozen=True)
class PolicyParams:
    """Parameters of the node.

    Attributes:
        synchroniser: Thresholds of the observation synchroniser.
        inference: Rate of the inferences, added delays, and the time from a chunk to its handover.
        robot: Name in config/robots, or a file.
        policy: Name in the registry of policies: "learned", "expert", "hold" or one of your own.
        checkpoint: File of a learned policy; a relative path that does not exist is searched in config/checkpoints.
        real_time_chunking: Give the policy the committed prefix of the active plan, so that a late chunk agrees with
            it; see docs/policies/real_time_chunking.md.
        device: Device of a learned policy: "cpu", "cuda", "cuda:0" and so on.
        engine: Execution mode of a learned policy: "auto", "eager", "compiled", "graph", "compiled_graph"; see
            docs/policies/gpu.md.
        precision: Precision of the image encoders: "float32" or "bf16".
        threads: CPU threads of a learned policy.
        cpus: Processors of this process, as "1" or "0,2-3"; "auto" excludes the first, which is left to the command
            loop, if there are several; "" for all.
        log_dir: Folder for `policy.json`, written at the end; "" for none.
    """

    synchroniser: SynchroniserConfig = field(default_factory=SynchroniserConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    robot: str = "so101"
    policy: str = "learned"
    checkpoint: str = SHIPPED_CHECKPOINT
    real_time_chunking: bool = False
    device: str = "cpu"
    engine: str = "auto"
    precision: str = "float32"
    threads: int = 1
    cpus: str = "auto"
    log_dir: str = ""

    def __post_init__(self) -> None:
        """Check every value."""
        check_log_dir(self.log_dir)
        require(1 <= self.threads <= 256, f"policy: threads must be 1 to 256; got {self.threads}.")


class PolicyNode(Loop):
    """Queries the policy while there is an instruction, at most `rate_hz` times a second."""

    period_ns = 4_000_000

    def __init__(self, node: Node) -> None:
        """Load the policy, subscribe to what it needs, and warm it up."""
        self._params = params = load_params(node, PolicyParams)
        self._node, self._time = node, RosTime(node)
        robot = load_robot(params.robot)
        set_cpu_affinity(params.cpus)
        self._policy = make_policy(params.policy, self._context(robot.joints, robot.name))
        self._ground_truth: GroundTruthObserver | None = None
        if self._policy.needs_ground_truth:
            from vla_ros.sim.ground_truth_json import GroundTruthObserver
            from vla_ros.sim.so101.expert import Expert

            self._expert, self._ground_truth = Expert(), GroundTruthObserver(robot.joints)
        self._synchroniser = Synchroniser(self._policy.cameras, robot.joints, params.synchroniser)
        self._monitor = InferenceMonitor(params.inference)
        self._tracker: ActivePlanTracker | None = None
        if params.real_time_chunking:
            require_committed_prefix(params.policy, self._policy)
            self._tracker = ActivePlanTracker(robot.limits, params.inference.handover_s)
            self._active_plan = ActivePlanListener(node, self._policy.joints, self._tracker)
        self._instruction = ""
        self._last_stamp_ns = self._next_inference_ns = self._next_status_ns = 0
        self._ground_truth_sub: PollingSubscription[String] | None = None
        if self._ground_truth is not None:
            self._ground_truth_sub = subscribe(node, String, topics.GROUND_TRUTH, topics.LATCHED)
        self._joints_sub = subscribe(node, JointStateMessage, topics.JOINT_STATES, topics.SENSOR)
        self._camera_subs = {
            name: subscribe(node, ImageMessage, topics.CAMERA.format(name), topics.IMAGE)
            for name in self._policy.cameras
        }
        self._instruction_sub = subscribe(node, String, topics.INSTRUCTION, topics.LATCHED)
        self._chunk_pub = node.create_publisher(JointTrajectory, topics.CHUNK, topics.RELIABLE)
        self._uncertainty_pub = node.create_publisher(Float64, topics.UNCERTAINTY, topics.RELIABLE)
        self._diagnostics_pub = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.RELIABLE)
        self._policy.warm_up()
        node.get_logger().info(f"policy {params.policy} for {robot.name} is ready")

    def _context(self, joints: tuple[str, ...], robot: str) -> PolicyContext:
        params = self._params
        return PolicyContext(
            joints=joints,
            robot=robot,
            checkpoint=find_checkpoint(params.checkpoint),
            real_time_chunking=params.real_time_chunking,
            device=params.device,
            engine=params.engine,
            precision=params.precision,
            threads=params.threads,
            ground_truth=self._expert_path,
        )

    def _expert_path(self, _observation: Observation, count: int, dt_s: float) -> Array:
        """Targets of the expert from the newest ground truth, shape (count, J) [rad]."""
        if self._ground_truth is None or self._ground_truth.ground_truth is None:
            raise RecordError("no ground truth was received yet.")
        return self._expert.target_path(self._ground_truth.ground_truth, count * dt_s, dt_s)

    def step(self, late_ns: int) -> None:
        """Process the received messages; infer if it is time and there is a new observation."""
        now = self._time.now_ns()
        self._receive()
        if now >= self._next_status_ns:
            self._next_status_ns = now + NS
            self._publish_status()
        self._publish_due_chunk(now)
        if self._monitor.busy or not self._instruction or now < self._next_inference_ns:
            return
        source = self._ground_truth or self._synchroniser
        observation = source.observe(now, self._instruction)
        if isinstance(observation, Refusal):
            self._refuse(observation)
            self._next_inference_ns = now + RETRY_NS
        elif observation.stamp_ns > self._last_stamp_ns:
            self._last_stamp_ns = observation.stamp_ns
            self._next_inference_ns = now + self._params.inference.period_ns
            self._infer(observation)

    def _receive(self) -> None:
        instruction = self._instruction_sub.newest()
        if instruction is not None and instruction.data != self._instruction:
            self._instruction = instruction.data
            self._policy.reset()
        if self._tracker is not None:
            self._active_plan.receive()
        try:
            if self._ground_truth is not None and self._ground_truth_sub is not None:
                ground_truth = self._ground_truth_sub.newest()
                if ground_truth is not None:
                    self._ground_truth.update(ground_truth.data)
                return
            for name, subscription in self._camera_subs.items():
                image = subscription.newest()
                if image is not None:
                    self._synchroniser.image(name, to_ns(image.header.stamp), image_from_message(image))
            for joints in self._joints_sub.take():
                self._synchroniser.joint_state(joint_state_from_message(joints))
        except RecordError as error:
            self._refuse(Refusal("malformed", str(error)))

    def _infer(self, observation: Observation) -> None:
        begin_s, begin_ns = time.monotonic(), self._time.now_ns()
        prefix = None if self._tracker is None else self._tracker.committed_prefix(begin_ns)
        try:
            chunk = infer_chunk(self._params.policy, self._policy, observation, prefix)
        except RecordError as error:
            self._refuse(Refusal("policy", str(error)))
            return
        duration_s = time.monotonic() - begin_s
        due_ns = self._monitor.add_inference(chunk, duration_s, self._time.now_ns())
        if self._tracker is not None:
            self._tracker.add_latency(due_ns - begin_ns)
        self._publish_due_chunk(self._time.now_ns())

    def _publish_due_chunk(self, now: int) -> None:
        """Publish the finished chunk and its uncertainty once the added delay is over."""
        chunk = self._monitor.take_due(now)
        if chunk is None:
            return
        self._chunk_pub.publish(chunk_to_message(chunk))
        uncertainty = self._policy.uncertainty_rad
        if uncertainty is not None:
            self._uncertainty_pub.publish(Float64(data=uncertainty))
            self._monitor.add_uncertainty(uncertainty)

    def _refuse(self, refusal: Refusal) -> None:
        self._monitor.refuse(refusal)
        self._node.get_logger().warning(f"no inference: {refusal.detail}", throttle_duration_sec=1.0)

    def _publish_status(self) -> None:
        warning = self._monitor.warning(bool(self._instruction))
        level = DiagnosticStatus.WARN if warning else DiagnosticStatus.OK
        text = warning or ("inferring" if self._instruction else "no instruction")
        values = [KeyValue(key=k, value=str(v)) for k, v in sorted(self._monitor.counts.items())]
        values += [KeyValue(key=k, value=f"{v:.3f}") for k, v in self._monitor.uncertainty().items()]
        status = DiagnosticStatus(level=level, name="vla_ros: policy", message=text, values=values)
        array = DiagnosticArray(status=[status])
        array.header.stamp = to_time(self._time.now_ns())
        self._diagnostics_pub.publish(array)

    def close(self) -> None:
        """Write the log."""
        if self._params.log_dir:
            file = Path(self._params.log_dir) / "policy.json"
            file.write_text(json.dumps(self._monitor.summary(), indent=1))


def main() -> None:
    """Run the node."""
    run("policy", PolicyNode)


if __name__ == "__main__":
    main()
