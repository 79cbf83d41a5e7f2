"""An episode's film: for the page, and as a GIF for a README.

python -m vla_ros.report.film <run folder> --out docs/img/demo.gif
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from vla_ros.report.logs import Logs, read_arrays, read_logs

Frames = npt.NDArray[np.uint8]
CAMERA_HZ = 20.0
HOLD_S = 1.2
"""How long the last picture stands before the film begins again [s]."""
GIF_BYTES = 1_500_000


def choose(logs: Logs) -> int | None:
    """Which filmed episode to show: the first that succeeded, else the first; None without films."""
    films = logs.films()
    succeeded = {e["episode"] for e in logs.episodes if e["success"]}
    return next((k for k in films if k in succeeded), films[0] if films else None)


def episode(logs: Logs, number: int | None) -> dict[str, Any] | None:
    """What is known of an episode."""
    return next((e for e in logs.episodes if e["episode"] == number), None)


def load(logs: Logs, number: int) -> tuple[Frames, float] | None:
    """An episode's frames, shape (n, H, W, 3), and how many of them make a second; None if unreadable."""
    try:
        frames = read_arrays(logs.folder / f"film_{number}.npz")["frames"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        return None
    known = episode(logs, number) or {}
    seconds = float(known.get("seconds", 0.0))
    return frames, (len(frames) / seconds if seconds > 0.0 else CAMERA_HZ)


def thin(frames: Frames, rate_hz: float, wanted_hz: float) -> tuple[Frames, list[int]]:
    """Fewer frames at the same pace, the last one always among them, and how long each stands [ms]."""
    count = max(1, round(len(frames) / rate_hz * wanted_hz))
    picked = np.unique(np.round(np.linspace(0, len(frames) - 1, min(count, len(frames)))).astype(int))
    durations = [max(20, round(1e3 * gap / rate_hz)) for gap in np.diff(picked)]
    return frames[picked], [*durations, round(1e3 * HOLD_S)]


def encode(frames: Frames, durations_ms: list[int]) -> tuple[bytes, str]:
    """An endless film and its file ending: WebP where Pillow has it, else GIF."""
    if not features.check("webp"):
        return gif(frames, durations_ms), "gif"
    first, *rest = [Image.fromarray(f) for f in frames]
    target = io.BytesIO()
    first.save(target, "WEBP", save_all=True, append_images=rest, duration=durations_ms, loop=0, quality=70, method=2)
    return target.getvalue(), "webp"


def still(frame: Frames) -> bytes:
    """One picture, as JPEG."""
    target = io.BytesIO()
    Image.fromarray(frame).save(target, "JPEG", quality=85)
    return target.getvalue()


def gif(frames: Frames, durations_ms: list[int], colours: int = 255, scale: float = 1.0) -> bytes:
    """An endless GIF whose pictures share one palette, so that what does not move does not flicker."""
    height, width = (round(scale * n) for n in frames.shape[1:3])
    pictures = [Image.fromarray(f).resize((width, height), Image.Resampling.LANCZOS) for f in frames]
    sample = pictures[:: max(1, len(pictures) // 8)][:8]
    sheet = Image.new("RGB", (width, height * len(sample)))
    for i, picture in enumerate(sample):
        sheet.paste(picture, (0, i * height))
    palette = sheet.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=3)  # a small red cube keeps its red
    first, *rest = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    target = io.BytesIO()
    first.save(target, "GIF", save_all=True, append_images=rest, duration=durations_ms, loop=0, optimize=True)
    return target.getvalue()


def small_gif(frames: Frames, rate_hz: float, most_bytes: int = GIF_BYTES) -> bytes:
    """The best GIF that fits: first fewer colours and pictures are tried, then smaller pictures."""
    made = b""
    for wanted_hz, colours, scale in (
        (10.0, 255, 1.0),
        (10.0, 128, 1.0),
        (8.0, 128, 1.0),
        (8.0, 64, 1.0),
        (8.0, 32, 0.85),
        (6.0, 32, 0.7),
        (5.0, 32, 0.5),
    ):
        made = gif(*thin(frames, rate_hz, wanted_hz), colours, scale)
        if len(made) <= most_bytes:
            break
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Write the GIF; exit status 1 where there is no film."""
    p = argparse.ArgumentParser("python -m vla_ros.report.film", description="A GIF of one episode of a run.")
    p.add_argument("folder", type=Path, help="what a run left")
    p.add_argument("--out", type=Path, required=True, help="the GIF to write")
    p.add_argument("--episode", type=int, default=None, help="its number (default: the first that succeeded)")
    options = p.parse_args(argv)
    logs = read_logs(options.folder)
    number = choose(logs) if options.episode is None else options.episode
    film = None if number is None else load(logs, number)
    if film is None:
        print(f"{options.folder} has no film of {'any episode' if number is None else f'episode {number}'}.")
        return 1
    made = small_gif(*film)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(made)
    print(f"{options.out}: episode {number}, {len(made) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
