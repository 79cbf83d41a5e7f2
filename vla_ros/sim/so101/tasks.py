"""Tasks by name, the layout of their objects, and how a seed selects a layout."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from vla_ros.core.records import Array
from vla_ros.registry import Registry

Colour = tuple[float, float, float, float]

CUBE_HALF_M = 0.0135
BOWL_RADIUS_M = 0.058
"""Outer radius of the bowl's rim [m]."""
MIN_CUBE_DISTANCE_M = 0.08
"""Minimum distance between the centres of two cubes: the open jaws reach one without touching the other [m]."""
PAN_AXIS_M = (0.0388353, 0.0)
"""Intersection of the shoulder_pan axis with the table [m]; regions are centred here."""


@dataclass(frozen=True)
class Region:
    """A sector of a ring around the pan axis.

    Attributes:
        radius_m: Minimum and maximum distance from the axis [m].
        angle_rad: Minimum and maximum pan angle, 0 straight ahead, positive to the arm's left [rad].
    """

    radius_m: tuple[float, float]
    angle_rad: tuple[float, float]

    def sample(self, rng: np.random.Generator) -> Array:
        """A random point, uniform over the area, shape (2,) [m]."""
        low, high = self.radius_m
        radius = math.sqrt(rng.uniform(low * low, high * high))
        angle = rng.uniform(*self.angle_rad)
        return np.array(PAN_AXIS_M) + radius * np.array([math.cos(angle), math.sin(angle)])


@dataclass(frozen=True)
class Task:
    """A task of picking a cube and placing it in a bowl.

    Attributes:
        name: Name of the task.
        cube: Region of the cube positions.
        cube_yaw_rad: Maximum yaw of the cube relative to facing the arm, at most pi / 4 because a cube looks the same
            after a quarter turn [rad].
        bowl_m: Mean position of the bowl, shape (2,) [m].
        bowl_spread_m: Maximum deviation of the bowl from its mean position, along each axis [m].
        cubes: Colours of the cubes on the table, one or two of `CUBES`; the seed chooses the target.
    """

    name: str
    cube: Region
    cube_yaw_rad: float
    bowl_m: tuple[float, float]
    bowl_spread_m: float
    cubes: tuple[str, ...] = ("red",)

    @property
    def instructions(self) -> tuple[str, ...]:
        """The possible instructions, one for each of `cubes`."""
        return tuple(f"put the {colour} cube in the bowl" for colour in self.cubes)


CUBES: dict[str, tuple[float, float, float]] = {"red": (0.82, 0.13, 0.11), "blue": (0.09, 0.19, 0.80)}
"""Colours that an instruction can name, RGB from 0 to 1; each scene varies them slightly."""

tasks: Registry[Task] = Registry("task")
"""Tasks by name."""

for _task in (
    Task(
        name="pick_place",
        cube=Region((0.145, 0.235), (-0.60, -0.02)),
        cube_yaw_rad=0.35,
        bowl_m=(0.175, 0.125),
        bowl_spread_m=0.015,
    ),
    Task(
        name="pick_place_wide",
        cube=Region((0.135, 0.245), (-0.95, 0.0)),
        cube_yaw_rad=math.pi / 4,
        bowl_m=(0.175, 0.135),
        bowl_spread_m=0.05,
    ),
    Task(
        name="two_objects",
        cube=Region((0.145, 0.235), (-0.80, -0.02)),
        cube_yaw_rad=0.35,
        bowl_m=(0.175, 0.125),
        bowl_spread_m=0.015,
        cubes=("red", "blue"),
    ),
):
    tasks.register(_task.name)(_task)


@dataclass(frozen=True)
class Appearance:
    """Randomised appearance of a scene, apart from its geometry.

    Attributes:
        cube: Colour of the target cube, RGBA from 0 to 1.
        other: Colour of the other cube, if there is one.
        bowl: Colour of the bowl.
        table: Tint of the table top.
        light: Diffuse brightness of the main light, 0 to 1.
        light_direction: Direction of the main light, unit vector, shape (3,).
        camera_shift_m: Displacement of the front camera, shape (3,) [m].
        camera_turn_rad: Rotation vector of the front camera in its own frame, shape (3,) [rad].
    """

    cube: Colour = (*CUBES["red"], 1.0)
    other: Colour = (*CUBES["blue"], 1.0)
    bowl: Colour = (0.20, 0.42, 0.62, 1.0)
    table: Colour = (1.0, 1.0, 1.0, 1.0)
    light: float = 0.6
    light_direction: tuple[float, float, float] = (-0.35, 0.25, -0.90)
    camera_shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    camera_turn_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class CubePose:
    """Pose of a cube on the table.

    Attributes:
        xy: Of its centre, shape (2,) [m].
        yaw: About the vertical [rad].
    """

    xy: Array
    yaw: float


