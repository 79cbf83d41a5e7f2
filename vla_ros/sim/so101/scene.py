"""The SO-101 scene as one compiled MuJoCo model: table, arm, cubes, bowl, cameras, light."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import numpy.typing as npt

from vla_ros.core.records import Array
from vla_ros.sim.so101.assets import arm_folder, decimated_meshes
from vla_ros.sim.so101.tasks import BOWL_RADIUS_M, CUBE_HALF_M, CUBES

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
CAMERAS = ("front", "wrist")
CUBE_NAMES = ("cube", "other")
"""Names of bodies, joints and geoms: the target cube, and the other one of a task with two cubes."""
CUBE_MASS_KG = 0.025
BOWL_HEIGHT_M = 0.034
BOWL_FLOOR_M = 0.004
BOWL_FLOOR_RADIUS_M = 0.040
GRIPPER_TORQUE_NM = 1.2
"""Torque limit of the gripper servo [N m]; it is also below the other servos' limit on the real arm."""

_WORLD_BITS = {"contype": 1, "conaffinity": 3}
_ARM_BITS = {"contype": 2, "conaffinity": 1}
_WALLS = 20
_PRINTED = (0.93, 0.91, 0.87, 1.0)
_SERVO = (0.13, 0.13, 0.15, 1.0)
_MOVING_JAW = (0.95, 0.55, 0.16, 1.0)


def build_model(timestep_s: float = 0.002, cubes: int = 1) -> mujoco.MjModel:
    """Compile the scene.

    Args:
        timestep_s: Step of the physics [s].
        cubes: Number of cubes, 1 or 2.

    Returns:
        A model with the six joints of the arm, one or two free cubes (of `CUBE_NAMES`) and a bowl ("bowl", a mocap
        body).
    """
    spec = mujoco.MjSpec.from_file(str(arm_folder() / "so101_new_calib.xml"))
    spec.modelname = "vla_ros"
    spec.meshdir = str(decimated_meshes())
    _options(spec, timestep_s)
    _colour_arm(spec)
    _add_collisions(spec)
    _add_surroundings(spec)
    for name in CUBE_NAMES[:cubes]:
        _add_cube(spec, name)
    _add_bowl(spec)
    _add_cameras(spec)
    return spec.compile()


def _options(spec: mujoco.MjSpec, timestep_s: float) -> None:
    spec.option.timestep = timestep_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.visual.quality.shadowsize = 1024
    spec.visual.quality.offsamples = 0
    spec.visual.headlight.ambient = [0.38, 0.38, 0.39]
    spec.visual.headlight.diffuse = [0.22, 0.22, 0.22]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    spec.visual.map.znear = 0.02
    spec.visual.map.shadowclip = 1.7
    spec.visual.map.zfar = 20.0
    spec.stat.extent = 1.0
    spec.stat.center = [0.2, 0.0, 0.1]


def _colour_arm(spec: mujoco.MjSpec) -> None:
    for material in spec.materials:
        material.rgba = _SERVO if material.name.startswith("sts3215") else _PRINTED
        material.specular = 0.25
        material.shininess = 0.4
    spec.material("moving_jaw_so101_v1_material").rgba = _MOVING_JAW
    for actuator in spec.actuators:
        if actuator.name == "gripper":
            actuator.forcerange = [-GRIPPER_TORQUE_NM, GRIPPER_TORQUE_NM]


def _add_collisions(spec: mujoco.MjSpec) -> None:
    """Replace the arm's collision meshes by boxes and convex hulls; a hull of the hollow fixed jaw would fill it."""
    for geom in [g for g in spec.geoms if g.group == 3]:
        spec.delete(geom)
    for link, mesh, place, quat in (
        ("upper_arm", "upper_arm_so101_v1", (-0.065085, 0.012, 0.0182), (0, 1, 0, 0)),
        ("lower_arm", "under_arm_so101_v1", (-0.0648499, -0.032, 0.0182), (0, 1, 0, 0)),
        ("wrist", "wrist_roll_pitch_so101_v2", (0, -0.028, 0.0181), (0.5, -0.5, -0.5, -0.5)),
    ):
        spec.body(link).add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh, pos=place, quat=quat, group=3, density=0, **_ARM_BITS
        )
    # In the frame of the gripper body at gripper angle 0: x across the jaws, -z along the fingers.
    gripper, jaw = spec.body("gripper"), spec.body("moving_jaw_so101_v1")
    box = {"type": mujoco.mjtGeom.mjGEOM_BOX, "group": 3, "density": 0, **_ARM_BITS}
    gripper.add_geom(name="palm", pos=(-0.003, 0, -0.028), size=(0.032, 0.024, 0.018), **box)
    origin = np.array([0.0202, 0.0188, -0.0234])
    turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    grip = {"friction": (1.2, 0.02, 0.001), "condim": 4, "priority": 1, "solref": (0.006, 1.0)}
    for name, side, body in (("fixed_finger", -1.0, gripper), ("moving_finger", 1.0, jaw)):
        pos, axes = _finger(side)
        if body is jaw:
            pos, axes = turn.T @ (pos - origin), turn.T @ axes
        facing = np.zeros(4)
        mujoco.mju_mat2Quat(facing, axes.ravel())
        body.add_geom(name=name, pos=pos, quat=facing, size=(0.003, 0.0065, 0.0285), **grip, **box)


