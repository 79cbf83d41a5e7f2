"""Run in an environment with LeRobot: reads OURS, writes THEIRS, and stores everything it read in OUT.

python real_lerobot.py OURS VIDEO EXPORTED THEIRS OUT.npz       VIDEO: written by this package with video, or "none"
                                                                EXPORTED: written by `./vla export`
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import av
import numpy as np

with contextlib.suppress(ModuleNotFoundError):
    import tvshim  # noqa: F401  (lets torchvision import beside a CPU build of torch)

from lerobot.datasets.dataset_tools import delete_episodes
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features

ours, video, exported, theirs, out = sys.argv[1:]

data = LeRobotDataset("local/ours", root=ours, delta_timestamps={"action": [0.0, 0.1]})
result: dict[str, Any] = {
    "episodes": data.num_episodes,
    "frames": data.num_frames,
    "fps": data.fps,
    "robot": data.meta.robot_type,
    "features": sorted(dataset_to_policy_features(data.features)),
    "mean": data.meta.stats["observation.state"]["mean"],
    "front_mean": data.meta.stats["observation.images.front"]["mean"],
    "starts": [int(row["dataset_from_index"]) for row in data.meta.episodes],
}
items = [data[k] for k in range(len(data))]
result["tasks"] = [item["task"] for item in items]
for name in ("observation.state", "action", "action_is_pad", "labels", "ground_truth", "timestamp", "episode_index"):
    result[name] = np.stack([item[name].numpy() for item in items])
for name in ("front", "wrist"):
    images = np.stack([item[f"observation.images.{name}"].numpy() for item in items])
    result[name] = np.round(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)
part = LeRobotDataset("local/ours", root=ours, episodes=[1])
result["part"] = np.stack([part[k]["observation.state"].numpy() for k in range(len(part))])

made = LeRobotDataset("local/exported", root=exported)
items = [made[k] for k in range(len(made))]
result["exported.fps"], result["exported.task"] = made.fps, [item["task"] for item in items]
for name in ("observation.state", "action", "episode_index", "timestamp"):
    result[f"exported.{name}"] = np.stack([item[name].numpy() for item in items])
for name in ("front", "wrist"):
    images = np.stack([item[f"observation.images.{name}"].numpy() for item in items])
    result[f"exported.{name}"] = np.round(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)
# LeRobot computes the statistics of the rest from those of its episodes.
rest = delete_episodes(made, [0], output_dir=theirs + "_rest", repo_id="local/rest")
result["rest.state"] = np.stack([rest[k]["observation.state"].numpy() for k in range(len(rest))])
for name in ("mean", "std", "count"):
    result[f"rest.{name}"] = rest.meta.stats["observation.state"][name]
result["rest.front"] = rest.meta.stats["observation.images.front"]["mean"]

if video != "none":
    # Decoded here by PyAV: not every build has the decoders of LeRobot, torchcodec and a part of torchvision.
    moving = LeRobotDataset("local/video", root=video)
    video_frames = []
    for row in moving.meta.episodes:
        start = row["videos/observation.images.front/from_timestamp"]
        path = moving.meta.get_video_file_path(row["episode_index"], "observation.images.front")
        with av.open(str(moving.root / path)) as container:
            decoded = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        for k in range(row["length"]):
            nearest = min(decoded, key=lambda item: abs(item[0] - (start + k / moving.fps)))
            assert abs(nearest[0] - (start + k / moving.fps)) < moving.tolerance_s
            video_frames.append(nearest[1])
    result["video"] = np.stack(video_frames)
    theirs_video = LeRobotDataset.create(
        "local/theirs_video",
        fps=10,
        features={
            "action": moving.features["action"],
            "observation.images.front": moving.features["observation.images.front"],
        },
        root=theirs + "_video",
        robot_type="r",
        use_videos=True,
    )
    for length in (4, 6):
        for k in range(length):
            image = np.full((64, 64, 3), 30, dtype=np.uint8)
            image[:, 8 * k : 8 * k + 16] = 220
            action = np.zeros(6, dtype=np.float32)
            theirs_video.add_frame({"action": action, "observation.images.front": image, "task": "video"})
        theirs_video.save_episode()
    theirs_video.finalize()

features = {
    "observation.state": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
    "next.done": {"dtype": "bool", "shape": (1,), "names": None},
    "observation.images.front": {"dtype": "image", "shape": (16, 16, 3), "names": ["height", "width", "channels"]},
}
written = LeRobotDataset.create(
    "local/theirs", fps=10, features=features, root=theirs, robot_type="r", use_videos=False
)
for episode, length in enumerate((3, 5)):
    for k in range(length):
        frame = {
            "observation.state": np.array([episode, k], dtype=np.float32),
            "action": np.array([k, 0.5], dtype=np.float32),
            "next.done": np.array([k == length - 1]),
            "observation.images.front": np.full((16, 16, 3), (10 * k, episode, 200), dtype=np.uint8),
            "task": f"task {episode}",
        }
        written.add_frame(frame)
    written.save_episode()
written.finalize()
np.savez(out, **result)
