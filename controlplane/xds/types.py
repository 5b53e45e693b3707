"""The resource types of xDS, and the rules in which they differ.

A table instead of branches: the machine asks a type's row, it never compares type URLs. A type that is not in the table is
served by ``rule_of`` as one of which nothing exists, so that a proxy that asks for it is answered and does not wait.
"""

import enum
from collections.abc import Callable

import msgspec

PREFIX = "type.googleapis.com/"
CLUSTER = PREFIX + "envoy.config.cluster.v3.Cluster"
LOAD_ASSIGNMENT = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
LISTENER = PREFIX + "envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION = PREFIX + "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST = PREFIX + "envoy.config.route.v3.VirtualHost"


class Removal(enum.StrEnum):
    """When the removal of a resource is told to a proxy that was not asking for it just now."""

    AT_ONCE = "at_once"
    """With the other changes of its type."""
    LAST = "last"
    """After everything else, once the proxy has acknowledged all of it: others may still refer to the resource."""
    NEVER = "never"
    """Envoy ignores it (P12): the resource goes with whatever refers to it."""


def whole_type(name: str) -> str:
    """The lane of a type whose changes travel together."""
    return ""


def each_alone(name: str) -> str:
    """The lane of a type whose resources travel one by one, so that a rejected one stands alone from the start."""
    return name


def route_configuration_of(name: str) -> str:
    """The RouteConfiguration that a virtual host belongs to: all before the last ``/`` of its name (V2).

    A name without ``/`` belongs to none: the result is empty, which no RouteConfiguration is called.
    """
    return name.rpartition("/")[0]


class TypeRule(msgspec.Struct, frozen=True):
    """How one resource type is served."""

    url: str
    label: str
    """Short name for logs and metrics: ``CDS``."""
    legacy_wildcard: bool = False
    """An empty first request means all (W1). Else it means nothing, and only ``*`` means all (W11)."""
    answer_empty: bool = False
    """The first wildcard request is answered even when nothing exists: Envoy's start waits for it (R8)."""
    removal: Removal = Removal.AT_ONCE
    apart: bool = False
    """Removals never share a response with additions: Envoy carries out the parts of a rejected one (trap 5)."""
    lane: Callable[[str], str] = whole_type
    """Name to lane. A lane has at most one response that waits for its acknowledgement; lanes do not wait for each other."""
    answers_wait: bool = False
    """Answers, too, wait for the lane. Else an answer to a subscription goes at once (S11)."""
    unasked: bool = False
    """Changes are sent also to a stream that has not asked: a proxy whose stream broke while a cluster warmed asks only
    when that is over, and a cluster that never ends warming is mended by exactly such a change (trap 8)."""
    gated: bool = False
    """A resource names clusters, and waits until the proxy has proven them."""
    is_named: bool = False
    """Others name the resource: its removal waits until nothing that the proxy may hold does, and for a grace after that."""
    lingers: bool = False
    """A new version that was acknowledged is not in use before all that it names is there; until then the old one is."""
    needed: bool = False
    """What the proxy never had of it is sent at the gate's deadline all the same: something waits for it to start."""
    is_sticky: bool = False
    """Envoy may keep what it rejected, answer nothing more because of it, and acknowledge the same bytes when they are offered
    again. So a suspect is withdrawn before it is offered again (trap 1)."""
    withdraws: bool = True
    """A rejected resource is replaced by the version that proxies took last. Else Envoy keeps its own by itself."""


CDS = TypeRule(
    CLUSTER,
    "CDS",
    legacy_wildcard=True,
    answer_empty=True,
    removal=Removal.LAST,
    apart=True,
    unasked=True,
    is_named=True,
    is_sticky=True,
)
EDS = TypeRule(LOAD_ASSIGNMENT, "EDS", removal=Removal.LAST)
SDS = TypeRule(SECRET, "SDS", lane=each_alone, withdraws=False)
LDS = TypeRule(
    LISTENER,
    "LDS",
    legacy_wildcard=True,
    answer_empty=True,
    removal=Removal.LAST,
    apart=True,
    gated=True,
    lingers=True,
    needed=True,
)
RDS = TypeRule(ROUTE_CONFIGURATION, "RDS", removal=Removal.NEVER, gated=True, needed=True)
VHDS = TypeRule(
    VIRTUAL_HOST,
    "VHDS",
    legacy_wildcard=True,
    lane=route_configuration_of,
    answers_wait=True,
    gated=True,
)

PUSH_ORDER: tuple[TypeRule, ...] = (CDS, EDS, SDS, LDS, RDS, VHDS)
"""Who is sent first within one push (P7): what is referred to stands before what refers to it."""

REMOVAL_ORDER: tuple[TypeRule, ...] = (LDS, CDS, EDS)
"""The reverse for removals that go last."""

RULES: dict[str, TypeRule] = {rule.url: rule for rule in PUSH_ORDER}


def rule_of(type_url: str) -> TypeRule:
    """The rule of a type; for a type that we do not serve, one by which every request is answered with nothing."""
    rule = RULES.get(type_url)
    if rule is None:
        label = type_url.rpartition(".")[2] or type_url
        rule = TypeRule(type_url, label, legacy_wildcard=True, answer_empty=True)
    return rule


def label_of(type_url: str) -> str:
    """``CDS`` for clusters and so on; the message's short name for a type that we do not serve."""
    return rule_of(type_url).label
