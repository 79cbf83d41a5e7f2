"""Conversion of messages to records and back, including serialisation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_ros.api import Chunk, Plan, RecordError
from vla_ros.nodes.common import conversions as convert


def serialized(message):
    return deserialize_message(serialize_message(message), type(message))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 14), st.integers(1, 40))
def test_a_plan_is_converted_exactly(seed: int, joints: int, pieces: int):
    rng = np.random.default_rng(seed)
    names = tuple(f"j{i}" for i in range(joints))
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 10**9, pieces))])
    start = int(rng.integers(0, 2**31 - 100)) * 10**9 + int(rng.integers(0, 10**9))
    plan = Plan(names, start, offsets, *rng.normal(0, 2, (3, pieces + 1, joints)))
    message = serialized(convert.plan_to_message(plan, 17))
    back = convert.plan_from_message(message)
    assert message.header.frame_id == "17"
    assert back.joints == plan.joints
    assert back.start_ns == plan.start_ns
    for name in ("offsets_ns", "positions", "velocities", "accelerations"):
        assert np.array_equal(getattr(back, name), getattr(plan, name))


def test_a_chunk_is_converted_to_the_nanosecond():
    rng = np.random.default_rng(3)
    chunk = Chunk.from_rate(123_456_789_012_345_678, ("a", "b"), rng.normal(size=(50, 2)), 1 / 30)
    back = convert.chunk_from_message(serialized(convert.chunk_to_message(chunk)))
    assert back.stamp_ns == chunk.stamp_ns
    assert np.array_equal(back.positions, chunk.positions)
    assert np.abs(back.offsets_s - chunk.offsets_s).max() <= 1e-9


def test_a_curve_keeps_its_derivatives_and_an_incomplete_one_becomes_waypoints():
    rng = np.random.default_rng(3)
    chunk = Chunk(1_000_000_000, ("a", "b"), 0.25 * np.arange(7), *rng.normal(size=(3, 7, 2)))
    message = serialized(convert.chunk_to_message(chunk))
    back = convert.chunk_from_message(message)
    assert back.is_curve
    for name in ("offsets_s", "positions", "velocities", "accelerations"):
        assert np.array_equal(getattr(back, name), getattr(chunk, name))
    message.points[3].accelerations = []
    assert not convert.chunk_from_message(message).is_curve
    message.points[3].accelerations = [0.0]
    with pytest.raises(RecordError, match="1 accelerations for 2 joints"):
        convert.chunk_from_message(message)
    message.points[3].accelerations = [0.0, float("nan")]
    with pytest.raises(RecordError, match="finite"):
        convert.chunk_from_message(message)
    del message.points[1:]
    assert not convert.chunk_from_message(message).is_curve


def test_a_joint_state_keeps_names_and_absent_velocities():
    message = JointState(name=["a", "b"], position=[1.0, 2.0])
    state = convert.joint_state_from_message(message)
    assert state.joints == ("a", "b")
    assert state.velocities is None


def test_an_image_keeps_every_pixel_and_the_colour_order():
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    message = serialized(convert.image_to_message(5, "front", image))
    assert np.array_equal(convert.image_from_message(message), image)
    message.encoding = "bgr8"
    assert np.array_equal(convert.image_from_message(message), image[:, :, ::-1])


def trajectory(points: int = 2, joints: int = 2, **fields: object) -> JointTrajectory:
    message = JointTrajectory(joint_names=[f"j{i}" for i in range(joints)])
    for k in range(points):
        point = JointTrajectoryPoint(positions=[0.0] * joints, velocities=[0.0] * joints, accelerations=[0.0] * joints)
        point.time_from_start.sec = k
        message.points.append(point)
    for name, value in fields.items():
        setattr(message.points[-1], name, value)
    return message


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (trajectory(points=0), "1 to 400 points; got 0"),
        (trajectory(points=401), "1 to 400 points; got 401"),
        (trajectory(velocities=[0.0]), "1 velocities for 2 joints"),
        (trajectory(accelerations=[]), "0 accelerations for 2 joints"),
        (trajectory(positions=[0.0, float("nan")]), "must be finite"),
        (trajectory(velocities=[0.0, float("inf")]), "must be finite"),
        (trajectory(points=1), "at least two knots"),
    ],
)
def test_a_malformed_plan_is_refused(message: JointTrajectory, error: str):
    with pytest.raises(RecordError, match=error):
        convert.plan_from_message(message)


def test_duplicate_joint_names_are_refused():
    message = trajectory()
    message.joint_names = ["j0", "j0"]
    with pytest.raises(RecordError, match="twice: j0"):
        convert.plan_from_message(message)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"encoding": "mono8"}, 'rgb8 or bgr8; got "mono8"'),
        ({"height": 25}, "cannot have"),
        ({"step": 10}, "cannot have"),
    ],
)
def test_a_malformed_image_is_refused(fields: dict, error: str):
    message: Image = convert.image_to_message(5, "front", np.zeros((24, 32, 3), np.uint8))
    for name, value in fields.items():
        setattr(message, name, value)
    with pytest.raises(RecordError, match=error):
        convert.image_from_message(message)
