"""The security policy covers the topics of every node, and a node never starts without requested security."""

import subprocess
import sys
from pathlib import Path

import pytest
from nodes.graph import PARAMS, PATIENT, SIMULATOR

from vla_ros.config import config_dir
from vla_ros.security.keystore import create_keystore
from vla_ros.security.permissions import parse_policy
from vla_ros.system.processes import ProcessGroup
from vla_ros.testing.graph_client import GraphClient

pytestmark = pytest.mark.graph
POLICY = (config_dir() / "security" / "policy.xml").read_text(encoding="utf-8")
NODES = {
    "supervisor": ("/supervisor", PATIENT),
    "planner": ("/planner", PARAMS),
    "sim": ("/robot", SIMULATOR),
    "camera_monitor": ("/camera_monitor", (*PARAMS, "-p", "cameras:=[front, wrist]")),
    "policy": ("/policy", (*PARAMS, "-p", "policy:=hold")),
    "observer": ("/observer", PARAMS),
}


def used_topics(client: GraphClient, node: str) -> set[tuple[str, str]]:
    """Every action and DDS topic of a running node."""
    found, ros_node = set(), client.node
    for name, _ in ros_node.get_publisher_names_and_types_by_node(node, "/"):
        found.add(("publish", f"rt{name}"))
    for name, _ in ros_node.get_subscriber_names_and_types_by_node(node, "/"):
        found.add(("subscribe", f"rt{name}"))
    for name, _ in ros_node.get_service_names_and_types_by_node(node, "/"):
        found |= {("subscribe", f"rq{name}Request"), ("publish", f"rr{name}Reply")}
    for name, _ in ros_node.get_client_names_and_types_by_node(node, "/"):
        found |= {("publish", f"rq{name}Request"), ("subscribe", f"rr{name}Reply")}
    return found


def test_the_policy_allows_every_topic_of_each_node(processes: ProcessGroup, client: GraphClient):
    enclaves = {enclave.path: enclave for enclave in parse_policy(POLICY)}
    for node, (_, args) in NODES.items():
        processes.start(f"{node}_node", *args)
    client.wait_until(lambda: set(NODES) <= set(client.node.get_node_names()), "every node")
    command = ("publish", "rt/forward_position_controller/commands")
    client.wait_until(lambda: command in used_topics(client, "supervisor"), "discovery of the supervisor's topics")
    client.wait(2.0)
    for node, (path, _) in NODES.items():
        used = used_topics(client, node)
        assert len(used) > 2, node
        assert not [action for action in used if not enclaves[path].permits(*action)], node


def test_a_node_needs_the_enforced_security(ros_domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without security in the middleware the node does not start; with it, a client without a key receives nothing."""
    create_keystore(tmp_path / "keys", parse_policy(POLICY))
    client = GraphClient(ros_domain)
    settings = {"KEYSTORE": str(tmp_path / "keys"), "ENABLE": "true", "STRATEGY": "Enforce"}
    for name, value in settings.items():
        monkeypatch.setenv(f"ROS_SECURITY_{name}", value)
    command = [sys.executable, "-m", "vla_ros.nodes.supervisor_node", *PARAMS, "--enclave", "/supervisor"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        try:
            errors = process.communicate(timeout=30.0)[1]
            assert process.returncode == 2, errors
            assert "security" in errors
            assert errors.strip().splitlines()[-1].startswith("supervisor: ")
        except subprocess.TimeoutExpired:
            client.wait(3.0)
            assert not client.state
    finally:
        process.kill()
        process.wait()
        client.close()
