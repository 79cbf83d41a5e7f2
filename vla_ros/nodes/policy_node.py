"""Cameras and joints in, chunks out: always the newest observation, never a queue."""

from __future__ import annotations

import functools
import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Float64, String
from trajectory_msgs.msg import JointTrajectory

from vla_ros.config import config_dir, load_robot, require
from vla_ros.core.errors import RecordError
from vla_ros.core.records import NS, Array, Observation, Refusal
from vla_ros.core.synchroniser import Synchroniser, SynchroniserConfig
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.active_plan import InForce
from vla_ros.nodes.common.conversions import (
    chunk_to_message,
    image_from_message,
    joint_state_from_message,
    to_ns,
    to_time,
)
from vla_ros.nodes.common.node_loop import Loop, RosTime, newest, take
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import check_log_dir, load_params
from vla_ros.policy.base import (
    Policy,
    PolicyContext,
    TargetPath,
    check_chunk,
    make_policy,
    require_committed_prefix,
)
from vla_ros.system.processes import set_cpu_affinity

if TYPE_CHECKING:
    from vla_ros.nodes.common.ground_truth import TruthObserver


@dataclass(frozen=True)
class PolicyParams(SynchroniserConfig):
    """Parameters of the node, beside the thresholds of observing.

    Attributes:
        robot: Name in config/robots, or a file.
        policy: Name in the registry: "learned", "expert", "hold".
        checkpoint: File of a learned policy; a relative one is looked for in config/checkpoints.
        rate_hz: Most inferences per second [Hz].
        delay_min_ms: Least delay added to every inference, for experiments [ms].
        delay_max_ms: Greatest delay added; drawn uniformly [ms].
        seed: Of the delays.
        condition: Tell the policy of the plan in force, so that a late chunk agrees with it; see docs/policies.md.
        handover_s: From a chunk's being sent to its hand-over: transport and the planner's `lead_s` [s].
        device: What a learned policy runs on: "cpu", "cuda", "cuda:0" and so on.
        engine: How it runs there: "auto", "eager", "compiled", "graph", "compiled_graph"; see docs/policies.md.
        precision: Of what encodes images: "float32" or "bf16".
        threads: CPU threads of a learned policy.
        cpus: Processors this node's work may run on, as "1" or "0,2-3"; "auto" leaves the first to the command loop and
            whoever else works, where there are several; "" for all.
        log_dir: Folder for `policy.json`, written at the end; "" for none.
    """

    robot: str = "so101"
    policy: str = "learned"
    checkpoint: str = "so101_pick_place_beast_moh.safetensors"
    rate_hz: float = 10.0
    delay_min_ms: float = 0.0
    delay_max_ms: float = 0.0
    seed: int = 0
    condition: bool = False
    handover_s: float = 0.05
    device: str = "cpu"
    engine: str = "auto"
    precision: str = "float32"
    threads: int = 1
    cpus: str = "auto"
    log_dir: str = ""

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        check_log_dir(self.log_dir)
        require(0.1 <= self.rate_hz <= 200.0, f"policy: rate_hz must be 0.1 to 200; got {self.rate_hz}.")
        require(0.0 <= self.handover_s < 1.0, f"policy: handover_s must be 0 to 1; got {self.handover_s}.")
        require(1 <= self.threads <= 256, f"policy: threads must be 1 to 256; got {self.threads}.")
        require(
            0.0 <= self.delay_min_ms <= self.delay_max_ms < 60_000.0,
            f"policy: delays must be 0 <= low <= high; got {self.delay_min_ms} to {self.delay_max_ms} ms.",
        )


