"""Tests of the DDS-Security documents: the shipped policy, the generated permissions, and rejected policies."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from vla_ros.config import config_dir
from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.nodes.common import topics
from vla_ros.security.permissions import COMMAND_TOPIC, DOMAINS, governance, parse_policy, permissions

POLICY = (config_dir() / "security" / "policy.xml").read_text(encoding="utf-8")
COMMANDS = f"rt/{COMMAND_TOPIC}"
ENCLAVES = {enclave.path: enclave for enclave in parse_policy(POLICY)}
SMALL = """<policy version="0.2.0"><enclaves>
<enclave path="/supervisor"><profiles><profile ns="/" node="supervisor">
<topics publish="ALLOW"><topic>forward_position_controller/commands</topic></topics></profile></profiles></enclave>
<enclave path="/other"><profiles><profile ns="/a" node="b">{}</profile></profiles></enclave>
</enclaves></policy>"""


def other(content: str) -> dict:
    return {enclave.path: enclave for enclave in parse_policy(SMALL.format(content))}


def test_the_command_topic_is_that_of_the_node() -> None:
    assert topics.ROBOT_COMMAND == COMMAND_TOPIC


def test_only_the_supervisor_may_publish_to_the_robot() -> None:
    assert [path for path, enclave in ENCLAVES.items() if enclave.permits("publish", COMMANDS)] == ["/supervisor"]
    assert ENCLAVES["/robot"].permits("subscribe", COMMANDS)


@pytest.mark.parametrize(
    ("topic", "publisher"),
    [(topics.PLAN, "/planner"), (topics.JOINT_STATES, "/robot"), (topics.IMAGE_STAMPS, "/camera_monitor"),
     (topics.ESTOP_INPUT, "/operator"), (topics.STATE, "/supervisor"), (topics.ACTIVE_PLAN, "/supervisor")],
)  # fmt: skip
def test_each_input_of_the_supervisor_has_one_publisher(topic: str, publisher: str) -> None:
    assert [path for path, enclave in ENCLAVES.items() if enclave.permits("publish", f"rt/{topic}")] == [publisher]


@pytest.mark.parametrize("service", [topics.ARM, topics.RESET, "supervisor/set_parameters"])
def test_only_an_operator_may_call_a_service(service: str) -> None:
    clients = [path for path, enclave in ENCLAVES.items() if enclave.permits("publish", f"rq/{service}Request")]
    servers = [path for path, enclave in ENCLAVES.items() if enclave.permits("publish", f"rr/{service}Reply")]
    assert (clients, servers) == (["/operator"], ["/supervisor"])


@pytest.mark.parametrize(
    "topic",
    ["/forward_position_controller/commands", "/*", "/forward_*", "/f*/c*", "/forward_position_controller/command?"],
)
def test_a_policy_that_lets_another_enclave_command_the_robot_is_rejected(topic: str) -> None:
    with pytest.raises(ConfigError, match="/supervisor, /other"):
        other(f'<topics publish="ALLOW"><topic>{topic}</topic></topics>')


def test_deny_rules_take_precedence() -> None:
    deny = f'<topics publish="DENY"><topic>/{COMMAND_TOPIC}</topic></topics>'
    found = other(f'<topics publish="ALLOW"><topic>/*</topic></topics>{deny}')["/other"]
    assert found.permits("publish", "rt/anything")
    assert not found.permits("publish", COMMANDS)


def test_names_are_resolved_in_their_namespace() -> None:
    found = other('<topics publish="ALLOW"><topic>x</topic><topic>~/y</topic><topic>/z</topic></topics>')["/other"]
    assert {"rt/a/x", "rt/a/b/y", "rt/z"} <= set(found.allow["publish"])
    assert not found.permits("subscribe", "rt/z")


def test_a_service_is_a_request_topic_and_a_reply_topic() -> None:
    client = other('<services request="ALLOW"><service>/s</service></services>')["/other"]
    assert client.permits("publish", "rq/sRequest")
    assert client.permits("subscribe", "rr/sReply")
    assert not client.permits("publish", "rr/sReply")
    server = other('<services reply="ALLOW"><service>/s</service></services>')["/other"]
    assert server.permits("publish", "rr/sReply")
    assert server.permits("subscribe", "rq/sRequest")
    assert not server.permits("publish", "rq/sRequest")


def test_another_command_topic_replaces_the_default() -> None:
    enclaves = {e.path: e for e in parse_policy(POLICY, "arm/commands")}
    assert [p for p, e in enclaves.items() if e.permits("publish", "rt/arm/commands")] == ["/supervisor"]
    assert not any(e.permits("publish", COMMANDS) for e in enclaves.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not XML"),
        ("<policy/>", "version"),
        ('<policy version="0.1.0"><enclaves><enclave path="/supervisor"/></enclaves></policy>', "version"),
        (SMALL.format("").replace("/other", "/supervisor"), "twice"),
        (SMALL.format("").replace("/other", "../up"), "path like"),
        (SMALL.format('<topics publish="PERHAPS"><topic>x</topic></topics>'), "ALLOW or DENY"),
        (SMALL.format('<topics publsh="ALLOW"><topic>x</topic></topics>'), 'did you mean "publish"'),
        (SMALL.format('<topic publish="ALLOW"><topic>x</topic></topic>'), 'did you mean "topics"'),
        (SMALL.format('<topics publish="ALLOW"><topic>x&lt;y</topic></topics>'), "not a name"),
        (SMALL.format('<topics publish="ALLOW"><topic/></topics>'), "not a name"),
        (SMALL.format("").replace("commands", "states"), "lets no enclave publish"),
    ],
)
def test_an_invalid_policy_is_rejected_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(VlaError, match=message):
        parse_policy(text)


def test_governance_requires_authentication_and_access_control_on_every_topic() -> None:
    rule = ET.fromstring(governance().encode()).find("domain_access_rules/domain_rule")
    assert rule is not None
    assert rule.findtext("allow_unauthenticated_participants") == "false"
    assert rule.findtext("enable_join_access_control") == "true"
    assert rule.findtext("topic_access_rules/topic_rule/topic_expression") == "*"
    for access in ("read", "write"):
        assert rule.findtext(f"topic_access_rules/topic_rule/enable_{access}_access_control") == "true"
    ends = tuple(int(rule.findtext(f"domains/id_range/{end}") or -1) for end in ("min", "max"))
    assert ends == DOMAINS


def test_permissions_list_the_allowed_topics_and_deny_the_rest() -> None:
    grant = ET.fromstring(permissions(ENCLAVES["/planner"], "2026-01-01T00:00:00", "2036-01-01T00:00:00").encode())
    grant = grant.find("permissions/grant")
    assert grant is not None
    assert [child.tag for child in grant] == ["subject_name", "validity", "allow_rule", "default"]
    assert grant.findtext("subject_name") == "CN=/planner"
    assert grant.findtext("default") == "DENY"
    published = [topic.text for topic in grant.findall("allow_rule/publish/topics/topic")]
    assert tuple(published) == ENCLAVES["/planner"].allow["publish"]
    assert "rt/vla/plan" in published
    subscribed = [topic.text for topic in grant.findall("allow_rule/subscribe/topics/topic")]
    assert tuple(subscribed) == ENCLAVES["/planner"].allow["subscribe"]
