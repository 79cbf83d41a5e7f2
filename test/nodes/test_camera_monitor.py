"""The camera monitor accepts an image only if it is complete; it is checked in serialized form, without decoding."""

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from vla_ros.core.errors import RecordError
from vla_ros.nodes.camera_monitor_node import check_complete, stamp_of
from vla_ros.nodes.common.conversions import image_to_message, to_ns


def image(frame: str = "wrist", encoding: str = "rgb8") -> Image:
    message = image_to_message(7_000_000_009, frame, np.zeros((24, 32, 3), np.uint8))
    message.encoding = encoding
    return message


@pytest.mark.parametrize("frame", ["", "a", "ab", "abc", "front"])
@pytest.mark.parametrize("encoding", ["", "rgb8", "mono16", "bayer_grbg8"])
def test_a_complete_image_is_accepted_with_any_frame_and_encoding(frame: str, encoding: str) -> None:
    raw = serialize_message(image(frame, encoding))
    check_complete(raw)
    assert to_ns(stamp_of(raw)) == 7_000_000_009


@pytest.mark.parametrize("keep", [0, 1, 24 * 96 - 1])
def test_an_image_with_missing_bytes_is_refused(keep: int) -> None:
    message = image()
    message.data = message.data[:keep]
    with pytest.raises(RecordError, match="24 rows of 96 bytes"):
        check_complete(serialize_message(message))


@pytest.mark.parametrize("field", ["height", "width", "step"])
def test_an_image_without_extent_is_refused(field: str) -> None:
    message = image()
    setattr(message, field, 0)
    with pytest.raises(RecordError):
        check_complete(serialize_message(message))


def test_a_message_truncated_anywhere_raises_only_a_record_error() -> None:
    raw = serialize_message(image())
    for length in (*range(80), 500, len(raw) - 24 * 96):
        with pytest.raises(RecordError):
            check_complete(raw[:length])


def test_an_invalid_string_length_is_refused() -> None:
    raw = bytearray(serialize_message(image()))
    raw[12:16] = b"\xff" * 4
    with pytest.raises(RecordError):
        check_complete(bytes(raw))