@dataclass(frozen=True, eq=False)
class Layout:
    """A scene drawn from a seed.

    Attributes:
        instruction: The instruction.
        cubes: Pose of the target cube, then of the other one, if there is one.
        bowl_xy: Centre of the bowl, shape (2,) [m].
        appearance: Colours, light and camera placement.
    """

    instruction: str
    cubes: tuple[CubePose, ...]
    bowl_xy: Array
    appearance: Appearance = field(default_factory=Appearance)


_BOWL_COLOURS: tuple[Colour, ...] = (
    (0.20, 0.42, 0.62, 1.0),
    (0.16, 0.50, 0.47, 1.0),
    (0.88, 0.86, 0.80, 1.0),
    (0.33, 0.36, 0.42, 1.0),
    (0.42, 0.56, 0.36, 1.0),
)


def _appearance(rng: np.random.Generator, cubes: list[str]) -> Appearance:
    """A random appearance; `cubes` are the colour names, the target first."""
    target = np.array(CUBES[cubes[0]]) + rng.uniform(-0.06, 0.06, 3)
    bowl = np.array(_BOWL_COLOURS[rng.integers(len(_BOWL_COLOURS))][:3]) + rng.uniform(-0.05, 0.05, 3)
    tint = rng.uniform(0.82, 1.0) * (1.0 + rng.uniform(-0.04, 0.04, 3))
    direction = np.array([-0.35, 0.25, -0.9]) + rng.uniform(-0.25, 0.25, 3)
    direction /= np.linalg.norm(direction)
    appearance = Appearance(
        cube=_colour(target),
        bowl=_colour(bowl),
        table=_colour(tint),
        light=float(rng.uniform(0.50, 0.72)),
        light_direction=_triple(direction),
        camera_shift_m=_triple(rng.uniform(-0.008, 0.008, 3)),
        camera_turn_rad=_triple(rng.uniform(-0.015, 0.015, 3)),
    )
    for name in cubes[1:]:
        appearance = replace(appearance, other=_colour(np.array(CUBES[name]) + rng.uniform(-0.06, 0.06, 3)))
    return appearance


def _triple(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _colour(rgb: Array) -> Colour:
    r, g, b = (float(v) for v in np.clip(rgb, 0.0, 1.0))
    return r, g, b, 1.0


def sample_layout(task: Task, rng: np.random.Generator) -> Layout:
    """Draw a scene in which the fingers fit between all objects.

    Both cubes of a two-cube task have the same distribution, so a position does not reveal the target.
    """
    gap = BOWL_RADIUS_M + 2.0 * CUBE_HALF_M + 0.035
    while True:
        bowl = np.array(task.bowl_m) + rng.uniform(-task.bowl_spread_m, task.bowl_spread_m, 2)
        positions = [task.cube.sample(rng) for _ in task.cubes]
        clear = all(float(np.linalg.norm(xy - bowl)) >= gap for xy in positions)
        if clear and float(np.linalg.norm(positions[0] - positions[-1])) >= MIN_CUBE_DISTANCE_M * (len(positions) - 1):
            break
    yaws = [float(rng.uniform(-task.cube_yaw_rad, task.cube_yaw_rad)) for _ in positions]
    facing = [math.atan2(xy[1] - PAN_AXIS_M[1], xy[0] - PAN_AXIS_M[0]) for xy in positions]
    cubes = tuple(CubePose(xy, f + yaw) for xy, f, yaw in zip(positions, facing, yaws, strict=True))
    target = int(rng.integers(len(cubes))) if len(cubes) > 1 else 0
    colours = [task.cubes[target], *(c for k, c in enumerate(task.cubes) if k != target)]
    return Layout(task.instructions[target], cubes, bowl, _appearance(rng, colours))
