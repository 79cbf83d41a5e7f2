"""A running graph for the node tests: its processes, a client, and a reset that lets tests share it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vla_ros.api import Chunk
from vla_ros.config import config_dir, load_robot
from vla_ros.core.limit_monitor import check_limits
from vla_ros.nodes.common import conversions as convert
from vla_ros.nodes.common import topics
from vla_ros.sim.minimum_jerk import rest_to_rest
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import JOINTS, GraphClient

PARAMS = ("--ros-args", "--params-file", str(config_dir() / "vla.yaml"))
PATIENT = (*PARAMS, "-p", "joint_state_timeout_s:=1.0")
"""Parameters of a supervisor: on a busy machine a process may stall for some tenths of a second."""
SIMULATOR = (*PARAMS, "-p", "cameras:=false")
STANDARD = {"supervisor_node": PATIENT, "planner_node": PARAMS, "sim_node": SIMULATOR}
"""Supervisor, planner and simulator without cameras."""
LIMITS = load_robot("so101").limits


class Graph:
    """Nodes as processes and a client in one ROS domain."""

    def __init__(self, domain: int, folder: Path, nodes: Mapping[str, tuple[str, ...]] = STANDARD) -> None:
        """Nothing is started; `nodes` maps the modules of the graph to their arguments."""
        self.nodes = dict(nodes)
        self.processes, self.client = ProcessGroup(folder), GraphClient(domain)

    def start(self) -> None:
        """Start the nodes that are not running, and arm."""
        client, started = self.client, []
        for node, args in self.nodes.items():
            process = self.processes.running.get(node)
            if process is not None and process.poll() is None:
                continue
            if process is not None:
                self.processes.stop(node)
            if node == "supervisor_node":
                client.state, client.active_plan = {}, None
            self.processes.start(node, *args)
            started.append(node)
        if client.mode != "running":
            client.wait_until(lambda: client.mode not in ("", "stopping", "inactive"), "a supervisor at rest")
            # A simulator that was restarted is in another pose: only after a reset is the measured pose held.
            # The mode may be older than the last request of a test: a supervisor that is running refuses the reset.
            client.wait_until(
                lambda: client.mode in ("ready", "running") or client.call(topics.RESET).success, "a reset"
            )
        if client.mode != "running":
            client.active_plan = None
            client.arm()
        if started and "planner_node" in self.nodes:
            client.wait_for_planner()

    def reset(self) -> None:
        """Restore the state after `start`: all nodes running, armed, at rest; counters keep their values."""
        client = self.client
        if client.command_publisher is not None:
            client.node.destroy_publisher(client.command_publisher)
            client.command_publisher = None
        client.process_pending()
        self.start()
        client.wait_until(lambda: client.active_plan is not None and client.active_plan.points, "an active plan")
        client.wait_for_rest()
        client.clear()
        client.wait_until(lambda: client.commands, "commands")

    def stop(self) -> None:
        """End every process and leave the domain."""
        self.processes.stop_all()
        self.client.close()


def move_joint(client: GraphClient, joint: int = 0, angle_rad: float = 0.8) -> None:
    """Send a chunk of 1.5 s that moves one joint from the end of the active plan towards the middle of its range."""
    rest = client.active_plan_record().positions[-1].copy()
    angle_rad = angle_rad if rest[joint] <= 0.0 else -angle_rad
    segment = rest_to_rest(rest, rest + angle_rad * np.eye(6)[joint], 1.5)
    path = np.array([segment.at(k / 30) for k in range(1, 46)])
    chunk = Chunk.from_rate(client.now_ns(), JOINTS, path, 1 / 30)
    client.chunks.publish(convert.chunk_to_message(chunk))


def is_moving(client: GraphClient) -> bool:
    """Whether the newest command is faster than 0.3 rad/s, and not older than 0.2 s."""
    client.process_pending()
    if not client.commands or client.now_ns() - convert.to_ns(client.commands[-1].header.stamp) > 2 * 10**8:
        return False
    return max(map(abs, client.commands[-1].velocity)) > 0.3


def start_motion(client: GraphClient, joint: int = 0, angle_rad: float = 0.8) -> None:
    """Send chunks from the end of the active plan until the arm moves: on a busy machine a plan may come too late.

    If a starved simulator caused a stop, the arm is armed again; any other stop fails.
    """

    def stimulus() -> None:
        if client.active_plan is None or not client.active_plan.points:
            client.wait_until(lambda: client.mode != "stopping", "rest")
            assert client.mode == "running" or "no joint state" in client.state["reason"], client.state
            client.wait_for_full_speed()
            client.wait_until(lambda: client.active_plan is not None and client.active_plan.points, "an active plan")
        move_joint(client, joint, angle_rad)

    client.repeat_until(stimulus, lambda: is_moving(client), "motion", timeout_s=40.0)


def counter(client: GraphClient, name: str) -> int:
    """A counter of the supervisor, for example "refused.late"."""
    return int(client.state.get(name, "0"))


def assert_within_limits(client: GraphClient) -> None:
    report = check_limits(client.stamps(), client.positions(), LIMITS)
    assert report.samples > 100
    assert not any(report.violations.values()), report


def assert_at_rest(client: GraphClient) -> None:
    """No command from now on moves."""
    now = client.now_ns()
    client.wait(0.4)
    later = client.positions()[client.stamps() > now]
    if len(later):
        assert np.abs(later - later[-1]).max() == 0.0
