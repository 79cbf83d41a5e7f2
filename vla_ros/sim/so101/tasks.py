"""What can be asked of the arm: tasks by name, where their things lie, and how a seed chooses among them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import UnknownName

Array = npt.NDArray[np.float64]
Colour = tuple[float, float, float, float]

CUBE_HALF_M = 0.0135
BOWL_RADIUS_M = 0.058
"""Outer radius of the bowl's rim [m]."""
CUBES_APART_M = 0.08
"""Least distance between the middles of two cubes: the open jaws go down beside one without touching the other [m]."""
PAN_AXIS_M = (0.0388353, 0.0)
"""Where the axis of shoulder_pan meets the table [m]; distances of reach are measured from here."""


@dataclass(frozen=True)
class Region:
    """Part of a ring around the pan axis.

    Attributes:
        radius_m: Least and greatest distance from the axis [m].
        angle_rad: Least and greatest pan angle, 0 straight ahead, positive to the arm's left [rad].
    """

    radius_m: tuple[float, float]
    angle_rad: tuple[float, float]

    def sample(self, rng: np.random.Generator) -> Array:
        """A point of the region, uniform over its area, shape (2,) [m]."""
        low, high = self.radius_m
        radius = math.sqrt(rng.uniform(low * low, high * high))
        angle = rng.uniform(*self.angle_rad)
        return np.array(PAN_AXIS_M) + radius * np.array([math.cos(angle), math.sin(angle)])

    @property
    def area_m2(self) -> float:
        """Its area [m^2]."""
        low, high = self.radius_m
        return 0.5 * (high * high - low * low) * (self.angle_rad[1] - self.angle_rad[0])


@dataclass(frozen=True)
class Task:
    """A task of picking a cube and placing it in a bowl.

    Attributes:
        name: Its name in the registry.
        cube: Where a cube may lie.
        cube_yaw_rad: Greatest turn of the cube away from facing the arm, at most pi / 4 as a cube
            looks the same after a quarter turn [rad].
        bowl_m: Middle of where the bowl may stand, shape (2,) [m].
        bowl_spread_m: The bowl stands within this of the middle, along each axis [m].
        cubes: Colours of the cubes on the table, one or two of `CUBES`; the seed chooses the one asked for.
    """

    name: str
    cube: Region
    cube_yaw_rad: float
    bowl_m: tuple[float, float]
    bowl_spread_m: float
    cubes: tuple[str, ...] = ("red",)

    @property
    def instructions(self) -> tuple[str, ...]:
        """The sentences a policy may be given, one for each of `cubes`."""
        return tuple(f"put the {colour} cube in the bowl" for colour in self.cubes)


CUBES: dict[str, tuple[float, float, float]] = {"red": (0.82, 0.13, 0.11), "blue": (0.09, 0.19, 0.80)}
"""Colours a sentence may name, RGB from 0 to 1; a scene varies each a little."""


_TASKS = {
    task.name: task
    for task in (
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
    )
}


def task_names() -> tuple[str, ...]:
    """Names of the tasks there are."""
    return tuple(_TASKS)


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UnknownName: There is none; the text names the nearest. It is a `ValueError`.
    """
    if name not in _TASKS:
        raise UnknownName("task", str(name), _TASKS)
    return _TASKS[name]


@dataclass(frozen=True)
class Appearance:
    """What a scene looks like beyond its geometry; rendering needs nothing else about the randomisation.

    Attributes:
        cube: Colour of the cube that is asked for, RGBA from 0 to 1.
        other: Colour of the other cube, where there is one.
        bowl: Colour of the bowl.
        table: Tint of the table top.
        light: Diffuse brightness of the main light, 0 to 1.
        light_direction: Where the main light shines to, unit vector, shape (3,).
        camera_shift_m: Displacement of the front camera, shape (3,) [m].
        camera_turn_rad: Turn of the front camera about its own axes, shape (3,) [rad].
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
class Place:
    """Where a cube lies.

    Attributes:
        xy: Its middle, shape (2,) [m].
        yaw: Its turn about the vertical [rad].
    """

    xy: Array
    yaw: float


