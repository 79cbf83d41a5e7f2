"""Pictures in, their stamps out: spares the supervisor the pictures, and decides nothing.

Taking one picture of 640 x 480 costs rclpy 1.6 ms even when it is not decoded (224 x 224: 0.2 ms; `bench/cameras.py`),
most of a period of the command loop. So this process takes them, and the supervisor times the arrival of
`vla/pictures` itself: a camera that is silent and a process like this one that is dead look the same to it,
and both stop the arm. A picture that is cut off does not count as one. The policy could say as much, but an inference
of a second would look like lost cameras.
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
from vla_ros.nodes.common.node_loop import Loop
from vla_ros.nodes.common.node_loop import main as run
from vla_ros.nodes.common.parameters import load_params


@dataclass(frozen=True)
class CamerasParams:
    """Parameters of the node.

    Attributes:
        cameras: Names, as the supervisor has them.
    """

    cameras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the names."""
        require(
            "" not in self.cameras and len(set(self.cameras)) == len(self.cameras),
            f"cameras: cameras must have names, each given once; got {self.cameras}.",
        )


def stamp_of(raw: bytes) -> Time:
    """The stamp of a serialized message that begins with a header (CDR: 4 bytes of encapsulation, then the fields).

    Raises:
        RecordError: It is too short to hold one.
    """
    if len(raw) < 12:
        raise RecordError(f"a picture of {len(raw)} bytes holds no stamp.")
    sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return Time(sec=sec, nanosec=nanosec)


def check_whole(raw: bytes) -> None:
    """Raise `RecordError` unless a serialized picture holds every row that it says it has."""
    order = "<" if len(raw) > 1 and raw[1] & 1 else ">"

    def number(at: int) -> int:
        (value,) = struct.unpack_from(f"{order}I", raw, at)
        return int(value)

    def aligned(at: int) -> int:
        return (at + 3) // 4 * 4

    try:
        sizes = aligned(16 + number(12))  # past the stamp and the name of the frame
        height, width = number(sizes), number(sizes + 4)
        rows = aligned(sizes + 13 + number(sizes + 8))  # past the encoding and a flag
        step, length = number(rows), number(rows + 4)
    except struct.error:
        raise RecordError(f"a picture of {len(raw)} bytes ends before its first row.") from None
    held = min(length, len(raw) - rows - 8)
    if not (width > 0 and 0 < height * step <= held):
        raise RecordError(f"a picture says {height} rows of {step} bytes and holds {held} bytes.")


class CamerasNode(Loop):
    """For each picture of each camera one header: the picture's stamp, the camera's name."""

    period_ns = 4_000_000

    def __init__(self, node: Node) -> None:
        """Subscribe to every camera."""
        params = load_params(node, CamerasParams)
        self._node = node
        ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
        self._subs = {
            name: node.create_subscription(ImageMessage, topics.CAMERA.format(name), ignored, topics.IMAGE)
            for name in params.cameras
        }
        self._pub = node.create_publisher(Header, topics.PICTURES, topics.RELIABLE)
        node.get_logger().info(f"cameras: {', '.join(params.cameras) or 'none is watched'}")

    def step(self, late_ns: int) -> None:
        """Tell of what came; the queue of a camera holds one picture."""
        for name, subscription in self._subs.items():
            taken = subscription.handle.take_message(subscription.msg_type, True)
            if taken is None:
                continue
            try:
                check_whole(taken[0])
                self._pub.publish(Header(stamp=stamp_of(taken[0]), frame_id=name))
            except RecordError as error:
                self._node.get_logger().warning(f"camera {name}: {error}", throttle_duration_sec=1.0)


def main() -> None:
    """Run the node."""
    run("cameras", CamerasNode)


if __name__ == "__main__":
    main()
