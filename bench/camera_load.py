"""Load of camera images on a 500 Hz loop that receives them itself, instead of only their stamps.

Another process publishes two cameras at 30 Hz. "take" is the time to take one message, "late" the wake latency of the
loop; both are compared with a loop that takes no image. Times are reported only: none is required.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np

from bench.common.table import options, show
from vla_ros.system.graph import isolated_domain

SIZES = ((224, 224), (480, 640))
MODES = ("none", "raw", "decoded")
"""No image is taken; the serialised message; the message."""
PUBLISHER = """
import sys, time
import numpy as np, rclpy
from sensor_msgs.msg import Image
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import image_to_message
height, width, seconds = map(float, sys.argv[1:])
rclpy.init()
node = rclpy.create_node("publisher")
pubs = [node.create_publisher(Image, topics.CAMERA.format(c), topics.IMAGE) for c in ("front", "wrist")]
image = np.random.default_rng(0).integers(0, 255, (int(height), int(width), 3), dtype=np.uint8)
begun = now = time.monotonic()
while now < begun + seconds:
    for pub in pubs:
        pub.publish(image_to_message(time.time_ns(), "", image))
    time.sleep(1 / 30)
    now = time.monotonic()
"""
SUBSCRIBER = """
import os, sys, time, json
from vla_ros.nodes.common.middleware import without_shared_memory
os.environ.update(without_shared_memory(os.environ))
import rclpy
from sensor_msgs.msg import Image
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.node_loop import set_realtime
mode, seconds = sys.argv[1], float(sys.argv[2])
rclpy.init()
node = rclpy.create_node("subscriber", start_parameter_services=False)
names = [] if mode == "none" else [topics.CAMERA.format(c) for c in ("front", "wrist")]
subs = [node.create_subscription(Image, name, lambda m: None, topics.IMAGE) for name in names]
set_realtime(50)
takes, late, period = [], [], 2_000_000
end, deadline = time.monotonic() + seconds, time.monotonic_ns() + period
while time.monotonic() < end:
    time.sleep(max(0, deadline - time.monotonic_ns()) / 1e9)
    late.append(time.monotonic_ns() - deadline)
    deadline += period * max(1, 1 + late[-1] // period)
    for sub in subs:
        begun = time.monotonic_ns()
        if sub.handle.take_message(Image, mode == "raw") is not None:
            takes.append(time.monotonic_ns() - begun)
json.dump([takes, late], sys.stdout)
"""


def measure(size: tuple[int, int], mode: str, seconds: float, env: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Times of every take (n,) and latencies of every wake-up (m,) [ms]."""
    environment = {**os.environ, **env}
    publisher = subprocess.Popen([sys.executable, "-c", PUBLISHER, *map(str, size), str(seconds + 4)], env=environment)
    try:
        time.sleep(2.0)
        command = [sys.executable, "-c", SUBSCRIBER, mode, str(seconds)]
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    finally:
        publisher.wait()
    takes, late = (np.array(values or [0]) / 1e6 for values in json.loads(output))
    return takes, late


def main() -> int:
    """Measure and print the table."""
    given = options(__doc__ or "", None)
    rows = []
    with isolated_domain() as env:
        for size in SIZES:
            for mode in MODES:
                takes, late = measure(size, mode, 1.0 if given.quick else 8.0, env)
                figures = (np.median(takes), np.percentile(takes, 99), np.percentile(late, 99))
                rows.append([f"{size[1]} x {size[0]}, {mode}", str(len(takes)), *(f"{f:.2f}" for f in figures)])
    show("images in a 500 Hz loop", ["taken", "count", "take p50 ms", "take p99 ms", "late p99 ms"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
