"""Receives the camera images and publishes their stamps, so that the supervisor does not receive the images.

Taking one image of 640 x 480 costs rclpy 1.6 ms even if it is not decoded (224 x 224: 0.2 ms; `bench/camera_load.py`),
most of a period of the command loop. This process takes the images instead; the supervisor measures the arrival of
`vla/image_stamps`. A silent camera and the loss of this process have the same effect: the arm stops. Truncated images
are not counted. The policy cannot do this: an inference of a second would look like the loss of a camera.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from vla_ros.config import require
from vla_ros.core.errors import RecordError
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.node_loop import Loop, subscribe
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import load_params


@dataclass(frozen=True)
class CameraMonitorParams:
    """Parameters of the node.

    Attributes:
        cameras: Camera names, the same as the supervisor's.
    """

    cameras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the names."""
        require(
            "" not in self.cameras and len(set(self.cameras)) == len(self.cameras),
            f"camera_monitor: cameras must have unique, non-empty names; got {self.cameras}.",
        )


def stamp_of(raw: bytes) -> Time:
    """The stamp of a serialized message that starts with a header (CDR: 4 bytes of encapsulation, then the fields).

    Raises:
        RecordError: The message is too short.
    """
    if len(raw) < 12:
        raise RecordError(f"an image message of {len(raw)} bytes has no stamp.")
    sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return Time(sec=sec, nanosec=nanosec)


def check_complete(raw: bytes) -> None:
    """Raise `RecordError` unless a serialized image has the number of data bytes that its header states."""
    order = "<" if len(raw) > 1 and raw[1] & 1 else ">"

    def read_uint32(offset: int) -> int:
        (value,) = struct.unpack_from(f"{order}I", raw, offset)
        return int(value)

    def aligned(offset: int) -> int:
        return (offset + 3) // 4 * 4

    try:
        size_offset = aligned(16 + read_uint32(12))  # after the stamp and the frame id
        height, width = read_uint32(size_offset), read_uint32(size_offset + 4)
        step_offset = aligned(size_offset + 13 + read_uint32(size_offset + 8))  # after the encoding and is_bigendian
        step, length = read_uint32(step_offset), read_uint32(step_offset + 4)
    except struct.error:
        raise RecordError(f"an image message of {len(raw)} bytes ends before its data.") from None
    available = min(length, len(raw) - step_offset - 8)
    if not (width > 0 and 0 < height * step <= available):
        raise RecordError(f"an image of {height} rows of {step} bytes has only {available} bytes.")


class CameraMonitorNode(Loop):
    """Publishes one header per complete image: its stamp, and the camera's name as frame id."""

    period_ns = 4_000_000

    def __init__(self, node: Node) -> None:
        """Subscribe to every camera."""
        params = load_params(node, CameraMonitorParams)
        self._node = node
        self._subs = {
            name: subscribe(node, ImageMessage, topics.CAMERA.format(name), topics.IMAGE) for name in params.cameras
        }
        self._pub = node.create_publisher(Header, topics.IMAGE_STAMPS, topics.RELIABLE)
        node.get_logger().info(f"cameras: {', '.join(params.cameras) or 'none'}")

    def step(self, late_ns: int) -> None:
        """Process at most one image per camera; the queue of a camera holds one."""
        for name, subscription in self._subs.items():
            raw = subscription.take_serialized()
            if raw is None:
                continue
            try:
                check_complete(raw)
                self._pub.publish(Header(stamp=stamp_of(raw), frame_id=name))
            except RecordError as error:
                self._node.get_logger().warning(f"camera {name}: {error}", throttle_duration_sec=1.0)


def main() -> None:
    """Run the node."""
    run("camera_monitor", CameraMonitorNode)


if __name__ == "__main__":
    main()
