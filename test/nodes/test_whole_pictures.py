"""A picture counts as seen only if it holds every row it says it has; read from its bytes, without decoding it."""

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from vla_ros.core.errors import RecordError
from vla_ros.nodes.camera_monitor_node import check_whole, stamp_of
from vla_ros.nodes.common.conversions import image_to_message, to_ns


def picture(frame: str = "wrist", encoding: str = "rgb8") -> Image:
    message = image_to_message(7_000_000_009, frame, np.zeros((24, 32, 3), np.uint8))
    message.encoding = encoding
    return message


@pytest.mark.parametrize("frame", ["", "a", "ab", "abc", "front"])
@pytest.mark.parametrize("encoding", ["", "rgb8", "mono16", "bayer_grbg8"])
def test_a_whole_picture_counts_whatever_its_names(frame: str, encoding: str) -> None:
    raw = serialize_message(picture(frame, encoding))
    check_whole(raw)
    assert to_ns(stamp_of(raw)) == 7_000_000_009


@pytest.mark.parametrize("keep", [0, 1, 24 * 96 - 1])
def test_a_picture_with_fewer_bytes_than_it_says_does_not(keep: int) -> None:
    message = picture()
    message.data = message.data[:keep]
    with pytest.raises(RecordError, match="24 rows of 96 bytes"):
        check_whole(serialize_message(message))


@pytest.mark.parametrize("field", ["height", "width", "step"])
def test_a_picture_without_extent_does_not(field: str) -> None:
    message = picture()
    setattr(message, field, 0)
    with pytest.raises(RecordError):
        check_whole(serialize_message(message))


def test_bytes_cut_off_anywhere_do_not_and_raise_nothing_else() -> None:
    raw = serialize_message(picture())
    for length in (*range(80), 500, len(raw) - 24 * 96):
        with pytest.raises(RecordError):
            check_whole(raw[:length])


def test_lengths_that_lie_do_not() -> None:
    raw = bytearray(serialize_message(picture()))
    raw[12:16] = b"\xff" * 4
    with pytest.raises(RecordError):
        check_whole(bytes(raw))
