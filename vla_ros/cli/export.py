"""Write recorded demonstrations as a LeRobot dataset."""

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
`./vla train --out runs/mine` records demonstrations in runs/mine/demos: episodes of the expert, and DAgger episodes in
which a policy drives and the expert labels. All files are exported, in the order of their names:

    ./vla export runs/mine/demos runs/dataset             images as PNG (lossless)
    ./vla export --video runs/mine/demos runs/dataset     images as video (smaller, lossy)
    ./vla train data=runs/dataset                         trains on the dataset, as on any LeRobot dataset

The dataset is a LeRobotDataset v3.0: observation.state is the measured position and action the expert's target one
frame later, both in rad; images keep their recorded size. LeRobot opens the folder without network access:

    LeRobotDataset("any/name", root="runs/dataset")

The dataset is written atomically; an existing folder is never overwritten.
"""


def parser() -> argparse.ArgumentParser:
    """Command-line parser."""
    p = argparse.ArgumentParser(
        "vla export", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("demos", type=Path, metavar="DEMOS", help="folder of the demonstrations (*.npz)")
    p.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the dataset; must not exist")
    p.add_argument("--video", action="store_true", help="store the images as H.264 video (lossy)")
    p.add_argument("--fps", type=int, metavar="N", help="frames per second, for demonstrations that do not record it")
    return p


def find_demonstrations(folder: Path) -> list[Path]:
    """Files of the demonstrations in a folder, sorted by name.

    Raises:
        ConfigError: There are none.
    """
    if not folder.is_dir():
        raise ConfigError(f"the folder {folder} does not exist.")
    files = sorted(folder.glob("*.npz"))
    if not files:
        in_subfolder = any((folder / "demos").glob("*.npz"))
        hint = (
            f"did you mean {folder / 'demos'}?"
            if in_subfolder
            else "`./vla train --out OUT` records them in OUT/demos."
        )
        raise ConfigError(f"{folder} contains no demonstrations (*.npz); {hint}")
    return files


def frames_per_second(path: Path, info: DemoInfo, metadata: Mapping[str, Any], option: int | None) -> int:
    """Frame rate of one demonstration; `option` if its metadata do not contain the stride.

    Raises:
        ConfigError: The frame rate is unknown, differs from `option`, or is not an integer.
    """
    stride = metadata.get("stride")
    if type(stride) is not int or stride < 1:
        if option is None:
            raise ConfigError(
                f"{path} does not record its frame rate: give --fps, which is 1 / (demos.stride x spline.dt_s) of its "
                "training (10 for 2 x 0.05 s)."
            )
        return option
    period_s = stride * info.dt_s
    fps = round(1.0 / period_s)
    if abs(fps * period_s - 1.0) > 1e-6:
        raise ConfigError(f"the frame period of {path} is {period_s:g} s; LeRobot needs an integer frame rate.")
    if option not in (None, fps):
        raise ConfigError(f"{path} was recorded with {fps} frames per second, not {option}.")
    return fps


def read_demonstrations(files: Sequence[Path], fps: int | None) -> Iterator[tuple[DemoInfo, int, Episode]]:
    """Yield properties, frame rate and episode of each file.

    Raises:
        ConfigError: A file is damaged, its frame rate is unknown, or its properties differ from those of the first.
    """
    first: dict[str, Any] = {}
    for path in files:
        info, episode = read_episode(path)
        rate = frames_per_second(path, info, episode.metadata, fps)
        properties = {**info.to_json(), "frames per second": rate}
        first = first or properties
        different = [f"{k} is {v}, not {first[k]}" for k, v in properties.items() if v != first[k]]
        if different:
            raise ConfigError(f"{path} cannot be in one dataset with {files[0].name}: {', '.join(different)}.")
        yield info, rate, episode


def main(argv: Sequence[str]) -> int:
    """Write the dataset and print a summary."""
    options = parser().parse_args(list(argv))
    from vla_ros.data.lerobot.episodes import save_demos  # imported late, so that --help works without pyarrow

    files = find_demonstrations(options.demos)
    info, fps, _ = next(read_demonstrations(files[:1], options.fps))
    count = 0

    def episodes() -> Iterator[Episode]:
        nonlocal count
        for _, _, episode in read_demonstrations(files, fps):
            yield episode
            count += len(episode)
            progress.update()

    try:
        with tqdm(total=len(files), desc="write", unit="episode", delay=0.5) as progress:
            save_demos(options.dataset, info, episodes(), fps, options.video)
    except OSError as error:  # from writing; errors of reading are ConfigErrors
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(f"{options.dataset} cannot be written: {reason}.") from None
    size = sum(file.stat().st_size for file in options.dataset.rglob("*") if file.is_file())
    print(f"{options.dataset}: {len(files)} episodes, {count} frames, {fps} per second, {size / 1e6:.1f} MB")
    print(f"train on it: ./vla train data={options.dataset}")
    return 0
