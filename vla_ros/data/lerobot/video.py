"""Video features of LeRobot datasets, read by time and written one file per episode, with PyAV.

A frame has the time `from_timestamp + frame_index/fps` of the file that `meta/episodes` names (LeRobot's rule).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla_ros.core.errors import ConfigError

Bytes = npt.NDArray[np.uint8]
PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_OPTIONS = {"crf": "18", "preset": "veryfast"}


def _av() -> Any:
    try:
        import av
    except ModuleNotFoundError:
        raise ConfigError('videos of LeRobot datasets need PyAV: pip install "vla_ros[video]".') from None
    return av


def read_video(path: Path, start_s: float, count: int, fps: float) -> Bytes:
    """Read `count` frames from `start_s` on, shape (count, H, W, 3), RGB.

    Raises:
        ConfigError: PyAV is not installed, the file is damaged, or a frame is missing.
    """
    av = _av()
    frames: list[Bytes] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # Seek to the key frame at or before the first frame; the frames between are decoded and dropped.
            container.seek(max(0, int((start_s - 0.5 / fps) / stream.time_base)), stream=stream)
            for frame in container.decode(stream):
                due = start_s + len(frames) / fps
                if frame.time >= due - 0.5 / fps:
                    if abs(frame.time - due) > 0.5 / fps:
                        raise ConfigError(f"{path} has no frame at {due:.3f} s; the next is at {frame.time:.3f} s.")
                    frames.append(frame.to_ndarray(format="rgb24"))
                    if len(frames) == count:
                        return np.stack(frames)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise ConfigError(f"{path} cannot be decoded ({str(error).splitlines()[0]}).") from None
    raise ConfigError(f"{path} ends {count - len(frames)} frames too early.")


def write_video(path: Path, images: Bytes, fps: int) -> None:
    """Write images, shape (T, H, W, 3), RGB, of even height and width, as lossy H.264; every second is a key frame.

    Raises:
        ConfigError: PyAV is not installed, or height or width is odd.
    """
    av = _av()
    height, width = images.shape[1:3]
    if height % 2 or width % 2:
        raise ConfigError(f"a video must have even height and width; got {height} x {width}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=fps, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = 2
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())


def locate(root: Path, key: str, episode: Mapping[str, Any], path: str) -> tuple[Path, float]:
    """The file that contains the feature `key` of an episode, and the time at which the episode starts in it [s].

    Args:
        root: Folder of the dataset.
        key: Name of the video feature.
        episode: Row of `meta/episodes`.
        path: Path template, `video_path` of `info.json`.
    """
    chunk, file = (int(episode[f"videos/{key}/{part}_index"]) for part in ("chunk", "file"))
    return root / path.format(video_key=key, chunk_index=chunk, file_index=file), float(
        episode[f"videos/{key}/from_timestamp"]
    )
