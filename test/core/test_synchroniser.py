"""The synchroniser gives the newest images and the joints of that instant, or names what is missing or stale."""

import numpy as np
import pytest
from core.generators import T0, names

from vla_ros.core.errors import ConfigError, RecordError
from vla_ros.core.records import JointState, Observation, Refusal
from vla_ros.core.synchroniser import Synchroniser, SynchroniserConfig

MS = 1_000_000


def image(value: int = 0) -> np.ndarray:
    return np.full((2, 3, 3), value, np.uint8)


def joints(stamp_ns: int, value: float = 0.0, order: tuple[str, ...] = names(2)) -> JointState:
    return JointState(stamp_ns, order, np.array([value, value + 1.0]), np.zeros(2))


def synchroniser(**stamps_ms: float) -> Synchroniser:
    """Two cameras; images of `top` and `wrist` and a joint state at the given ms after T0."""
    given = {"top": 0.0, "wrist": 0.0, "joints": 0.0, **stamps_ms}
    both = Synchroniser(["top", "wrist"], names(2))
    for camera in ("top", "wrist"):
        both.image(camera, T0 + int(given[camera] * MS), image())
    both.joint_state(joints(T0 + int(given["joints"] * MS)))
    return both


def reason(result: Observation | Refusal) -> str:
    assert isinstance(result, Refusal), result
    assert result.detail.endswith(".")
    return f"{result.reason}: {result.detail}"


def test_everything_fresh_is_an_observation() -> None:
    observation = synchroniser(top=-10).observe(T0, "pick")
    assert isinstance(observation, Observation)
    assert observation.stamp_ns == T0
    assert set(observation.images) == {"top", "wrist"}
    assert observation.instruction == "pick"


def test_a_missing_input_is_named() -> None:
    waiting = Synchroniser(["top", "wrist"], names(2))
    assert '"top"' in reason(waiting.observe(T0))
    waiting.image("top", T0, image())
    assert '"wrist"' in reason(waiting.observe(T0))
    waiting.image("wrist", T0, image())
    assert "no joint state" in reason(waiting.observe(T0))


@pytest.mark.parametrize(("camera", "age_ms"), [("top", 301), ("wrist", 5000)])
def test_a_stale_camera_is_named_with_its_age(camera: str, age_ms: int) -> None:
    text = reason(synchroniser(**{camera: -age_ms}).observe(T0))
    assert text.startswith("stale")
    assert f'"{camera}"' in text
    assert f"{age_ms / 1000:.3f} s" in text


def test_an_image_of_the_maximum_age_is_accepted() -> None:
    assert isinstance(synchroniser(top=-300).observe(T0), Observation)


def test_an_image_from_the_future_is_refused_and_does_not_suppress_the_next() -> None:
    both = synchroniser(top=1e7)
    assert reason(both.observe(T0)).startswith("future")
    both.image("top", T0, image(7))
    observation = both.observe(T0)
    assert isinstance(observation, Observation)
    assert observation.images["top"][0, 0, 0] == 7


@pytest.mark.parametrize("skew_ms", [-51, 51, 1000, -1000])
def test_joints_of_another_time_are_refused(skew_ms: int) -> None:
    text = reason(synchroniser(joints=skew_ms).observe(T0))
    assert text.startswith("stale")
    assert f"{abs(skew_ms) / 1000:.3f} s" in text


def test_the_joints_nearest_to_the_newest_image_are_taken() -> None:
    both = synchroniser(top=-40, wrist=-20, joints=-90)
    for stamp in (10, -30, -23, -18, 0, -60):
        both.joint_state(joints(T0 + stamp * MS, float(stamp)))
    observation = both.observe(T0)
    assert isinstance(observation, Observation)
    assert observation.stamp_ns == T0 - 20 * MS
    assert observation.positions[0] == -18.0


def test_the_newest_image_is_used_in_any_order_of_arrival() -> None:
    both = synchroniser(top=-100, wrist=-5)
    for stamp in (-50, -10, -70):
        both.image("top", T0 + stamp * MS, image(-stamp))
    observation = both.observe(T0)
    assert isinstance(observation, Observation)
    assert observation.images["top"][0, 0, 0] == 10


def test_joints_are_matched_by_name() -> None:
    both = synchroniser()
    both.joint_state(JointState(T0 + MS, names(2)[::-1], np.array([8.0, 7.0]), np.zeros(2)))
    both.image("top", T0 + MS, image())
    observation = both.observe(T0 + MS)
    assert isinstance(observation, Observation)
    np.testing.assert_array_equal(observation.positions, [7.0, 8.0])


def test_wrong_joints_and_wrong_images_are_refused_when_added() -> None:
    both = synchroniser()
    with pytest.raises(RecordError, match="lacks joint_1"):
        both.joint_state(joints(T0, order=("joint_0", "other")))
    with pytest.raises(RecordError, match='camera "top"'):
        both.image("top", T0, np.zeros((2, 3), np.uint8))
    assert isinstance(both.observe(T0), Observation)


def test_without_cameras_the_joints_alone_must_be_fresh() -> None:
    without_cameras = Synchroniser([], names(2))
    assert "no joint state" in reason(without_cameras.observe(T0))
    for stamp in (0, -30, -100):
        without_cameras.joint_state(joints(T0 + stamp * MS, float(stamp)))
    observation = without_cameras.observe(T0 + 10 * MS)
    assert isinstance(observation, Observation)
    assert (observation.stamp_ns, observation.positions[0]) == (T0, 0.0)
    assert reason(without_cameras.observe(T0 + 60 * MS)).startswith("stale")


@pytest.mark.parametrize("name", ["image_age_s", "joint_skew_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_every_bad_setting_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        SynchroniserConfig(**{name: value})
