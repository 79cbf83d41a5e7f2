import threading

import numpy as np
import pytest

from vla_ros.core.errors import UnknownName
from vla_ros.sim.so101.cameras import Cameras
from vla_ros.sim.so101.world import World


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def cameras(world):
    cameras = Cameras(world)
    yield cameras
    cameras.close()


def red_pixels(image):
    r, g, b = (image[..., k].astype(int) for k in range(3))
    return int(((r > 110) & (r > 2 * g) & (r > 2 * b)).sum())


@pytest.mark.parametrize("task", ["pick_place", "pick_place_wide"])
def test_every_scene_shows_its_cube_and_differs_from_the_others(task):
    world = World(task)
    cameras = Cameras(world)
    seen = set()
    for seed in range(30):
        world.reset(seed)
        pictures = cameras.render_all(world.snapshot())
        assert red_pixels(pictures["front"]) > 60, f"seed {seed}: the cube is not to be seen"
        for name, picture in pictures.items():
            assert picture.shape == (224, 224, 3)
            assert picture.dtype == np.uint8
            assert (picture.max(axis=2) > 8).mean() > 0.9, f"seed {seed}: {name} is dark"
            assert picture.std() > 15.0
            seen.add(picture.tobytes())
    assert len(seen) == 60
    cameras.close()


def test_the_wrist_camera_sees_what_lies_between_the_jaws(world, cameras):
    from vla_ros.sim.so101.expert import Expert
    from vla_ros.sim.so101.phase_machine import Phase

    world.reset(0)
    expert = Expert()
    while expert.phase != Phase.CLOSE:
        path = expert.target_path(world.truth(), 0.5, 0.05)
        world.command(path[0])
        world.step(25)
        assert world.time_s < 5.0
    picture = cameras.render(world.snapshot(), "wrist")
    assert red_pixels(picture[80:]) > 500


def test_a_snapshot_keeps_its_appearance_when_the_world_moves_on(world, cameras):
    world.reset(1)
    old = world.snapshot()
    before = cameras.render_all(old)
    world.rearrange(2)
    world.step(100)
    assert not np.array_equal(cameras.render(world.snapshot(), "front"), before["front"])
    again = cameras.render_all(old)
    for name in cameras.names:
        assert np.array_equal(again[name], before[name])


def test_pictures_drawn_while_another_thread_steps_and_rearranges_are_whole(world):
    world.reset(0)
    snapshots, pictures, errors = [], [], []
    done = threading.Event()

    def draw():
        cameras = Cameras(world, 64, 64)
        try:
            while not done.is_set() or len(pictures) < len(snapshots):
                if len(pictures) < len(snapshots):
                    pictures.append(cameras.render(snapshots[len(pictures)], "front"))
        except Exception as error:
            errors.append(error)
        cameras.close()

    thread = threading.Thread(target=draw)
    thread.start()
    for seed in range(12):
        world.rearrange(seed)
        snapshots.append(world.snapshot())
        world.step(20)
    done.set()
    thread.join(30)
    assert errors == []
    here = Cameras(world, 64, 64)
    for snapshot, picture in zip(snapshots, pictures, strict=True):
        assert np.array_equal(here.render(snapshot, "front"), picture)
    here.close()


def test_a_second_thread_is_refused(world, cameras):
    world.reset(0)
    snapshot = world.snapshot()
    cameras.render(snapshot, "front")
    caught = []

    def draw():
        try:
            cameras.render(snapshot, "front")
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join(30)
    assert caught == ["these cameras already draw in another thread; make one Cameras per thread."]


def test_bad_input_is_answered_with_a_sentence(world, cameras):
    with pytest.raises(UnknownName, match='unknown camera "frnt"; did you mean "front"'):
        cameras.render(world.snapshot(), "frnt")
    with pytest.raises(ValueError, match="16 to 4096 pixels"):
        Cameras(world, 0, 224)


def test_other_sizes_and_shadows(world):
    world.reset(0)
    film = Cameras(world, 320, 240, shadows=True)
    plain = Cameras(world, 320, 240)
    a, b = (c.render(world.snapshot(), "front") for c in (film, plain))
    assert a.shape == b.shape == (240, 320, 3)
    assert not np.array_equal(a, b)
    film.close()
    plain.close()
