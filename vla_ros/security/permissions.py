"""Converts an SROS2 policy to DDS-Security documents. All functions map text to text; they use no files and no keys.

Formats: OMG DDS Security 1.1, 9.4.1.2 (governance) and 9.4.1.3 (permissions); SROS2 policy 0.2.0. DDS topic names are
those of ROS 2: prefix rt/ for topics, rq/ for service requests, rr/ for service replies.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vla_ros.core.errors import ConfigError, UnknownName

SUPERVISOR = "/supervisor"
COMMAND_TOPIC = "forward_position_controller/commands"
"""The robot's command topic in the policy of this package; a test checks that the node uses the same."""
DOMAINS = (0, 232)
"""First and last ROS domain id; the UDP ports of a higher one would exceed 65535 (RTPS 2.5, 9.6.2.3)."""
ACTIONS = ("publish", "subscribe")
SERVICE_SIDES = {"request": (("publish", "rq", "Request"), ("subscribe", "rr", "Reply"))}
SERVICE_SIDES["reply"] = (("subscribe", "rq", "Request"), ("publish", "rr", "Reply"))
EVERY_NODE = {
    "publish": ("ros_discovery_info", "rt/rosout", "rt/parameter_events"),
    "subscribe": ("ros_discovery_info", "rt/parameter_events", "rt/clock"),
}
TYPE_DESCRIPTION_TOPICS = {"publish": "rr{}/get_type_descriptionReply", "subscribe": "rq{}/get_type_descriptionRequest"}
"""DDS topics of the service through which a node describes its types."""
GOVERNANCE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:noNamespaceSchemaLocation="http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_governance.xsd">
  <domain_access_rules>
    <domain_rule>
      <domains><id_range><min>{low}</min><max>{high}</max></id_range></domains>
      <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
      <enable_join_access_control>true</enable_join_access_control>
      <discovery_protection_kind>ENCRYPT</discovery_protection_kind>
      <liveliness_protection_kind>ENCRYPT</liveliness_protection_kind>
      <rtps_protection_kind>SIGN</rtps_protection_kind>
      <topic_access_rules>
        <topic_rule>
          <topic_expression>*</topic_expression>
          <enable_discovery_protection>true</enable_discovery_protection>
          <enable_liveliness_protection>true</enable_liveliness_protection>
          <enable_read_access_control>true</enable_read_access_control>
          <enable_write_access_control>true</enable_write_access_control>
          <metadata_protection_kind>SIGN</metadata_protection_kind>
          <data_protection_kind>ENCRYPT</data_protection_kind>
        </topic_rule>
      </topic_access_rules>
    </domain_rule>
  </domain_access_rules>
</dds>
"""


@dataclass(frozen=True)
class Enclave:
    """An identity and its permissions, as DDS topic expressions with the wildcards * and ?.

    Attributes:
        path: Name, for example "/supervisor".
        allow: Permitted topics by action ("publish", "subscribe"), sorted.
        deny: Denied topics by action; these take precedence.
    """

    path: str
    allow: dict[str, tuple[str, ...]]
    deny: dict[str, tuple[str, ...]]

    def permits(self, action: str, topic: str) -> bool:
        """Whether the action on the DDS topic is permitted: deny rules first, then allow rules, else no (9.4.1.3.2).

        Args:
            action: "publish" or "subscribe".
            topic: DDS topic, for example "rt/vla/plan".
        """
        if any(fnmatchcase(topic, expression) for expression in self.deny[action]):
            return False
        return any(fnmatchcase(topic, expression) for expression in self.allow[action])


def parse_policy(text: str, command_topic: str = COMMAND_TOPIC) -> list[Enclave]:
    """Parse a policy into its enclaves.

    Args:
        text: XML, SROS2 policy 0.2.0, without XInclude.
        command_topic: Command topic of the robot; replaces `COMMAND_TOPIC` in the policy.

    Raises:
        ConfigError: The text is not such a policy, or lets an enclave other than the supervisor publish commands.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ConfigError(f"the policy is not XML: {error}.") from None
    elements = root.findall("enclaves/enclave")
    if root.tag != "policy" or root.get("version") != "0.2.0" or not elements:
        raise ConfigError('a policy must be <policy version="0.2.0"> with at least one <enclave> in <enclaves>.')
    enclaves = [_parse_enclave(element, command_topic.strip("/")) for element in elements]
    if len({enclave.path for enclave in enclaves}) < len(enclaves):
        raise ConfigError("the policy contains an enclave twice.")
    _check_commands(enclaves, f"rt/{command_topic.strip('/')}")
    return enclaves