@dataclass(frozen=True, eq=False)
class Layout:
    """What a seed chooses.

    Attributes:
        instruction: The sentence.
        cubes: Where the cube lies that is asked for, then the other one, if there is one.
        bowl_xy: Middle of the bowl, shape (2,) [m].
        appearance: What it all looks like.
    """

    instruction: str
    cubes: tuple[Place, ...]
    bowl_xy: Array
    appearance: Appearance = field(default_factory=Appearance)


_BOWLS: tuple[Colour, ...] = (
    (0.20, 0.42, 0.62, 1.0),
    (0.16, 0.50, 0.47, 1.0),
    (0.88, 0.86, 0.80, 1.0),
    (0.33, 0.36, 0.42, 1.0),
    (0.42, 0.56, 0.36, 1.0),
)


def _appearance(rng: np.random.Generator, cubes: list[str]) -> Appearance:
    """Draw one; `cubes` are the colours, the one that is asked for first."""
    asked = np.array(CUBES[cubes[0]]) + rng.uniform(-0.06, 0.06, 3)
    bowl = np.array(_BOWLS[rng.integers(len(_BOWLS))][:3]) + rng.uniform(-0.05, 0.05, 3)
    tint = rng.uniform(0.82, 1.0) * (1.0 + rng.uniform(-0.04, 0.04, 3))
    direction = np.array([-0.35, 0.25, -0.9]) + rng.uniform(-0.25, 0.25, 3)
    direction /= np.linalg.norm(direction)
    look = Appearance(
        cube=_colour(asked),
        bowl=_colour(bowl),
        table=_colour(tint),
        light=float(rng.uniform(0.50, 0.72)),
        light_direction=_triple(direction),
        camera_shift_m=_triple(rng.uniform(-0.008, 0.008, 3)),
        camera_turn_rad=_triple(rng.uniform(-0.015, 0.015, 3)),
    )
    for name in cubes[1:]:
        look = replace(look, other=_colour(np.array(CUBES[name]) + rng.uniform(-0.06, 0.06, 3)))
    return look


def _triple(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _colour(rgb: Array) -> Colour:
    r, g, b = (float(v) for v in np.clip(rgb, 0.0, 1.0))
    return r, g, b, 1.0


def sample_layout(task: Task, rng: np.random.Generator) -> Layout:
    """Draw one scene; the fingers fit between all things in every scene drawn.

    Of two cubes the one that is asked for is drawn like the other, so its place does not tell which it is.
    """
    gap = BOWL_RADIUS_M + 2.0 * CUBE_HALF_M + 0.035
    while True:
        bowl = np.array(task.bowl_m) + rng.uniform(-task.bowl_spread_m, task.bowl_spread_m, 2)
        places = [task.cube.sample(rng) for _ in task.cubes]
        clear = all(float(np.linalg.norm(xy - bowl)) >= gap for xy in places)
        if clear and float(np.linalg.norm(places[0] - places[-1])) >= CUBES_APART_M * (len(places) - 1):
            break
    turns = [float(rng.uniform(-task.cube_yaw_rad, task.cube_yaw_rad)) for _ in places]
    facing = [math.atan2(xy[1] - PAN_AXIS_M[1], xy[0] - PAN_AXIS_M[0]) for xy in places]
    cubes = tuple(Place(xy, f + turn) for xy, f, turn in zip(places, facing, turns, strict=True))
    asked = int(rng.integers(len(cubes))) if len(cubes) > 1 else 0
    colours = [task.cubes[asked], *(c for k, c in enumerate(task.cubes) if k != asked)]
    return Layout(task.instructions[asked], cubes, bowl, _appearance(rng, colours))
