"""Turns the camera images of one episode into an animation: WebP for the report page, GIF for a README.

python -m vla_ros.report.animation <run folder> --out docs/img/demo.gif
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
"""Frame rate that is assumed for a video whose duration is unknown [Hz]."""
LAST_FRAME_S = 1.2
"""Display time of the last frame before the animation repeats [s]."""
GIF_BYTES = 1_500_000
"""Default maximum size of a GIF."""


def select_episode(logs: Logs) -> int | None:
    """Number of the episode to show: the first success that has a video, else the first video; None without videos."""
    videos = logs.videos()
    succeeded = {e["episode"] for e in logs.episodes if e["success"]}
    return next((k for k in videos if k in succeeded), videos[0] if videos else None)


def find_episode(logs: Logs, number: int | None) -> dict[str, Any] | None:
    """The logged result of an episode; None if there is none."""
    return next((e for e in logs.episodes if e["episode"] == number), None)


def load_frames(logs: Logs, number: int) -> tuple[Frames, float] | None:
    """Read the video of an episode.

    Returns:
        RGB frames, shape (n, H, W, 3), and their rate [Hz]; None if the file is missing or not valid.
    """
    try:
        frames = read_arrays(logs.folder / f"video_{number}.npz")["frames"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        return None
    result = find_episode(logs, number) or {}
    seconds = float(result.get("seconds", 0.0))
    return frames, (len(frames) / seconds if seconds > 0.0 else CAMERA_HZ)


def subsample(frames: Frames, rate_hz: float, target_hz: float) -> tuple[Frames, list[int]]:
    """Reduce the frame rate without changing the speed of the motion; the last frame is always kept.

    Args:
        frames: Shape (n, H, W, 3).
        rate_hz: Their rate [Hz].
        target_hz: Rate after the reduction [Hz].

    Returns:
        The frames kept, and the display time of each [ms].
    """
    count = max(1, round(len(frames) / rate_hz * target_hz))
    kept = np.unique(np.round(np.linspace(0, len(frames) - 1, min(count, len(frames)))).astype(int))
    durations = [max(20, round(1e3 * gap / rate_hz)) for gap in np.diff(kept)]
    return frames[kept], [*durations, round(1e3 * LAST_FRAME_S)]


def encode(frames: Frames, durations_ms: list[int]) -> tuple[bytes, str]:
    """Encode a repeating animation; return it and its file extension: "webp" if Pillow supports it, else "gif"."""
    if not features.check("webp"):
        return encode_gif(frames, durations_ms), "gif"
    first, *rest = [Image.fromarray(f) for f in frames]
    target = io.BytesIO()
    first.save(target, "WEBP", save_all=True, append_images=rest, duration=durations_ms, loop=0, quality=70, method=2)
    return target.getvalue(), "webp"


def encode_jpeg(frame: Frames) -> bytes:
    """Encode one RGB frame, shape (H, W, 3), as JPEG."""
    target = io.BytesIO()
    Image.fromarray(frame).save(target, "JPEG", quality=85)
    return target.getvalue()


def encode_gif(frames: Frames, durations_ms: list[int], colours: int = 255, scale: float = 1.0) -> bytes:
    """Encode a repeating GIF. All frames share one palette, so that static regions do not flicker.

    Args:
        frames: RGB, shape (n, H, W, 3).
        durations_ms: Display time of each frame [ms].
        colours: Size of the palette.
        scale: Factor on width and height.
    """
    height, width = (round(scale * n) for n in frames.shape[1:3])
    images = [Image.fromarray(f).resize((width, height), Image.Resampling.LANCZOS) for f in frames]
    sample = images[:: max(1, len(images) // 8)][:8]
    sheet = Image.new("RGB", (width, height * len(sample)))
    for i, image in enumerate(sample):
        sheet.paste(image, (0, i * height))
    palette = sheet.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=3)  # keeps the colour of small objects
    first, *rest = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in images]
    target = io.BytesIO()
    first.save(target, "GIF", save_all=True, append_images=rest, duration=durations_ms, loop=0, optimize=True)
    return target.getvalue()


def encode_small_gif(frames: Frames, rate_hz: float, max_bytes: int = GIF_BYTES) -> bytes:
    """Encode a GIF of at most `max_bytes`: first with fewer colours and frames, then with smaller images.

    If even the smallest setting is too large, that one is returned.
    """
    data = b""
    for target_hz, colours, scale in (
        (10.0, 255, 1.0),
        (10.0, 128, 1.0),
        (8.0, 128, 1.0),
        (8.0, 64, 1.0),
        (8.0, 32, 0.85),
        (6.0, 32, 0.7),
        (5.0, 32, 0.5),
    ):
        data = encode_gif(*subsample(frames, rate_hz, target_hz), colours, scale)
        if len(data) <= max_bytes:
            break
    return data


def main(argv: Sequence[str] | None = None) -> int:
    """Write the GIF; exit status 1 if the run has no video."""
    p = argparse.ArgumentParser("python -m vla_ros.report.animation", description="Write a GIF of one episode.")
    p.add_argument("folder", type=Path, help="folder of the run")
    p.add_argument("--out", type=Path, required=True, help="file to write")
    p.add_argument("--episode", type=int, default=None, help="episode number (default: the first that succeeded)")
    options = p.parse_args(argv)
    logs = read_logs(options.folder)
    number = select_episode(logs) if options.episode is None else options.episode
    video = None if number is None else load_frames(logs, number)
    if video is None:
        print(f"{options.folder} has no video of {'any episode' if number is None else f'episode {number}'}.")
        return 1
    data = encode_small_gif(*video)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(data)
    print(f"{options.out}: episode {number}, {len(data) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
