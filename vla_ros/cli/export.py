"""Write recorded demonstrations as a LeRobot dataset (--help teaches)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vla_ros.core.errors import ConfigError
from vla_ros.data.episodes import DemoInfo, Episode, read_episode

EPILOG = """
`./vla train --out runs/mine` keeps what it recorded in runs/mine/demos: those tries of the expert, and those in which a
policy drove while the expert said what to do. All of them become episodes, in the order of their names:

    ./vla export runs/mine/demos runs/dataset             images without loss
    ./vla export --video runs/mine/demos runs/dataset     smaller, not without loss
    ./vla train data=runs/dataset                         learns from it, as from any other

The dataset is a LeRobotDataset v3.0: observation.state is what was measured and action what the expert wanted one frame
later, both in rad; the images have the size they were recorded at. LeRobot opens it by its folder, without a network:

    LeRobotDataset("anything/you/like", root="runs/dataset")

It is written whole or not at all, and never over something that is there.
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        "vla export", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("demos", type=Path, metavar="DEMOS", help="folder of the demonstrations (*.npz)")
    p.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the dataset; it must not be there yet")
    p.add_argument("--video", action="store_true", help="keep the images as H.264 films")
    p.add_argument(
        "--fps", type=int, metavar="N", help="frames per second, where the demonstrations are too old to say it"
    )
    return p


def find(folder: Path) -> list[Path]:
    """The demonstrations in a folder, by name.

    Raises:
        ConfigError: There are none.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}.")
    files = sorted(folder.glob("*.npz"))
    if not files:
        inside = any((folder / "demos").glob("*.npz"))
        hint = f"did you mean {folder / 'demos'}?" if inside else "`./vla train --out OUT` records them in OUT/demos."
        raise ConfigError(f"{folder} has no demonstrations (*.npz); {hint}")
    return files


def frames_per_second(path: Path, info: DemoInfo, notes: Mapping[str, Any], given: int | None) -> int:
    """Of one demonstration; `given` where it does not say so itself.

    Raises:
        ConfigError: Neither says so, they differ, or it is not a whole number.
    """
    stride = notes.get("stride")
    if type(stride) is not int or stride < 1:
        if given is None:
            raise ConfigError(
                f"{path} does not say how many frames it has per second: give --fps, which is one over demos.stride x "
                "spline.dt_s of its training (10 for 2 x 0.05 s)."
            )
        return given
    apart_s = stride * info.dt_s
    fps = round(1.0 / apart_s)
    if abs(fps * apart_s - 1.0) > 1e-6:
        raise ConfigError(f"the frames of {path} are {apart_s:g} s apart; LeRobot wants a whole number per second.")
    if given not in (None, fps):
        raise ConfigError(f"{path} was recorded with {fps} frames per second, not {given}.")
    return fps


def read_alike(files: Sequence[Path], fps: int | None) -> Iterator[tuple[DemoInfo, int, Episode]]:
    """Episodes one at a time, with what they share and their frames per second.

    Raises:
        ConfigError: One is damaged, does not say how fast it is, or differs in kind from the first.
    """
    first: dict[str, Any] = {}
    for path in files:
        info, episode = read_episode(path)
        rate = frames_per_second(path, info, episode.notes, fps)
        kind = {**info.to_json(), "frames per second": rate}
        first = first or kind
        other = [f"{name} is {kind[name]}, not {first[name]}" for name in kind if kind[name] != first[name]]
        if other:
            raise ConfigError(
                f"{path} is of another kind than {files[0].name}, and a dataset has one: {', '.join(other)}."
            )
        yield info, rate, episode


def main(argv: Sequence[str]) -> int:
    """Write the dataset, and say what is in it."""
    options = parser().parse_args(list(argv))
    from vla_ros.data.lerobot.episodes import save_demos  # here: without pyarrow there is help all the same

    files = find(options.demos)
    info, fps, _ = next(read_alike(files[:1], options.fps))
    count = 0

    def episodes() -> Iterator[Episode]:
        nonlocal count
        for _, _, episode in read_alike(files, fps):
            yield episode
            count += len(episode)
            bar.update()

    try:
        with tqdm(total=len(files), desc="write", unit="episode", delay=0.5) as bar:
            save_demos(options.dataset, info, episodes(), fps, options.video)
    except OSError as error:  # reading says what is wrong by itself
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(f"{options.dataset} cannot be written: {why}.") from None
    size = sum(file.stat().st_size for file in options.dataset.rglob("*") if file.is_file())
    print(f"{options.dataset}: {len(files)} episodes, {count} frames, {fps} per second, {size / 1e6:.1f} MB")
    print(f"to learn from it: ./vla train data={options.dataset}")
    return 0
