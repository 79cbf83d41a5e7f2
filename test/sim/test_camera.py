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
def test_every_scene_shows_its_cube_and_is_different(task):
    world = World(task)
    cameras = Cameras(world)
    different = set()
    for seed in range(30):
        world.reset(seed)
        images = cameras.render_all(world.snapshot())
        assert red_pixels(images["front"]) > 60, f"seed {seed}: the cube is not visible"
        for name, image in images.items():
            assert image.shape == (224, 224, 3)
            assert image.dtype == np.uint8
            assert (image.max(axis=2) > 8).mean() > 0.9, f"seed {seed}: {name} is dark"
            assert image.std() > 15.0
            different.add(image.tobytes())
    assert len(different) == 60
    cameras.close()


def test_the_wrist_camera_shows_the_cube_between_the_jaws(world, cameras):
    from vla_ros.sim.so101.expert import Expert
    from vla_ros.sim.so101.phase_machine import Phase

    world.reset(0)
    expert = Expert()
    while expert.phase != Phase.CLOSE:
        path = expert.target_path(world.ground_truth(), 0.5, 0.05)
        world.command(path[0])
        world.step(25)
        assert world.time_s < 5.0
    image = cameras.render(world.snapshot(), "wrist")
    assert red_pixels(image[80:]) > 500


def test_a_snapshot_does_not_change_with_the_world(world, cameras):
    world.reset(1)
    old = world.snapshot()
    before = cameras.render_all(old)
    world.rearrange(2)
    world.step(100)
    assert not np.array_equal(cameras.render(world.snapshot(), "front"), before["front"])
    again = cameras.render_all(old)
    for name in cameras.names:
        assert np.array_equal(again[name], before[name])


def test_rendering_is_correct_while_another_thread_steps_and_rearranges(world):
    world.reset(0)
    snapshots, images, errors = [], [], []
    done = threading.Event()

    def render():
        cameras = Cameras(world, 64, 64)
        try:
            while not done.is_set() or len(images) < len(snapshots):
                if len(images) < len(snapshots):
                    images.append(cameras.render(snapshots[len(images)], "front"))
        except Exception as error:
            errors.append(error)
        cameras.close()

    thread = threading.Thread(target=render)
    thread.start()
    for seed in range(12):
        world.rearrange(seed)
        snapshots.append(world.snapshot())
        world.step(20)
    done.set()
    thread.join(30)
    assert errors == []
    here = Cameras(world, 64, 64)
    for snapshot, image in zip(snapshots, images, strict=True):
        assert np.array_equal(here.render(snapshot, "front"), image)
    here.close()


def test_a_second_thread_is_refused(world, cameras):
    world.reset(0)
    snapshot = world.snapshot()
    cameras.render(snapshot, "front")
    caught = []

    def render():
        try:
            cameras.render(snapshot, "front")
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=render)
    thread.start()
    thread.join(30)
    assert caught == ["these cameras already render in another thread; create one Cameras per thread."]


def test_invalid_input_is_refused(world, cameras):
    with pytest.raises(UnknownName, match='unknown camera "frnt"; did you mean "front"'):
        cameras.render(world.snapshot(), "frnt")
    with pytest.raises(ValueError, match="16 to 4096 pixels"):
        Cameras(world, 0, 224)


def test_other_sizes_and_shadows(world):
    world.reset(0)
    shadowed = Cameras(world, 320, 240, shadows=True)
    plain = Cameras(world, 320, 240)
    a, b = (c.render(world.snapshot(), "front") for c in (shadowed, plain))
    assert a.shape == b.shape == (240, 320, 3)
    assert not np.array_equal(a, b)
    shadowed.close()
    plain.close()
