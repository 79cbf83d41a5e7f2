"""Train a policy for the simulated arm, from nothing to a checkpoint.

    python -m vla_ros.train --config config/train/pick_place.yaml --minutes 28 --seed 0 --out runs/pick_place

Records demonstrations of the scripted expert (those already in OUT are kept), learns from them, lets the
policy drive in DAgger rounds while the expert labels, and evaluates the result on unseen scenes.
Everything but that evaluation is inside --minutes. Ctrl-C saves what has been learned, and the same command goes on
from there; killed at any moment, it loses at most track.save_s seconds. With data=FOLDER it learns from a LeRobot
dataset. OUT/curve.jsonl holds loss and validation. On many processes: torchrun or accelerate launch -m vla_ros.train.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from vla_ros.config import config_dir, load_robot
from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.evaluation.evaluate import evaluate, report
from vla_ros.policy.network.build import check_model
from vla_ros.train.config import TrainConfig, load_config
from vla_ros.train.distributed import find_machines
from vla_ros.train.learner import shape_of
from vla_ros.train.trainer import Run, Trainer


def idle_cores(most: int = 4) -> int:
    """Cores nobody else is using, 1 to `most`; threads that wait for a busy core are slower than one alone."""
    return max(1, min(most, round((os.cpu_count() or 1) - os.getloadavg()[0])))


def check_robot(config: TrainConfig) -> None:
    """Refuse at the start what does not fit the robot, or could not be driven at the end: the simulator has one arm.

    Raises:
        ConfigError: A weight of no joint; or another arm or camera, and tries in the simulator are asked for.
    """
    from vla_ros.sim.so101.scene import CAMERAS, JOINTS

    joints = load_robot(config.robot).joints
    config.weights_of(joints)
    fits = set(joints) == set(JOINTS) and set(config.cameras) <= set(CAMERAS)
    if config.data is not None and (config.evaluate or config.track.episodes) and not fits:
        raise ConfigError(
            f"the simulator has the SO-101 with the cameras {' and '.join(CAMERAS)}, so it cannot drive robot "
            f'"{config.robot}" with {", ".join(config.cameras)}: set evaluate=0 and track.episodes=0.'
        )


def split_settings(option: Path | None, settings: Sequence[str]) -> tuple[Path, list[str]]:
    """The YAML file, given as `--config` or as `config=FILE` among the settings, and the other settings.

    Raises:
        ConfigError: It is given more than once.
    """
    named = [Path(text.removeprefix("config=")) for text in settings if text.startswith("config=")]
    files = named if option is None else [option, *named]
    if len(files) > 1:
        raise ConfigError(
            f"give one configuration, as --config FILE or config=FILE; got {' and '.join(map(str, files))}."
        )
    usual = config_dir() / "train" / "pick_place.yaml"
    return files[0] if files else usual, [text for text in settings if not text.startswith("config=")]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m vla_ros.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", type=Path, help="a YAML file, or say config=FILE; config/train/pick_place.yaml if not given"
    )
    parser.add_argument("--minutes", type=float, default=28.0, help="cap on recording and learning together")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and scenes")
    parser.add_argument("--out", type=Path, default=Path("runs/pick_place"), help="folder of data and checkpoint")
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads while learning; 0: as many as are idle, at most 4"
    )
    parser.add_argument(
        "--resume", action=argparse.BooleanOptionalAction, default=True, help="go on with an unfinished run in OUT"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="override a setting, for example batch=64")
    args = parser.parse_intermixed_args(given)  # settings before and after options
    torch.set_num_threads(args.threads or idle_cores())
    try:
        config = load_config(*split_settings(args.config, args.settings))
        command = shlex.join(["python", "-m", "vla_ros.train", *given])
        check_robot(config)
        check_model(shape_of(config, load_robot(config.robot).joints, config.image_size))
        order = Run(config, args.seed, args.minutes, args.out, command, args.resume, args.threads)
        machines = find_machines()
        path = Trainer(order, machines).run()
        machines.part()
        if machines.rank:
            return 0
        print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
        if config.evaluate:
            print(report(evaluate(path, config.evaluate, task=config.task, robot=config.robot, cameras=config.cameras)))
    except (VlaError, OSError) as error:  # a full disk, a folder that is not ours
        print(f"train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = args.out / "policy.safetensors"
        print(
            f"train: interrupted; {f'kept what was learned in {kept}' if kept.exists() else 'nothing was learned yet'}"
            "; the same command goes on."
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
