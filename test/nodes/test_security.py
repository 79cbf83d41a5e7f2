"""The policy fits what real nodes say and hear, and security that is asked for is never silently absent."""

import subprocess
import sys
from pathlib import Path

import pytest
from nodes.conftest import PARAMS, PATIENT

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
    "sim": ("/robot", (*PARAMS, "-p", "cameras:=false")),
    "cameras": ("/cameras", (*PARAMS, "-p", "cameras:=[front, wrist]")),
    "policy": ("/policy", (*PARAMS, "-p", "policy:=hold")),
    "observer": ("/observer", PARAMS),
}


def used(listener: GraphClient, node: str) -> set[tuple[str, str]]:
    """Every action and DDS topic of a node that runs."""
    found, asked = set(), listener.node
    for name, _ in asked.get_publisher_names_and_types_by_node(node, "/"):
        found.add(("publish", f"rt{name}"))
    for name, _ in asked.get_subscriber_names_and_types_by_node(node, "/"):
        found.add(("subscribe", f"rt{name}"))
    for name, _ in asked.get_service_names_and_types_by_node(node, "/"):
        found |= {("subscribe", f"rq{name}Request"), ("publish", f"rr{name}Reply")}
    for name, _ in asked.get_client_names_and_types_by_node(node, "/"):
        found |= {("publish", f"rq{name}Request"), ("subscribe", f"rr{name}Reply")}
    return found


def test_each_node_may_do_all_it_does(processes: ProcessGroup, listener: GraphClient):
    enclaves = {enclave.path: enclave for enclave in parse_policy(POLICY)}
    for node, (_, args) in NODES.items():
        processes.start(f"{node}_node", *args)
    listener.wait_until(lambda: set(NODES) <= set(listener.node.get_node_names()), "every node")
    told = ("publish", "rt/forward_position_controller/commands")
    listener.wait_until(lambda: told in used(listener, "supervisor"), "word of what the supervisor says")
    listener.wait(2.0)
    for node, (path, _) in NODES.items():
        seen = used(listener, node)
        assert len(seen) > 2, node
        assert not [act for act in seen if not enclaves[path].permits(*act)], node


def test_enforced_security_is_never_silently_absent(ros_domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A middleware without security refuses to start; one with it is not heard by whoever has no key."""
    create_keystore(tmp_path / "keys", parse_policy(POLICY))
    listener = GraphClient(ros_domain)
    settings = {"KEYSTORE": str(tmp_path / "keys"), "ENABLE": "true", "STRATEGY": "Enforce"}
    for name, value in settings.items():
        monkeypatch.setenv(f"ROS_SECURITY_{name}", value)
    command = [sys.executable, "-m", "vla_ros.nodes.supervisor_node", *PARAMS, "--enclave", "/supervisor"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        try:
            said = process.communicate(timeout=30.0)[1]
            assert process.returncode == 2, said
            assert "security" in said
            assert said.strip().splitlines()[-1].startswith("supervisor: ")
        except subprocess.TimeoutExpired:
            listener.wait(3.0)
            assert not listener.state
    finally:
        process.kill()
        process.wait()
        listener.close()
