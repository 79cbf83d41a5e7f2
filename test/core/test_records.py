"""Records hold valid values by name and read-only; invalid values are refused with a message."""

import pickle

import numpy as np
import pytest
from core.generators import SEED, T0, arm_limits, names, rng_of
from hypothesis import given

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.core.records import NS, Chunk, JointState, Observation, reorder
from vla_ros.core.robot import Limits, Robot

BAD_STAMPS = [float("nan"), float("inf"), None, "soon", 10**30, -(10**30)]
BAD_NAMES = [("joint_0",), names(3), ("joint_0", "joint_0"), ("joint_0", ""), (), "ab", (1, 2), ("a", None)]
BAD_ROWS = [[0.0, np.nan], [0.0, np.inf], [0.0, None], ["a", "b"], [[0.0, 1.0]], 0.0, [10**400, 0], [[1], [1, 2]]]


def joint_state(**fields: object) -> JointState:
    return JointState(**{"stamp_ns": T0, "joints": names(2), "positions": [1, 2], "velocities": [3, 4], **fields})


def chunk(**fields: object) -> Chunk:
    values = {"stamp_ns": T0, "joints": names(2), "offsets_s": [0.1, 0.2], "positions": [[1, 2], [3, 4]]}
    return Chunk(**{**values, **fields})


def observation(**fields: object) -> Observation:
    values = {"stamp_ns": T0, "images": {"top": np.zeros((2, 3, 3), np.uint8)}, "joints": names(2), "positions": [1, 2]}
    return Observation(**{**values, **fields})


@pytest.mark.parametrize("make", [joint_state, chunk, observation])
@pytest.mark.parametrize(
    ("field", "value"), [*[("stamp_ns", s) for s in BAD_STAMPS], *[("joints", n) for n in BAD_NAMES]], ids=str
)
def test_bad_stamps_and_names_are_refused(make: object, field: str, value: object) -> None:
    with pytest.raises(RecordError) as caught:
        make(**{field: value})  # type: ignore[operator]
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("field", ["positions", "velocities"])
@pytest.mark.parametrize("value", BAD_ROWS, ids=lambda v: str(v)[:30])
def test_a_bad_joint_state_is_refused(field: str, value: object) -> None:
    with pytest.raises(RecordError) as caught:
        joint_state(**{field: value})
    assert str(caught.value).endswith(".")


def test_velocities_may_be_missing_but_not_of_another_length() -> None:
    assert joint_state(velocities=None).reordered(names(2)[::-1]).velocities is None
    with pytest.raises(RecordError, match="1 velocities for 2 positions"):
        joint_state(velocities=[1.0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("positions", [[1, 2], [np.nan, 4]]),
        ("positions", [[1, 2]]),
        ("positions", [1, 2]),
        ("positions", []),
        ("positions", np.zeros((0, 2))),
        ("positions", [[1, 2], [3]]),
        ("offsets_s", [0.1]),
        ("offsets_s", [0.1, 0.1]),
        ("offsets_s", [0.2, 0.1]),
        ("offsets_s", [-0.1, 0.1]),
        ("offsets_s", [0.1, np.nan]),
        ("offsets_s", [0.1, np.inf]),
        ("offsets_s", []),
    ],
    ids=str,
)
def test_a_bad_chunk_is_refused(field: str, value: object) -> None:
    with pytest.raises(RecordError) as caught:
        chunk(**{field: value})
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "image",
    [np.zeros((2, 3), np.uint8), np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 3)), [[0]], None],
    ids=lambda i: f"{getattr(i, 'shape', i)} {getattr(i, 'dtype', '')}",
)
def test_a_bad_image_is_refused_by_camera(image: object) -> None:
    with pytest.raises(RecordError, match='camera "left"'):
        observation(images={"left": image})


@pytest.mark.parametrize("make", [joint_state, chunk, observation])
def test_arrays_are_copied_and_read_only(make: object) -> None:
    record = make()  # type: ignore[operator]
    given_ = np.array(record.positions)
    copy = make(positions=given_)  # type: ignore[operator]
    given_ += 1.0
    np.testing.assert_array_equal(copy.positions, record.positions)
    with pytest.raises(ValueError, match="read-only"):
        record.positions[0] = 1.0


