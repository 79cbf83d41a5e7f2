"""Who may say what: the policy that comes with the package, what is made of it, and what is refused."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from vla_ros.config import config_dir
from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.nodes.common import topics
from vla_ros.security.permissions import COMMAND_TOPIC, DOMAINS, governance, permissions, read_policy

POLICY = (config_dir() / "security" / "policy.xml").read_text(encoding="utf-8")
COMMANDS = f"rt/{COMMAND_TOPIC}"
ENCLAVES = {enclave.path: enclave for enclave in read_policy(POLICY)}
SMALL = """<policy version="0.2.0"><enclaves>
<enclave path="/supervisor"><profiles><profile ns="/" node="supervisor">
<topics publish="ALLOW"><topic>forward_position_controller/commands</topic></topics></profile></profiles></enclave>
<enclave path="/other"><profiles><profile ns="/a" node="b">{}</profile></profiles></enclave>
</enclaves></policy>"""


def other(content: str) -> dict:
    return {enclave.path: enclave for enclave in read_policy(SMALL.format(content))}


def test_the_robots_topic_is_the_one_the_node_speaks_on() -> None:
    assert topics.ROBOT_COMMAND == COMMAND_TOPIC


def test_only_the_supervisor_may_publish_to_the_robot() -> None:
    assert [path for path, enclave in ENCLAVES.items() if enclave.may("publish", COMMANDS)] == ["/supervisor"]
    assert ENCLAVES["/robot"].may("subscribe", COMMANDS)


@pytest.mark.parametrize(
    ("topic", "speaker"),
    [(topics.PLAN, "/planner"), (topics.JOINT_STATES, "/robot"), (topics.IMAGE_STAMPS, "/camera_monitor"),
     (topics.ESTOP_INPUT, "/operator"), (topics.STATE, "/supervisor"), (topics.ACTIVE_PLAN, "/supervisor")],
)  # fmt: skip
def test_what_the_supervisor_relies_on_has_one_speaker(topic: str, speaker: str) -> None:
    assert [path for path, enclave in ENCLAVES.items() if enclave.may("publish", f"rt/{topic}")] == [speaker]


@pytest.mark.parametrize("service", [topics.ARM, topics.RESET, "supervisor/set_parameters"])
def test_only_an_operator_may_ask(service: str) -> None:
    asking = [path for path, enclave in ENCLAVES.items() if enclave.may("publish", f"rq/{service}Request")]
    answering = [path for path, enclave in ENCLAVES.items() if enclave.may("publish", f"rr/{service}Reply")]
    assert (asking, answering) == (["/operator"], ["/supervisor"])


@pytest.mark.parametrize(
    "topic",
    ["/forward_position_controller/commands", "/*", "/forward_*", "/f*/c*", "/forward_position_controller/command?"],
)
def test_a_policy_that_lets_another_command_the_robot_is_refused(topic: str) -> None:
    with pytest.raises(ConfigError, match="/supervisor, /other"):
        other(f'<topics publish="ALLOW"><topic>{topic}</topic></topics>')


def test_what_is_denied_stays_denied_whatever_else_is_allowed() -> None:
    deny = f'<topics publish="DENY"><topic>/{COMMAND_TOPIC}</topic></topics>'
    found = other(f'<topics publish="ALLOW"><topic>/*</topic></topics>{deny}')["/other"]
    assert found.may("publish", "rt/anything")
    assert not found.may("publish", COMMANDS)


def test_names_are_put_into_their_namespace() -> None:
    found = other('<topics publish="ALLOW"><topic>x</topic><topic>~/y</topic><topic>/z</topic></topics>')["/other"]
    assert {"rt/a/x", "rt/a/b/y", "rt/z"} <= set(found.allow["publish"])
    assert not found.may("subscribe", "rt/z")


def test_a_service_is_two_topics_one_each_way() -> None:
    asks = other('<services request="ALLOW"><service>/s</service></services>')["/other"]
    assert asks.may("publish", "rq/sRequest")
    assert asks.may("subscribe", "rr/sReply")
    assert not asks.may("publish", "rr/sReply")
    answers = other('<services reply="ALLOW"><service>/s</service></services>')["/other"]
    assert answers.may("publish", "rr/sReply")
    assert answers.may("subscribe", "rq/sRequest")
    assert not answers.may("publish", "rq/sRequest")


def test_another_robots_topic_takes_the_place_of_the_one_named() -> None:
    enclaves = {e.path: e for e in read_policy(POLICY, "arm/commands")}
    assert [p for p, e in enclaves.items() if e.may("publish", "rt/arm/commands")] == ["/supervisor"]
    assert not any(e.may("publish", COMMANDS) for e in enclaves.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not XML"),
        ("<policy/>", "version"),
        ('<policy version="0.1.0"><enclaves><enclave path="/supervisor"/></enclaves></policy>', "version"),
        (SMALL.format("").replace("/other", "/supervisor"), "twice"),
        (SMALL.format("").replace("/other", "../up"), "path like"),
        (SMALL.format('<topics publish="PERHAPS"><topic>x</topic></topics>'), "ALLOW or DENY"),
        (SMALL.format('<topics publsh="ALLOW"><topic>x</topic></topics>'), 'did you mean "publish"'),
        (SMALL.format('<topic publish="ALLOW"><topic>x</topic></topic>'), 'did you mean "topics"'),
        (SMALL.format('<topics publish="ALLOW"><topic>x&lt;y</topic></topics>'), "no name"),
        (SMALL.format('<topics publish="ALLOW"><topic/></topics>'), "no name"),
        (SMALL.format("").replace("commands", "states"), "lets nobody publish"),
    ],
)
def test_a_bad_policy_is_refused_with_a_reason(text: str, said: str) -> None:
    with pytest.raises(VlaError, match=said):
        read_policy(text)


def test_governance_lets_nobody_in_without_an_identity_and_checks_every_topic() -> None:
    rule = ET.fromstring(governance().encode()).find("domain_access_rules/domain_rule")
    assert rule is not None
    assert rule.findtext("allow_unauthenticated_participants") == "false"
    assert rule.findtext("enable_join_access_control") == "true"
    assert rule.findtext("topic_access_rules/topic_rule/topic_expression") == "*"
    for way in ("read", "write"):
        assert rule.findtext(f"topic_access_rules/topic_rule/enable_{way}_access_control") == "true"
    ends = tuple(int(rule.findtext(f"domains/id_range/{end}") or -1) for end in ("min", "max"))
    assert ends == DOMAINS


def test_permissions_say_what_the_enclave_may_and_deny_the_rest() -> None:
    grant = ET.fromstring(permissions(ENCLAVES["/planner"], "2026-01-01T00:00:00", "2036-01-01T00:00:00").encode())
    grant = grant.find("permissions/grant")
    assert grant is not None
    assert [child.tag for child in grant] == ["subject_name", "validity", "allow_rule", "default"]
    assert grant.findtext("subject_name") == "CN=/planner"
    assert grant.findtext("default") == "DENY"
    said = [topic.text for topic in grant.findall("allow_rule/publish/topics/topic")]
    assert tuple(said) == ENCLAVES["/planner"].allow["publish"]
    assert "rt/vla/plan" in said
    heard = [topic.text for topic in grant.findall("allow_rule/subscribe/topics/topic")]
    assert tuple(heard) == ENCLAVES["/planner"].allow["subscribe"]
