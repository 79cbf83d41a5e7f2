"""Train a policy for the simulated arm: record demonstrations, train, run DAgger rounds, evaluate.

    ./vla train --minutes 28 --seed 0 --out runs/pick_place

1. Records demonstrations of the scripted expert in OUT/demos; existing ones are reused. With data=FOLDER it trains on a
   LeRobot dataset instead.
2. Trains. In the DAgger rounds the current policy drives and the expert labels.
3. Writes OUT/policy.safetensors and evaluates it on unseen scenes.

--minutes limits steps 1 and 2 together. Ctrl-C saves what has been learned, and the same command resumes the run; after
a kill at most track.save_s seconds are lost. OUT/curve.jsonl contains losses and validation errors. To train on several
processes, use torchrun or accelerate launch -m vla_ros.train.
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
from vla_ros.policy.network.model import check_network
from vla_ros.train.config import TrainConfig, load_config
from vla_ros.train.distributed import connect_processes
from vla_ros.train.trainer import Trainer, TrainingRequest


def idle_cores(maximum: int = 4) -> int:
    """Number of idle CPU cores, 1 to `maximum`; threads that wait for a busy core are slower than a single thread."""
    return max(1, min(maximum, round((os.cpu_count() or 1) - os.getloadavg()[0])))


def check_robot(config: TrainConfig) -> None:
    """Check that the settings fit the robot, and that the simulator has this robot if episodes are requested.

    Raises:
        ConfigError: A joint weight for an unknown joint; or closed-loop episodes of a robot or camera that the
            simulator does not have.
    """
    from vla_ros.sim.so101.scene import CAMERAS, JOINTS

    joints = load_robot(config.robot).joints
    config.weights_of(joints)
    fits = set(joints) == set(JOINTS) and set(config.cameras) <= set(CAMERAS)
    if config.data is not None and (config.evaluate or config.track.episodes) and not fits:
        raise ConfigError(
            f"the simulator has the SO-101 with the cameras {' and '.join(CAMERAS)}, not robot "
            f'"{config.robot}" with {", ".join(config.cameras)}: set evaluate=0 and track.episodes=0.'
        )


def split_settings(option: Path | None, settings: Sequence[str]) -> tuple[Path, list[str]]:
    """The configuration file, from `--config` or `config=FILE`, and the other settings.

    Raises:
        ConfigError: The file is given more than once.
    """
    named = [Path(text.removeprefix("config=")) for text in settings if text.startswith("config=")]
    files = named if option is None else [option, *named]
    if len(files) > 1:
        raise ConfigError(
            f"give one configuration file, as --config FILE or config=FILE; got {' and '.join(map(str, files))}."
        )
    default = config_dir() / "train" / "default.yaml"
    return files[0] if files else default, [text for text in settings if not text.startswith("config=")]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="vla train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="YAML file, also config=FILE (default: config/train/default.yaml)")
    parser.add_argument(
        "--minutes", type=float, default=28.0, help="time limit of recording and training (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights, batches and scenes (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/pick_place"), help="folder of data and checkpoint (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads for training; 0: number of idle cores, at most 4"
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="resume an unfinished run in OUT (default: yes)",
    )
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="override a setting, for example batch=64 or head=flow"
    )
    args = parser.parse_intermixed_args(given)  # settings before and after options
    torch.set_num_threads(args.threads or idle_cores())
    try:
        config = load_config(*split_settings(args.config, args.settings))
        command = shlex.join(["python", "-m", "vla_ros.train", *given])
        check_robot(config)
        check_network(config.model(load_robot(config.robot).joints, config.image_size))
        request = TrainingRequest(config, args.seed, args.minutes, args.out, command, args.resume, args.threads)
        distributed = connect_processes()
        path = Trainer(request, distributed).run()
        distributed.shut_down()
        if distributed.rank:
            return 0
        print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
        if config.evaluate:
            print(report(evaluate(path, config.evaluate, task=config.task, robot=config.robot, cameras=config.cameras)))
    except (VlaError, OSError) as error:  # OSError: for example a full disk or missing permissions
        print(f"train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        checkpoint = args.out / "policy.safetensors"
        saved = f"the weights so far are in {checkpoint}" if checkpoint.exists() else "nothing was learned yet"
        print(f"train: interrupted; {saved}; the same command resumes the run.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