class PolicyNode(Loop):
    """Observes while there is an instruction; infers at most `rate_hz` times a second."""

    period_ns = 4_000_000

    def __init__(self, node: Node) -> None:
        """Load the policy, then subscribe."""
        self._params = params = load_params(node, PolicyParams)
        self._node, self._time = node, RosTime(node)
        robot = load_robot(params.robot)
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._truth: TruthObserver | None = None
        set_cpu_affinity(params.cpus)
        self._policy, self._observer = self._make(robot.joints, robot.name)
        if params.condition:
            require_committed_prefix(params.policy, self._policy)
        self._force = InForce(node, self._policy.joints, robot.limits, params.handover_s) if params.condition else None
        self._random = random.Random(params.seed)
        self._instruction = ""
        self._last_stamp_ns = self._next_ns = self._next_report_ns = 0
        self._refusal: Refusal | None = None
        self._short = ""
        self._counts: Counter[str] = Counter()
        self._inference_s = self._doubt_most = self._doubt_sum = 0.0
        self._ready: tuple[int, JointTrajectory] | None = None
        told = self._truth is not None
        self._truth_sub = node.create_subscription(String, topics.GROUND_TRUTH, ignored, topics.LATCHED) if told else None
        self._joints_sub = node.create_subscription(JointStateMessage, topics.JOINT_STATES, ignored, topics.SENSOR)
        self._camera_subs = {
            name: node.create_subscription(ImageMessage, topics.CAMERA.format(name), ignored, topics.IMAGE)
            for name in self._policy.cameras
        }
        self._instruction_sub = node.create_subscription(String, topics.INSTRUCTION, ignored, topics.LATCHED)
        self._chunk_pub = node.create_publisher(JointTrajectory, topics.CHUNK, topics.RELIABLE)
        self._doubt_pub = node.create_publisher(Float64, topics.UNCERTAINTY, topics.RELIABLE)
        self._diagnostics_pub = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.RELIABLE)
        self._policy.warm_up()
        node.get_logger().info(f"policy {params.policy} for {robot.name} is ready")

    def _make(self, joints: tuple[str, ...], robot: str) -> tuple[Policy, Synchroniser | TruthObserver]:
        params = self._params
        file = Path(params.checkpoint)
        file = file if file.is_file() else config_dir() / "checkpoints" / file
        context = PolicyContext(
            joints, robot, file, params.condition, params.device, params.engine, params.precision, params.threads,
            functools.partial(self._ground_truth_path, joints),
        )  # fmt: skip
        policy = make_policy(params.policy, context)
        return policy, self._truth or Synchroniser(policy.cameras, joints, params)

    def _ground_truth_path(self, joints: tuple[str, ...]) -> TargetPath:
        """Targets of the simulator's expert; made only for a policy that needs the ground truth."""
        from vla_ros.nodes.common.ground_truth import TruthObserver
        from vla_ros.sim.so101.expert import Expert

        expert, observer = Expert(), TruthObserver(joints)
        self._truth = observer

        def path(_observation: Observation, count: int, dt_s: float) -> Array:
            if observer.truth is None:
                raise RecordError("no ground truth has been received yet.")
            return expert.target_path(observer.truth, count * dt_s, dt_s)

        return path

    def step(self, late_ns: int) -> None:
        """Take what came; infer if it is time and there is something new to see."""
        now = self._time.now_ns()
        self._listen()
        if now >= self._next_report_ns:
            self._next_report_ns = now + NS
            self._report()
        self._deliver(now)
        if self._ready is not None or not self._instruction or now < self._next_ns:
            return
        observation = self._observer.observe(now, self._instruction)
        if isinstance(observation, Refusal):
            self._refuse(observation)
            self._next_ns = now + NS // 20
        elif observation.stamp_ns > self._last_stamp_ns:
            self._last_stamp_ns = observation.stamp_ns
            self._next_ns = now + round(NS / self._params.rate_hz)
            self._infer(observation)

    def _listen(self) -> None:
        message = newest(self._instruction_sub)
        if message is not None and message.data != self._instruction:
            self._instruction = message.data
            self._policy.reset()
        if self._truth is not None and self._truth_sub is not None:
            message = newest(self._truth_sub)
            if message is not None:
                try:
                    self._truth.take(message.data)
                except RecordError as error:
                    self._refuse(Refusal("malformed", str(error)))
        if self._force is not None:
            self._force.listen()
        if not isinstance(self._observer, Synchroniser):
            return
        try:
            for name, subscription in self._camera_subs.items():
                message = newest(subscription)
                if message is not None:
                    self._observer.image(name, to_ns(message.header.stamp), image_from_message(message))
            for message in take(self._joints_sub):
                self._observer.joint_state(joint_state_from_message(message))
        except RecordError as error:
            self._refuse(Refusal("malformed", str(error)))

    def _infer(self, observation: Observation) -> None:
        begun, asked_ns = time.monotonic(), self._time.now_ns()
        told = {} if self._force is None else {"committed": self._force.committed(asked_ns)}
        try:
            chunk = check_chunk(self._params.policy, self._policy.infer(observation, **told))
        except RecordError as error:
            self._refuse(Refusal("policy", str(error)))
            return
        self._inference_s += time.monotonic() - begun
        self._counts["inferences"] += 1
        delay = self._random.uniform(self._params.delay_min_ms, self._params.delay_max_ms)
        self._ready = self._time.now_ns() + round(delay * 1e6), chunk_to_message(chunk)
        if self._force is not None:
            self._force.took(self._ready[0] - asked_ns)
        self._refusal = None
        self._deliver(self._time.now_ns())

    def _deliver(self, now: int) -> None:
        """Send the chunk that is ready, once its added delay is over."""
        if self._ready is not None and now >= self._ready[0]:
            message = self._ready[1]
            self._chunk_pub.publish(message)
            self._ready = None
            self._check_length(message, now)
            self._tell_doubt()

    def _check_length(self, message: JointTrajectory, now: int) -> None:
        """Say so where a chunk does not reach from its hand-over to the next one's: the arm slows down in between."""
        stamp, length = to_ns(message.header.stamp), to_ns(message.points[-1].time_from_start)
        age = now - stamp
        needed = age + round(self._params.handover_s * NS) + max(age, round(NS / self._params.rate_hz))
        self._short = ""
        if not length >= needed:
            self._short = (
                f"chunks are too short: they reach {length / NS:.2f} s from their picture, and to meet the next one "
                f"they would need {needed / NS:.2f} s, so the arm slows down in between; send more, or answer sooner."
            )
        self._counts["short"] += bool(self._short)

    def _tell_doubt(self) -> None:
        doubt = self._policy.uncertainty_rad
        if doubt is not None:
            self._doubt_pub.publish(Float64(data=doubt))
            self._counts["doubts"] += 1
            self._doubt_sum, self._doubt_most = self._doubt_sum + doubt, max(self._doubt_most, doubt)

    def _doubts(self) -> dict[str, float]:
        """Mean and most of what was published, where anything was [rad]."""
        count = self._counts["doubts"]
        return {"uncertainty_rad_mean": self._doubt_sum / count, "uncertainty_rad_max": self._doubt_most} if count else {}

    def _refuse(self, refusal: Refusal) -> None:
        self._refusal = refusal
        self._counts[f"refused.{refusal.reason}"] += 1
        self._node.get_logger().warning(f"no inference: {refusal.detail}", throttle_duration_sec=1.0)

    def _report(self) -> None:
        wrong = self._refusal.detail if self._refusal else self._short if self._instruction else ""
        level = DiagnosticStatus.WARN if wrong else DiagnosticStatus.OK
        text = wrong or ("inferring" if self._instruction else "no instruction")
        values = [KeyValue(key=k, value=str(v)) for k, v in sorted(self._counts.items())]
        values += [KeyValue(key=k, value=f"{v:.3f}") for k, v in self._doubts().items()]
        status = DiagnosticStatus(level=level, name="vla_ros: policy", message=text, values=values)
        array = DiagnosticArray(status=[status])
        array.header.stamp = to_time(self._time.now_ns())
        self._diagnostics_pub.publish(array)

    def close(self) -> None:
        """Write the log."""
        if self._params.log_dir:
            count = max(self._counts["inferences"], 1)
            summary = {
                "inferences": 0,
                **self._counts,
                "inference_ms": 1e3 * self._inference_s / count,
                **self._doubts(),
            }
            (Path(self._params.log_dir) / "policy.json").write_text(json.dumps(summary, indent=1))


def main() -> None:
    """Run the node."""
    run("policy", PolicyNode)


if __name__ == "__main__":
    main()