def _parse_enclave(element: ET.Element, command_topic: str) -> Enclave:
    path = element.get("path", "")
    if not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", path):
        raise ConfigError(f'an enclave must have a path like "/supervisor"; got "{path}".')
    rights: dict[str, dict[str, set[str]]] = {q: {a: set() for a in ACTIONS} for q in ("ALLOW", "DENY")}
    for action, topics in EVERY_NODE.items():
        rights["ALLOW"][action].update(topics)
    for profile in element.findall("profiles/profile"):
        namespace, node = profile.get("ns", "/").rstrip("/"), profile.get("node", "")
        for action, template in TYPE_DESCRIPTION_TOPICS.items():
            rights["ALLOW"][action].add(template.format(f"{namespace}/{node}"))
        for group in profile:
            if group.tag not in ("topics", "services"):
                raise UnknownName("element", group.tag, ["topics", "services"], f"enclave {path}")
            for kind, qualifier in group.attrib.items():
                _add_rules(rights, group, kind, qualifier, f"{namespace}/", node, command_topic, path)
    allow, deny = ({a: tuple(sorted(t)) for a, t in rights[q].items()} for q in ("ALLOW", "DENY"))
    return Enclave(path, allow, deny)


def _add_rules(
    rights: dict[str, dict[str, set[str]]],
    group: ET.Element,
    kind: str,
    qualifier: str,
    namespace: str,
    node: str,
    command_topic: str,
    path: str,
) -> None:
    kinds = ACTIONS if group.tag == "topics" else tuple(SERVICE_SIDES)
    if kind not in kinds:
        raise UnknownName("attribute", kind, kinds, f"<{group.tag}> of enclave {path}")
    if qualifier not in rights:
        raise ConfigError(f'enclave {path}: {kind} must be ALLOW or DENY; got "{qualifier}".')
    for entry in group:
        name = (entry.text or "").strip()
        if not name or not re.fullmatch(r"[~/\w*?]+", name):
            raise ConfigError(f'enclave {path}: "{name}" is not a name of a topic or service.')
        full = name if name[0] == "/" else f"{namespace}{node}{name[1:]}" if name[0] == "~" else namespace + name
        full = f"/{command_topic}" if full == f"/{COMMAND_TOPIC}" else full
        if group.tag == "topics":
            rights[qualifier][kind].add(f"rt{full}")
        else:
            for action, prefix, suffix in SERVICE_SIDES[kind]:
                rights[qualifier][action].add(f"{prefix}{full}{suffix}")


def _check_commands(enclaves: list[Enclave], topic: str) -> None:
    """Check that the supervisor, and no other enclave, may publish the robot's commands."""
    publishers = [enclave.path for enclave in enclaves if enclave.permits("publish", topic)]
    if publishers != [SUPERVISOR]:
        names = ", ".join(publishers) or "no enclave"
        raise ConfigError(f"the policy lets {names} publish {topic}; it must let {SUPERVISOR} and no other enclave.")


def governance() -> str:
    """The governance document: only authenticated participants, access control on every topic, data encrypted."""
    return GOVERNANCE.format(low=DOMAINS[0], high=DOMAINS[1])


def permissions(enclave: Enclave, not_before: str, not_after: str) -> str:
    """The permissions document of one identity; everything that it does not allow is denied.

    Args:
        enclave: The identity and its permissions.
        not_before: Start of validity, UTC, for example "2026-01-31T00:00:00".
        not_after: End of validity, UTC.
    """
    dds = ET.Element("dds")
    dds.set("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
    schema = "http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_permissions.xsd"
    dds.set("xsi:noNamespaceSchemaLocation", schema)
    grant = ET.SubElement(ET.SubElement(dds, "permissions"), "grant", name=enclave.path)
    ET.SubElement(grant, "subject_name").text = f"CN={enclave.path}"
    validity = ET.SubElement(grant, "validity")
    ET.SubElement(validity, "not_before").text = not_before
    ET.SubElement(validity, "not_after").text = not_after
    for tag, rights in (("deny_rule", enclave.deny), ("allow_rule", enclave.allow)):
        if any(rights.values()):
            _add_rule(ET.SubElement(grant, tag), rights)
    ET.SubElement(grant, "default").text = "DENY"
    ET.indent(dds)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(dds, encoding="unicode") + "\n"


def _add_rule(rule: ET.Element, rights: dict[str, tuple[str, ...]]) -> None:
    domains = ET.SubElement(ET.SubElement(rule, "domains"), "id_range")
    ET.SubElement(domains, "min").text, ET.SubElement(domains, "max").text = (str(number) for number in DOMAINS)
    for action in ACTIONS:
        if rights[action]:
            topics = ET.SubElement(ET.SubElement(rule, action), "topics")
            for topic in rights[action]:
                ET.SubElement(topics, "topic").text = topic
