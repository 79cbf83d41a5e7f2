"""Converts ROS messages to records and back. Malformed messages raise `RecordError`."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration, Time
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import JointState as JointStateMessage
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_ros.core.errors import RecordError
from vla_ros.core.records import MAX_STAMP_NS, NS, Array, Chunk, Image, JointState
from vla_ros.core.trajectory import Plan

MAX_POINTS = 400
"""Maximum number of points of a chunk or plan; it bounds the time that checking one takes in the command loop."""


def to_ns(time: Time | Duration) -> int:
    """A ROS time or duration in nanoseconds."""
    return int(time.sec) * NS + int(time.nanosec)


def to_time(ns: int) -> Time:
    """Nanoseconds as a ROS time."""
    return Time(sec=ns // NS, nanosec=ns % NS)


def _rows(message: JointTrajectory, field: str, record: str) -> Array:
    rows = [getattr(point, field) for point in message.points]
    wrong = next((row for row in rows if len(row) != len(message.joint_names)), None)
    if wrong is not None:
        raise RecordError(f"a point of the {record} has {len(wrong)} {field} for {len(message.joint_names)} joints.")
    return np.array(rows, dtype=np.float64)


def _check_length(message: JointTrajectory, record: str) -> None:
    if not 1 <= len(message.points) <= MAX_POINTS:
        raise RecordError(f"a {record} has 1 to {MAX_POINTS} points; got {len(message.points)}.")


def chunk_from_message(message: JointTrajectory) -> Chunk:
    """A chunk, stamped with the capture time of its observation.

    If every point has positions, velocities and accelerations, the points are knots of a curve. Otherwise they are
    waypoints, and velocities and accelerations are ignored.
    """
    _check_length(message, "chunk")
    offsets = np.array([to_ns(p.time_from_start) for p in message.points]) / NS
    names = ["positions"]
    if len(message.points) > 1 and all(len(p.velocities) and len(p.accelerations) for p in message.points):
        names += ["velocities", "accelerations"]
    fields = [_rows(message, name, "chunk") for name in names]
    return Chunk(to_ns(message.header.stamp), tuple(message.joint_names), offsets, *fields)


def chunk_to_message(chunk: Chunk) -> JointTrajectory:
    """The message of a chunk; times are rounded to nanoseconds."""
    message = JointTrajectory(joint_names=list(chunk.joints))
    message.header.stamp = to_time(chunk.stamp_ns)
    for k, offset in enumerate(chunk.offsets_s):
        ns = round(float(offset) * NS)
        point = JointTrajectoryPoint(positions=chunk.positions[k].tolist())
        point.time_from_start = Duration(sec=ns // NS, nanosec=ns % NS)
        if chunk.velocities is not None and chunk.accelerations is not None:
            point.velocities, point.accelerations = chunk.velocities[k].tolist(), chunk.accelerations[k].tolist()
        message.points.append(point)
    return message


def plan_from_message(message: JointTrajectory) -> Plan:
    """A plan: position, velocity and acceleration at every knot, converted exactly."""
    _check_length(message, "plan")
    offsets = np.array([to_ns(p.time_from_start) for p in message.points], dtype=np.int64)
    fields = [_rows(message, name, "plan") for name in ("positions", "velocities", "accelerations")]
    return Plan(tuple(message.joint_names), to_ns(message.header.stamp), offsets, *fields)


def plan_to_message(plan: Plan, capture_ns: int | None = None) -> JointTrajectory:
    """The message of a plan, converted exactly.

    Args:
        plan: The plan.
        capture_ns: Capture time of the observation that the plan follows from [ns]; sent as `header.frame_id`,
            which has no other meaning in a joint-space message.
    """
    message = JointTrajectory(joint_names=list(plan.joints))
    message.header.stamp = to_time(plan.start_ns)
    message.header.frame_id = "" if capture_ns is None else str(capture_ns)
    rows = zip(plan.offsets_ns.tolist(), plan.positions, plan.velocities, plan.accelerations, strict=True)
    for ns, p, v, a in rows:
        offset = Duration(sec=ns // NS, nanosec=ns % NS)
        message.points.append(
            JointTrajectoryPoint(
                positions=p.tolist(), velocities=v.tolist(), accelerations=a.tolist(), time_from_start=offset
            )
        )
    return message


def capture_of(message: JointTrajectory) -> int | None:
    """Capture time of the observation that a plan follows from [ns]; None if absent or not a valid time."""
    text = message.header.frame_id
    valid = text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) <= MAX_STAMP_NS
    return int(text) if valid else None


def joint_state_from_message(message: JointStateMessage) -> JointState:
    """A joint state; velocities are None if the driver does not publish them."""
    velocities = np.array(message.velocity) if len(message.velocity) else None
    return JointState(to_ns(message.header.stamp), tuple(message.name), np.array(message.position), velocities)


def joint_state_to_message(
    stamp_ns: int, joints: tuple[str, ...], position: Array, velocity: Array
) -> JointStateMessage:
    """A stamped `sensor_msgs/JointState`."""
    message = JointStateMessage(name=list(joints), position=position.tolist(), velocity=velocity.tolist())
    message.header.stamp = to_time(stamp_ns)
    return message


def image_from_message(message: ImageMessage) -> Image:
    """An RGB image, (H, W, 3) uint8, as a view of the message's bytes where the encoding allows."""
    if message.encoding not in ("rgb8", "bgr8"):
        raise RecordError(f'images must be encoded rgb8 or bgr8; got "{message.encoding}".')
    data = np.frombuffer(message.data, dtype=np.uint8)
    consistent = len(data) == message.step * message.height and 0 < 3 * message.width <= message.step
    if not consistent or not len(data):
        raise RecordError(
            f"an image of {message.width}x{message.height} with step {message.step} cannot have {len(data)} bytes."
        )
    image = data.reshape(message.height, message.step)[:, : 3 * message.width]
    image = image.reshape(message.height, message.width, 3)
    return image if message.encoding == "rgb8" else image[:, :, ::-1]


def image_to_message(stamp_ns: int, frame: str, image: Image) -> ImageMessage:
    """A `sensor_msgs/Image` (rgb8) of an (H, W, 3) image."""
    height, width = image.shape[:2]
    message = ImageMessage(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame
    message.data.frombytes(np.ascontiguousarray(image).tobytes())  # 500 times faster than a list
    return message