def _finger(side: float) -> tuple[Array, Array]:
    """Centre and axes of a finger's box, its inner face from (0.0079, -0.107) to (0.0130, -0.050) in x, z [m]."""
    tip, root = np.array([side * 0.0079, 0.0, -0.107]), np.array([side * 0.0130, 0.0, -0.050])
    along = (root - tip) / np.linalg.norm(root - tip)
    lateral = np.array([0.0, 1.0, 0.0])
    outward = np.cross(lateral, along) * side
    axes = np.stack([outward * side, lateral, along], axis=1)
    return (tip + root) / 2 + outward * 0.003, axes


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.80, 0.85, 0.90],
        rgb2=[0.46, 0.52, 0.60],
        width=64,
        height=384,
    )
    wood = wood_grain(256)
    spec.add_texture(
        name="wood",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        width=wood.shape[1],
        height=wood.shape[0],
        nchannel=3,
        data=wood.ravel().tolist(),
    )
    top = spec.add_material(name="table", specular=0.1, shininess=0.2, texrepeat=[1.0, 1.0])
    top.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "wood"
    table = spec.worldbody.add_body(name="table", pos=(0.22, 0.0, -0.02))
    table.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(0.42, 0.50, 0.02),
        material="table",
        friction=(0.8, 0.005, 0.0001),
        **_WORLD_BITS,
    )
    spec.worldbody.add_light(
        name="main",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(0.6, -0.4, 1.6),
        dir=(-0.35, 0.25, -0.90),
        diffuse=(0.6, 0.6, 0.6),
        specular=(0.15, 0.15, 0.15),
        castshadow=False,
    )


