"""A relay node between policy and planner that drops, delays and thereby reorders chunks at random, with a seed.

    python -m vla_ros.testing.relay DROP_PROBABILITY DELAY_PROBABILITY MAX_DELAY_MS SEED

The policy must publish on `vla/chunk_raw` (remapped from `vla/chunk`).
"""

from __future__ import annotations

import contextlib
import random
import sys
import time

import rclpy
from rclpy.executors import ExternalShutdownException
from trajectory_msgs.msg import JointTrajectory

from vla_ros.nodes.common import topics

RAW_CHUNK = "vla/chunk_raw"


def main() -> None:
    """Forward chunks from `RAW_CHUNK` to the chunk topic, each dropped, delayed or immediate."""
    drop_probability, delay_probability, max_delay_ms = (float(x) for x in sys.argv[1:4])
    rng = random.Random(int(sys.argv[4]))
    rclpy.init()
    node = rclpy.create_node("relay")
    pending: list[tuple[float, JointTrajectory]] = []
    publisher = node.create_publisher(JointTrajectory, topics.CHUNK, 10)

    def on_chunk(message: JointTrajectory) -> None:
        if rng.random() < drop_probability:
            return
        delay_s = rng.uniform(0.0, max_delay_ms / 1e3) if rng.random() < delay_probability else 0.0
        pending.append((time.monotonic() + delay_s, message))

    def publish_due() -> None:
        now = time.monotonic()
        for item in [p for p in pending if p[0] <= now]:
            pending.remove(item)
            publisher.publish(item[1])

    node.create_subscription(JointTrajectory, RAW_CHUNK, on_chunk, 10)
    node.create_timer(0.005, publish_due)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
