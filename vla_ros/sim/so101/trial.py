"""Episodes of the expert in the environment, optionally late and disturbed, and how they ended."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla_ros.sim.so101.environment import CONTROL_S, PickPlaceEnv
from vla_ros.sim.so101.expert import Expert
from vla_ros.sim.so101.inverse_kinematics import ArmKinematics
from vla_ros.sim.so101.tasks import task_names

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """How one episode ended.

    Attributes:
        seed: The seed of its scene.
        success: Whether the cube ended in the bowl.
        time_s: How long it took [s].
    """

    seed: int
    success: bool
    time_s: float


def smooth_noise(rng: np.random.Generator, deviation: float, steps: int, dt_s: float) -> Array:
    """Noise that wanders over about half a second, of the given standard deviation, shape (steps, 6) [rad]."""
    keep = float(np.exp(-dt_s / 0.25))
    value = np.zeros((2, 6))
    out = np.empty((steps, 6))
    # Two equal low-pass filters in series; the factor restores the variance they take away.
    gain = float(np.sqrt((1 - keep**2) ** 3 / (1 + keep**2))) / (1 - keep)
    for k in range(steps):
        value[0] = keep * value[0] + (1 - keep) * rng.normal(0.0, 1.0, 6)
        value[1] = keep * value[1] + (1 - keep) * value[0]
        out[k] = value[1] * gain / (1 - keep) * deviation
    return out


def run(
    env: PickPlaceEnv, expert: Expert, seed: int, delay_s: float = 0.0, noise_rad: float = 0.0, blind: bool = False
) -> Outcome:
    """Let the expert drive one episode, planning anew at every control step.

    Args:
        env: The environment; pictures are not needed.
        expert: The expert.
        seed: Of the scene, and of the noise.
        delay_s: Each plan arrives this much after the state it was made from [s].
        noise_rad: Standard deviation of smooth noise on every target [rad].
        blind: The late plan is carried out late as well, instead of being read at the present time.
    """
    info = env.reset(seed=seed)[1]
    expert.restart()
    late = round(delay_s / CONTROL_S)
    noise = smooth_noise(np.random.default_rng([seed, 1]), noise_rad, 1000, CONTROL_S)
    plans: deque[Array] = deque(maxlen=late + 1)
    for k in range(1000):
        plans.append(expert.target_path(info["truth"], 1.0 + delay_s, CONTROL_S))
        action = plans[0][0 if blind else len(plans) - 1] + noise[k]
        _, _, done, cut, info = env.step(action.astype(np.float32))
        if done or cut:
            break
    return Outcome(seed, bool(info["success"]), env.world.time_s)


def main(arguments: list[str] | None = None) -> int:
    """`python -m vla_ros.sim.so101.expert`: run episodes, print how many succeeded."""
    parser = argparse.ArgumentParser(prog="python -m vla_ros.sim.so101.expert", description=__doc__)
    parser.add_argument("--episodes", type=int, default=100, help="how many, with seeds from --seed on")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode")
    parser.add_argument("--task", default="pick_place", help=f"one of: {', '.join(task_names())}")
    parser.add_argument("--delay", type=float, default=0.0, help="age of each plan when it is carried out [s]")
    parser.add_argument("--noise", type=float, default=0.0, help="smooth noise on the targets, deviation [rad]")
    parser.add_argument("--blind", action="store_true", help="carry a late plan out late, instead of on time")
    parser.add_argument("--vary", action="store_true", help="vary pace and heights between episodes")
    given = parser.parse_args(arguments)
    try:
        env = PickPlaceEnv(given.task, render_images=False)
    except ValueError as error:
        parser.error(str(error))
    rng = np.random.default_rng(given.seed) if given.vary else None
    expert = Expert(rng, ArmKinematics(env.world.model))
    outcomes: list[Outcome] = []
    for seed in range(given.seed, given.seed + given.episodes):
        outcomes.append(run(env, expert, seed, given.delay, given.noise, given.blind))
        good = sum(o.success for o in outcomes)
        if sys.stderr.isatty():
            print(f"\r{good} of {len(outcomes)} succeeded", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(_summary(given.task, outcomes))
    return 0


def _summary(task: str, outcomes: list[Outcome]) -> str:
    good = [o for o in outcomes if o.success]
    failed = [str(o.seed) for o in outcomes if not o.success]
    times = f", mean time {np.mean([o.time_s for o in good]):.1f} s" if good else ""
    which = f"; failed seeds: {', '.join(failed)}" if failed else ""
    return f"{task}: {len(good)} of {len(outcomes)} succeeded{times}{which}"