def wood_grain(size: int) -> npt.NDArray[np.uint8]:
    """A deterministic texture of boards and grain, shape (size, size, 3) uint8."""
    rng = np.random.default_rng(7)
    u, v = np.meshgrid(np.arange(size) / size, np.arange(size) / size)
    boards = 5
    board = np.floor(v * boards).astype(int)
    phase = rng.uniform(0.0, 10.0, boards)[board]
    wave = 0.6 * np.sin(2.0 * math.pi * (u * 1.5 + phase)) + 0.3 * np.sin(2.0 * math.pi * (u * 3.0 + 2.0 * phase))
    rings = np.sin(2.0 * math.pi * (v * 38.0 + wave + phase))
    fibre = np.repeat(rng.normal(0.0, 1.0, (size, size // 16)), 16, axis=1)
    shade = 1.0 + 0.022 * rings + 0.012 * fibre + rng.uniform(-0.035, 0.035, boards)[board]
    seam = np.abs(v * boards - np.round(v * boards)) < 0.6 * boards / size
    shade = np.where(seam, shade * 0.80, shade)
    colour = np.array([205.0, 172.0, 132.0])
    return np.asarray(np.clip(shade[..., None] * colour, 0, 255), dtype=np.uint8)


def _add_cube(spec: mujoco.MjSpec, name: str) -> None:
    cube = spec.worldbody.add_body(name=name, pos=(0.22, -0.08, CUBE_HALF_M))
    cube.add_freejoint(name=name)
    cube.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(CUBE_HALF_M,) * 3,
        mass=CUBE_MASS_KG,
        rgba=(*CUBES["red"], 1.0),
        friction=(0.8, 0.01, 0.0002),
        condim=4,
        **_WORLD_BITS,
    )


def _add_bowl(spec: mujoco.MjSpec) -> None:
    """A surface of revolution as visual geometry; a disc with a ring of tilted boxes as collision geometry."""
    bowl = spec.worldbody.add_body(name="bowl", pos=(0.2, 0.12, 0.0), mocap=True)
    outer, thick = BOWL_RADIUS_M, 0.003
    profile = [
        (0.0, 0.0), (BOWL_FLOOR_RADIUS_M, 0.0), (0.051, 0.012), (outer, BOWL_HEIGHT_M),
        (outer - thick, BOWL_HEIGHT_M), (0.047, 0.013), (BOWL_FLOOR_RADIUS_M - thick, BOWL_FLOOR_M),
        (0.0, BOWL_FLOOR_M),
    ]  # fmt: skip
    vertices, faces = _revolve(profile, 36)
    spec.add_mesh(name="bowl", uservert=vertices.ravel().tolist(), userface=faces.ravel().tolist())
    bowl.add_geom(name="bowl", type=mujoco.mjtGeom.mjGEOM_MESH, meshname="bowl", contype=0, conaffinity=0, group=2)
    touch = {"group": 3, "friction": (0.8, 0.01, 0.0002), **_WORLD_BITS}
    bowl.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(0, 0, BOWL_FLOOR_M / 2),
        size=(BOWL_FLOOR_RADIUS_M + 0.006, BOWL_FLOOR_M / 2, 0),
        **touch,
    )
    inner_foot, inner_rim = BOWL_FLOOR_RADIUS_M, outer - thick
    slant = math.atan2(inner_rim - inner_foot, BOWL_HEIGHT_M - BOWL_FLOOR_M)
    length = math.hypot(inner_rim - inner_foot, BOWL_HEIGHT_M - BOWL_FLOOR_M)
    for k in range(_WALLS):
        turn = 2.0 * math.pi * k / _WALLS
        radius = (inner_foot + inner_rim) / 2 + thick / 2
        pos = (radius * math.cos(turn), radius * math.sin(turn), (BOWL_FLOOR_M + BOWL_HEIGHT_M) / 2)
        lean, spin, quat = np.zeros(4), np.zeros(4), np.zeros(4)
        mujoco.mju_axisAngle2Quat(spin, np.array([0.0, 0.0, 1.0]), turn)
        mujoco.mju_axisAngle2Quat(lean, np.array([0.0, 1.0, 0.0]), slant)
        mujoco.mju_mulQuat(quat, spin, lean)
        half_width = outer * math.tan(math.pi / _WALLS) + 0.0005
        bowl.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, quat=quat, size=(thick / 2, half_width, length / 2), **touch
        )


def in_bowl(cube: Array, bowl: Array) -> bool:
    """Whether a cube centred at `cube`, shape (3,), lies in a bowl at `bowl`, shape (3,) [m]."""
    distance = float(np.linalg.norm(cube[:2] - bowl[:2]))
    return distance < BOWL_FLOOR_RADIUS_M and float(cube[2] - bowl[2]) < BOWL_HEIGHT_M


def _revolve(profile: list[tuple[float, float]], segments: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Surface of revolution of a closed profile of (radius, height); vertices (V, 3), faces (F, 3)."""
    angles = 2.0 * math.pi * np.arange(segments) / segments
    rings = [np.stack([r * np.cos(angles), r * np.sin(angles), np.full(segments, z)], axis=1) for r, z in profile[1:-1]]
    vertices = np.concatenate([*rings, [[0.0, 0.0, profile[0][1]], [0.0, 0.0, profile[-1][1]]]])
    count = len(rings)
    faces = []
    for s in range(segments):
        t = (s + 1) % segments
        for r in range(count - 1):
            a, b = r * segments + s, r * segments + t
            faces += [(a, b, b + segments), (a, b + segments, a + segments)]
        faces.append((count * segments, t, s))
        last = (count - 1) * segments
        faces.append((count * segments + 1, last + s, last + t))
    return vertices, np.array(faces, dtype=np.int64)


def _add_cameras(spec: mujoco.MjSpec) -> None:
    for camera in list(spec.cameras):
        spec.delete(camera)
    # In front of and above the arm, looking back at it.
    position, target = np.array([0.68, 0.015, 0.42]), np.array([0.13, 0.015, 0.075])
    spec.worldbody.add_camera(name="front", pos=position, quat=look_at(position, target), fovy=44.0)
    spec.body("gripper").add_camera(name="wrist", pos=(0.0, 0.055, -0.015), euler=(-0.55, 0.0, 0.0), fovy=72.0)


def look_at(position: Array, target: Array) -> Array:
    """Orientation of a camera at `position` that looks at `target` with z up, quaternion (4,)."""
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quat
