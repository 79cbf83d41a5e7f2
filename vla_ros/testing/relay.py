"""A bad network between policy and planner: drops, delays and thereby reorders chunks. Seeded.

python -m bench._chaos DROP LATE LATEST_MS SEED
"""

from __future__ import annotations

import contextlib
import random
import sys
import time

import rclpy
from rclpy.executors import ExternalShutdownException
from trajectory_msgs.msg import JointTrajectory

RAW = "vla/chunk_raw"


def main() -> None:
    """Pass chunks on from RAW to the chunk topic: some never, some late, the others at once."""
    drop, late, latest_ms = (float(x) for x in sys.argv[1:4])
    chance = random.Random(int(sys.argv[4]))
    rclpy.init()
    node = rclpy.create_node("chaos")
    waiting: list[tuple[float, JointTrajectory]] = []
    publisher = node.create_publisher(JointTrajectory, "vla/chunk", 10)

    def on_chunk(message: JointTrajectory) -> None:
        if chance.random() < drop:
            return
        delay = chance.uniform(0.0, latest_ms / 1e3) if chance.random() < late else 0.0
        waiting.append((time.monotonic() + delay, message))

    def pass_on() -> None:
        now = time.monotonic()
        for item in [w for w in waiting if w[0] <= now]:
            waiting.remove(item)
            publisher.publish(item[1])

    node.create_subscription(JointTrajectory, RAW, on_chunk, 10)
    node.create_timer(0.005, pass_on)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
