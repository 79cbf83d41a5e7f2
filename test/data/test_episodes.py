"""Demonstration files: round trip, atomic writing, refused files; image augmentation."""

import json
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest

from vla_ros.core.errors import ConfigError
from vla_ros.data.augmentation import AugmentConfig, augment, sample_parameters
from vla_ros.data.episodes import DemoDataset, DemoInfo, DemoWriter, Episode, read_episode

INFO = DemoInfo("pick_place", "so101", ("a", "b"), ("front",), ("x",), 16, 0.05, 8)


def episode(frames: int = 5, value: int = 7) -> Episode:
    return Episode(
        {"front": np.full((frames, 16, 16, 3), value, dtype=np.uint8)},
        np.zeros((frames, 2), dtype=np.float32),
        np.ones((frames, 8, 2), dtype=np.float32),
        np.arange(frames, dtype=np.float32)[:, None],
        "put it there",
        {"seed": 3},
    )


def test_round_trip(tmp_path) -> None:
    path = DemoWriter(tmp_path, INFO, "expert").write(episode(), 12)
    assert path.name == "expert_000012.npz"
    info, back = read_episode(path)
    assert info == INFO
    assert (back.instruction, back.metadata, len(back)) == ("put it there", {"seed": 3}, 5)
    np.testing.assert_array_equal(back.images["front"], episode().images["front"])


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        (replace(episode(), joints=np.zeros((5, 3), dtype=np.float32)), "joints of an episode must have shape"),
        (replace(episode(), images={}), "images of front"),
        (
            replace(episode(), labels=np.full((5, 8, 2), np.nan, dtype=np.float32)),
            "labels of an episode must be finite",
        ),
    ],
)
def test_an_invalid_episode_leaves_no_file(tmp_path, invalid: Episode, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DemoWriter(tmp_path, INFO).write(invalid, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch) -> None:
    def full(file, **arrays):
        file.write(b"half an episode")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        DemoWriter(tmp_path, INFO).write(episode(), 0)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_refused(tmp_path) -> None:
    path = DemoWriter(tmp_path, INFO).write(episode(), 0)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ConfigError, match="is not a demonstration"):
        read_episode(path)
    np.savez(path, joints=np.zeros(3))
    with pytest.raises(ConfigError, match="is not a demonstration"):
        read_episode(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": []}, "is not a demonstration"),
        ({"header": {"format": 1}}, "has demonstration format 1; this version reads format 2"),
        ({"header": {"format": 2}}, r"is damaged \(missing 'task'\)"),
        ({"image.front": None}, r"is damaged \(missing 'image.front'\)"),
        ({"joints": np.full((5, 2), np.nan)}, r"000000\.npz is damaged \(joints of an episode must be finite\)"),
        ({"labels": np.full((5, 8, 2), "a")}, "is damaged"),
    ],
)
def test_an_incomplete_file_is_refused_by_name(tmp_path, change: dict, message: str) -> None:
    path = DemoWriter(tmp_path, INFO).write(episode(), 0)
    with np.load(path) as file:
        content = {**file, **change}
    content |= {"header": np.array(json.dumps(content["header"]))} if "header" in change else {}
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    with pytest.raises(ConfigError, match=message):
        read_episode(path)


def test_a_pickle_is_refused_and_not_executed(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Malicious:
        def __reduce__(self):
            return (os.mkdir, ("ran",))

    path = DemoWriter(tmp_path, INFO).write(episode(), 0)
    np.savez(path, header=np.array([Malicious()], dtype=object))
    with pytest.raises(ConfigError, match="is not a demonstration"):
        read_episode(path)
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(ConfigError, match="is not a demonstration"):
        read_episode(path)
    assert not (tmp_path / "ran").exists()


def test_a_data_set_grows_and_refuses_other_properties(tmp_path) -> None:
    writer = DemoWriter(tmp_path, INFO)
    writer.write(episode(5, 1), 0)
    data = DemoDataset(tmp_path)
    assert len(data) == 5
    data.add(*read_episode(writer.write(episode(3, 2), 1)))
    assert len(data) == 8
    assert data.locate(np.array([0, 5, 7])).tolist() == [[0, 0], [1, 0], [1, 2]]
    assert data.stacked("ground_truth").shape == (8, 1)
    with pytest.raises(ConfigError, match="must have the same properties"):
        data.add(replace(INFO, robot="panda"), episode())


def augmented(images: np.ndarray, rng: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    return augment(images, sample_parameters(len(images), rng, config), config)


def test_augmentation_keeps_shape_and_range_and_the_original() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 24, 24, 3), dtype=np.uint8)
    before = images.copy()
    out = augmented(images, rng, AugmentConfig(shift_px=4, gain=0.5, tint=0.3, bias=0.3))
    assert out.shape == images.shape
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(images, before)
    assert (out != images).any()


def test_no_augmentation_changes_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    out = augmented(images, np.random.default_rng(1), AugmentConfig(0, 0.0, 0.0, 0.0))
    np.testing.assert_array_equal(out, images)


def test_the_shift_is_in_whole_pixels() -> None:
    image = np.zeros((40, 24, 24, 3), dtype=np.uint8)
    image[:, 12, 12] = 255
    out = augmented(image, np.random.default_rng(2), AugmentConfig(3, 0.0, 0.0, 0.0))
    positions = np.argwhere(out[..., 0] == 255)[:, 1:] - 12
    assert len(positions) == 40
    assert np.abs(positions).max() == 3
    assert len(np.unique(positions, axis=0)) > 10


def test_a_file_of_version_1_is_refused(tmp_path) -> None:
    path = tmp_path / "expert_000000.npz"
    np.savez(path, meta=np.array(json.dumps({"format": 1, "notes": {}})), truth=np.zeros((5, 1)))
    with pytest.raises(ConfigError, match=r"format 1; this version reads format 2: record it again\."):
        read_episode(path)