@given(seed=SEED)
def test_a_chunk_is_linear_between_waypoints_and_constant_outside(seed: int) -> None:
    rng = rng_of(seed)
    times, values = np.cumsum(rng.uniform(0.01, 1.0, rng.integers(1, 6))), rng.normal(size=(6, 2))
    some = chunk(offsets_s=times, positions=values[: len(times)])
    for x in [*times, *rng.uniform(-1.0, times[-1] + 1.0, 20)]:
        target = some.at(T0 + round(x * NS))
        expected = [np.interp(x, times, column) for column in some.positions.T]
        np.testing.assert_allclose(target, expected, atol=1e-6)


def test_waypoint_k_of_a_chunk_of_a_rate_lies_at_k_plus_one_periods() -> None:
    some = Chunk.from_rate(T0, names(1), [[1.0], [2.0], [3.0]], 0.5)
    np.testing.assert_array_equal(some.offsets_s, [0.5, 1.0, 1.5])


@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), float("inf")])
def test_a_chunk_of_an_invalid_rate_is_refused(dt: float) -> None:
    with pytest.raises(RecordError):
        Chunk.from_rate(T0, names(1), [[1.0], [2.0]], dt)


@given(seed=SEED)
def test_reordered_permutes_by_name(seed: int) -> None:
    permutation = rng_of(seed).permutation(4)
    permuted = [names(4)[i] for i in permutation]
    state = JointState(T0, names(4), np.arange(4), 10 + np.arange(4)).reordered(permuted)
    some = Chunk(T0, names(4), np.array([1.0]), np.arange(4)[None]).reordered(permuted)
    np.testing.assert_array_equal(state.positions, permutation)
    np.testing.assert_array_equal(state.velocities, 10 + permutation)
    np.testing.assert_array_equal(some.positions[0], permutation)


def test_reorder_names_what_is_missing_and_what_is_unknown() -> None:
    with pytest.raises(RecordError, match="the arm lacks c and has unknown d; it must name exactly a, b, c"):
        reorder(["b", "a", "d"], ["a", "b", "c"], "the arm")
    with pytest.raises(RecordError, match="names joints twice: a"):
        reorder(["a", "a", "b"], ["a", "b"], "the arm")


def limits(**fields: object) -> Limits:
    one = np.ones(2)
    values = {"joints": names(2), "lower": -one, "upper": one, "velocity": one, "acceleration": one, "jerk": one}
    return Limits(**{**values, **fields})


@pytest.mark.parametrize("field", ["velocity", "acceleration", "jerk"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_invalid_limits_are_named_with_their_joint(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} limit of joint_1"):
        limits(**{field: [1.0, value]})


@pytest.mark.parametrize("lower", [1.0, 1.5])
def test_an_empty_range_is_named_with_its_joint(lower: float) -> None:
    with pytest.raises(ConfigError, match="lower limit of joint_1"):
        limits(lower=[-1.0, lower])


@pytest.mark.parametrize("field", ["lower", "upper", "velocity", "acceleration", "jerk"])
def test_limits_must_be_finite_and_as_many_as_joints(field: str) -> None:
    with pytest.raises(RecordError, match="finite"):
        limits(**{field: [0.5, np.nan]})
    with pytest.raises((ConfigError, RecordError)):
        limits(**{field: [0.5]})


def test_limits_scale_about_the_middle_of_the_range() -> None:
    half = Limits(names(1), [1.0], [3.0], [2.0], [4.0], [8.0]).scaled(0.5)
    for name, value in {"lower": 1.5, "upper": 2.5, "velocity": 1.0, "acceleration": 2.0, "jerk": 4.0}.items():
        np.testing.assert_allclose(getattr(half, name), [value])


def test_a_robot_has_the_joints_of_its_limits() -> None:
    assert Robot("r", arm_limits(3)).joints == names(3)


def test_an_unknown_name_gives_a_message_with_the_nearest() -> None:
    assert str(UnknownName("robot", "so100", ["so101", "ur5"])) == 'unknown robot "so100"; did you mean "so101"?'
    assert str(UnknownName("key", "q", ["b", "a"], "x.yaml")) == 'unknown key "q" in x.yaml; known: a, b.'


def test_an_unknown_name_survives_pickling() -> None:
    error = UnknownName("camera", "side", ("wrist", "front"), "the task")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (UnknownName, str(error))
