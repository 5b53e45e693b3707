"""What is said of DestinationRules: who goes by them, and whether their parts fit together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.krt import Graph
from controlplane.model.base import ObjectMeta
from controlplane.model.ir import ObjectReport
from controlplane.model.istio import DestinationRule, ServiceEntry, WorkloadEntry
from controlplane.model.kubernetes import EndpointSlice, Pod, Secret, Service
from controlplane.model.references import FieldProblem
from controlplane.model.services import REGION, SUBZONE, ZONE, BackendRules
from controlplane.reducers.backends import declare_backends
from controlplane.reducers.base import declare_base
from controlplane.reducers.clients import declare_clients
from controlplane.reducers.destination_rules import declare_destination_rules, to_rule_host
from controlplane.reducers.gateways import declare_gateways
from controlplane.reducers.grants import declare_grants
from controlplane.reducers.proxies import Proxy
from controlplane.reducers.rule_localities import locality_problem
from controlplane.reducers.rule_reports import declare_rule_statuses
from controlplane.reducers.rule_standings import OTHERS, judge
from tests.reducers.rules import rule_of

HOST = "se.example.com"


class World:
    """A graph with what rules and their reports read."""

    def __init__(self) -> None:
        self.graph = graph = Graph()
        self.base = declare_base(graph)
        backends = declare_backends(graph, self.base)
        self.rules = declare_destination_rules(graph, self.base, backends)
        gateways = declare_gateways(graph, self.base, declare_grants(graph, self.base))
        clients = declare_clients(graph, self.base, gateways, backends, self.rules)
        self.statuses = declare_rule_statuses(graph, self.base, backends, self.rules, clients)
        self._seq = 0

    def apply(self, *rows: Any, gone: Iterable[Any] = ()) -> None:
        self._seq += 1
        tx = self.graph.begin(self._seq)
        for row in rows:
            tx.put(self._source(row), row)
        for row in gone:
            tx.delete(self._source(row), row.key)
        commit = tx.commit()
        assert not commit.failures

    def _source(self, row: Any) -> Any:
        others: dict[type, Any] = {Proxy: self.base.proxies, ObjectReport: self.base.reports}
        return others[type(row)] if type(row) in others else self.base.of_kind(row.kind)

    def said(self, rule: str) -> dict[str, tuple[str, str, str]]:
        """Status, reason and message by type, without its prefix."""
        row = self.statuses.get(f"DestinationRule {rule}")
        conditions = msgspec.json.decode(row.document)["conditions"] if row is not None else []
        return {c["type"].rpartition("/")[2]: (c["status"], c["reason"], c["message"]) for c in conditions}

    def runs(self) -> int:
        return self.statuses.statistics().runs


@pytest.fixture
def world() -> World:
    return World()


def entry(*localities: str, name: str = "shop/se", labels: dict[str, str] | None = None, **spec: Any) -> ServiceEntry:
    namespace, _, short = name.partition("/")
    endpoints = [
        {"address": f"10.0.0.{number}", "locality": locality, "labels": labels or {}}
        for number, locality in enumerate(localities, 1)
    ]
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    whole = {"hosts": [HOST], "ports": ports, "resolution": "STATIC", "endpoints": endpoints, **spec}
    metadata = {"name": short, "namespace": namespace}
    manifest = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata, "spec": whole}
    return msgspec.convert(manifest, ServiceEntry)


def service_of(name: str) -> Service:
    metadata = {"name": name, "namespace": "shop"}
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}
    return msgspec.convert(manifest, Service)


def rule(key: str = "shop/r", setting: dict[str, Any] | None = None, **more: Any) -> DestinationRule:
    """A rule of the host with a setting of localities, and with outlier detection."""
    policy: dict[str, Any] = {"outlierDetection": {"consecutive5xxErrors": 7}}
    if setting is not None:
        policy["loadBalancer"] = {"localityLbSetting": setting}
    return rule_of(key, **{"host": HOST, "trafficPolicy": policy, **more})


def proxy(name: str = "p", **labels: str) -> Proxy:
    return Proxy(name, f"{name}.infra", "infra/edge", "r1/z1/s1", "", tuple(sorted(labels.items())))


TOPOLOGY = {"failoverPriority": [REGION, ZONE, SUBZONE]}


def test_of_a_rule_in_which_all_fits_nothing_is_said(world: World) -> None:
    world.apply(entry("r1/z1/s1"), rule(setting=TOPOLOGY), proxy())
    assert world.statuses.rows() == ()


def test_candidates_follow_rules_and_hosts(world: World) -> None:
    one, other = rule("shop/r"), rule("infra/wide", host="*.example.com")
    cluster = "istio-se_shop_se_se.example.com_80"
    world.apply(one, other)
    assert world.rules.of_clusters.rows() == ()
    world.apply(entry("r1"))
    found = world.rules.of_clusters.get(cluster)
    assert found is not None
    assert [c.rule for c in found.candidates] == ["infra/wide", "shop/r"]
    assert found.candidates[0].specificity < found.candidates[1].specificity
    assert [row.key for row in world.rules.of_clusters.rows() if "infra/wide" in [c.rule for c in row.candidates]] == [
        cluster
    ]
    world.apply(rule("shop/r", host="other.example.com"), gone=[other])
    assert world.rules.of_clusters.rows() == ()


def test_a_short_name_finds_the_service_of_its_namespace(world: World) -> None:
    service = service_of("reviews")
    world.apply(service, rule("shop/r", host="reviews"), rule("infra/r", host="reviews"))
    assert [row.key for row in world.rules.of_clusters.rows() if "shop/r" in [c.rule for c in row.candidates]] == [
        "kube_shop_reviews_80"
    ]
    assert world.said("shop/r") == {}
    assert world.said("infra/r")["InEffect"][1] == "HostNotFound"


def test_work_follows_the_change(world: World) -> None:
    """A rule's policy is no part of who it is for; another host's rule is nobody's business."""
    world.apply(entry("r1"), rule(), rule("shop/other", host="other.example.com"))
    before = world.rules.of_clusters.statistics().runs
    world.apply(rule(setting=TOPOLOGY), rule("shop/other", host="another.example.com"))
    assert world.rules.of_clusters.statistics().runs == before


def test_a_host_that_nothing_has(world: World) -> None:
    world.apply(rule(host="Reviews"))
    status, reason, message = world.said("shop/r")["InEffect"]
    assert (status, reason) == ("False", "HostNotFound")
    assert '"reviews.shop.svc.cluster.local"' in message
    world.apply(rule(host=HOST))
    assert world.said("shop/r")["InEffect"][1] == "HostNotFound"
    world.apply(entry("r1"))
    assert world.said("shop/r") == {}
    world.apply(gone=[entry("r1")])
    assert world.said("shop/r")["InEffect"][1] == "HostNotFound"


def test_of_two_rules_of_one_namespace_and_host_the_younger_says_which_overrules_it(world: World) -> None:
    old, young = rule("shop/z", created="2024-01-01T00:00:00Z"), rule("shop/a", created="2025-01-01T00:00:00Z")
    world.apply(entry("r1"), old, young)
    assert world.said("shop/z") == {}
    status, reason, message = world.said("shop/a")["InEffect"]
    assert (status, reason) == ("False", "Overruled")
    assert message.startswith("overruled for every client by DestinationRule shop/z; ")
    world.apply(gone=[old])
    assert world.said("shop/a") == {}


def test_a_rule_that_some_go_by_says_who_does_not(world: World) -> None:
    old = rule("infra/old", created="2024-01-01T00:00:00Z", exportTo=["."])
    young = rule("infra/young", created="2025-01-01T00:00:00Z")
    world.apply(entry("r1"), old, young)
    status, reason, message = world.said("infra/young")["InEffect"]
    assert (status, reason) == ("True", "Overruled")
    assert message.startswith("overruled by DestinationRule infra/old for clients of namespaces infra; ")
    assert world.said("infra/old") == {}


def test_a_rule_for_all_that_nearer_and_more_specific_ones_overrule_everywhere_says_so(world: World) -> None:
    wide = rule("istio-system/defaults", host="*")
    world.apply(entry("r1"), entry("r1", name="shop/se2", hosts=["b.example.com"]), wide, rule("shop/exact"))
    assert world.said("istio-system/defaults") == {}, "the other host has no rule of its own"
    world.apply(rule("shop/exact2", host="b.example.com"))
    status, reason, message = world.said("istio-system/defaults")["InEffect"]
    assert (status, reason) == ("False", "Overruled")
    assert "by DestinationRule shop/exact, shop/exact2; nearer namespaces" in message


def test_a_selecting_rule_and_one_for_all_are_no_conflict(world: World) -> None:
    world.apply(entry("r1"), rule("shop/all"), rule("shop/some", workloadSelector={"matchLabels": {"app": "a"}}))
    assert world.statuses.rows() == ()


def test_who_stands_is_judged_by_every_namespace_that_differs() -> None:
    rules = [rule("shop/r"), rule("istio-system/r"), rule("other/r"), rule("third/r", exportTo=["x"])]
    candidates = tuple(to_rule_host(r, "cluster.local").candidate for r in rules)
    found = {row.rule: row for row in judge(BackendRules("c", candidates), "shop", "istio-system")}
    assert {name: row.stands for name, row in found.items()} == {
        "shop/r": True,
        "istio-system/r": False,
        "other/r": True,
        "third/r": False,
    }
    assert found["istio-system/r"].overruled_by == ("shop/r",)
    assert found["third/r"].overruled_by == ("shop/r",)
    assert all(not row.conflicts for row in found.values())
    assert OTHERS == ""


def test_a_label_that_no_endpoint_and_no_proxy_carries(world: World) -> None:
    world.apply(
        entry("r1", labels={"version": "v1"}), rule(setting={"failoverPriority": ["verison", "version=v2", REGION]})
    )
    status, reason, message = world.said("shop/r")["Consistent"]
    assert (status, reason) == ("False", "LabelNotFound")
    path = "spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority"
    assert message.split("; ")[::2] == [
        f'(1) {path}[0]: no endpoint of its host carries "verison"',
        f'(2) {path}[1]: no endpoint of its host carries "version=v2"',
    ]
    world.apply(proxy(version="v1"))
    assert 'no endpoint of its host and no connected proxy carries "verison"' in world.said("shop/r")["Consistent"][2]
    world.apply(rule(setting={"failoverPriority": ["version", "version=v1"]}))
    assert world.said("shop/r") == {}
    world.apply(gone=[proxy()])
    world.apply(proxy())
    assert 'failoverPriority[0]: no connected proxy carries "version"' in world.said("shop/r")["Consistent"][2]


def test_a_host_without_endpoints_says_nothing_of_labels(world: World) -> None:
    world.apply(entry(), rule(setting={"failoverPriority": ["version"]}))
    assert world.said("shop/r") == {}


def test_the_labels_of_a_port_are_sought_at_the_backends_of_the_port(world: World) -> None:
    port = {"port": {"number": 80}, "loadBalancer": {"localityLbSetting": {"failoverPriority": ["a"]}}}
    policy = {
        "loadBalancer": {"localityLbSetting": {"failoverPriority": ["b"]}},
        "outlierDetection": {},
        "portLevelSettings": [{**port, "outlierDetection": {}}],
    }
    world.apply(entry("r1", labels={"b": "1"}), rule(trafficPolicy=policy))
    message = world.said("shop/r")["Consistent"][2]
    assert "portLevelSettings[0]" in message
    assert message.count("carries") == 1, "no backend has another port, so of the rest nobody can know"


def test_labels_of_pods_count_and_those_after_the_first_are_not_read(world: World) -> None:
    piece = msgspec.convert(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "s", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 80}],
            "endpoints": [
                {"addresses": [f"10.0.0.{n}"], "targetRef": {"kind": "Pod", "name": f"p{n}"}} for n in (1, 2)
            ],
        },
        EndpointSlice,
    )

    def pod(number: int, **labels: str) -> Pod:
        metadata = {"name": f"p{number}", "namespace": "shop", "labels": labels}
        return msgspec.convert({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}, Pod)

    world.apply(service_of("web"), piece, pod(1), pod(2), rule(host="web", setting={"failoverPriority": ["version"]}))
    assert world.said("shop/r")["Consistent"][1] == "LabelNotFound"
    world.apply(pod(1, version="v1"))
    assert world.said("shop/r") == {}
    before = world.runs()
    world.apply(pod(2, version="v9"))
    assert world.runs() == before
    world.apply(pod(1))
    assert world.said("shop/r") == {}, "the second pod carries it"


@pytest.mark.parametrize(
    ("text", "is_pattern", "problem"),
    [
        ("r/z/s", False, ""),
        ("r", False, ""),
        ("", False, ""),
        ("r/z/", False, ""),
        ("r//s", False, "says its subzone and no zone"),
        ("/z", False, "says its zone and no region"),
        ("//s", False, "says its subzone and no region and zone"),
        ("r/z/s/x", False, "has more than three parts"),
        ("r/*", False, "holds a wildcard"),
        ("r/z/s", True, ""),
        ("*", True, ""),
        ("r/*", True, ""),
        ("r/z/*", True, ""),
        ("r/*/s", True, "wildcard that is not its whole last part"),
        ("*/*", True, "wildcard that is not its whole last part"),
        ("us-*", True, "wildcard that is not its whole last part"),
        ("r//s", True, "says its subzone and no zone"),
        ("", True, "is no locality"),
    ],
)
def test_malformed_localities(text: str, is_pattern: bool, problem: str) -> None:
    found, remedy = locality_problem(text, is_pattern=is_pattern)
    assert (problem in found) if problem else not found
    assert bool(found) == bool(remedy)


def test_malformed_localities_of_the_rule(world: World) -> None:
    setting = {
        "distribute": [{"from": "r1/*/s", "to": {"r1//s": 50, "r2/*": 50}}],
        "failoverPriority": ["a=b=c"],
    }
    world.apply(entry("r1"), rule(setting=setting))
    status, reason, message = world.said("shop/r")["Consistent"]
    assert (status, reason) == ("False", "MalformedLocality")
    for path in ("distribute[0].from", "distribute[0].to", "failoverPriority[0]"):
        assert f"localityLbSetting.{path}" in message
    assert '"r2/*"' not in message


def test_a_malformed_label_is_told_once(world: World) -> None:
    labels = ["a=b=c", "=", "version=v2"]
    world.apply(entry("r1"), rule(setting={"failoverPriority": labels}), proxy())
    status, reason, message = world.said("shop/r")["Consistent"]
    assert (status, reason) == ("False", "MalformedLocality")
    path = "spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority"
    assert message == (
        f'(1) {path}[0]: "a=b=c" is neither a label nor label=value; write one of them; '
        f'(2) {path}[1]: "=" is neither a label nor label=value; write one of them; '
        f'(3) {path}[2]: no endpoint of its host carries "version=v2"; label them, or remove it'
    )


def test_malformed_localities_of_endpoints_are_told_to_rules_that_look_at_localities(world: World) -> None:
    looking, blind = rule("shop/looking", setting={}), rule("infra/blind")
    world.apply(entry("r1", "r1//s"), looking, blind)
    status, reason, message = world.said("shop/looking")["Consistent"]
    assert (status, reason) == ("False", "MalformedLocality")
    assert message.startswith(
        'ServiceEntry shop/se: spec.endpoints[1].locality: "r1//s" says its subzone and no zone; '
    )
    assert world.said("infra/blind") == {}
    world.apply(entry("r1", "r1/z/s"))
    assert world.said("shop/looking") == {}


def test_malformed_localities_of_selected_workloads(world: World) -> None:
    def workload(name: str, locality: str, **labels: str) -> WorkloadEntry:
        return msgspec.convert(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "WorkloadEntry",
                "metadata": {"name": name, "namespace": "shop", "labels": labels},
                "spec": {"address": "10.0.0.9", "locality": locality},
            },
            WorkloadEntry,
        )

    selecting = entry(endpoints=[], workloadSelector={"labels": {"app": "a"}})
    world.apply(selecting, rule(setting={}), workload("w1", "r//s", app="a"), workload("w2", "r//s", app="b"))
    message = world.said("shop/r")["Consistent"][2]
    assert "WorkloadEntry shop/w1: spec.locality" in message
    assert "w2" not in message
    world.apply(workload("w1", "r/z/s", app="a"))
    assert world.said("shop/r") == {}


def test_many_malformed_localities_are_summed_up(world: World) -> None:
    world.apply(entry(*["r//s"] * 9), rule(setting={}))
    message = world.said("shop/r")["Consistent"][2]
    assert message.count("ServiceEntry shop/se") == 5
    assert message.endswith("and 4 more of this kind")


def test_failover_without_outlier_detection_is_a_remark(world: World) -> None:
    policy = {"loadBalancer": {"localityLbSetting": {}}}
    world.apply(entry("r1"), rule(trafficPolicy=policy))
    status, reason, message = world.said("shop/r")["Consistent"]
    assert (status, reason) == ("True", "NoOutlierDetection")
    assert message.startswith("spec.trafficPolicy.outlierDetection: missing")
    shares = {"distribute": [{"from": "*", "to": {"*": 100}}]}
    world.apply(rule(trafficPolicy={"loadBalancer": {"localityLbSetting": shares}}))
    assert world.said("shop/r") == {}
    world.apply(rule(trafficPolicy={"loadBalancer": {"localityLbSetting": {"enabled": False}}}))
    assert world.said("shop/r") == {}


def secret(key: str, *, pair: bool = False, authorities: bool = False) -> Secret:
    namespace, _, name = key.partition("/")
    return Secret(
        metadata=ObjectMeta(name=name, namespace=namespace),
        pair_digest="sha256:aa" if pair else None,
        ca_certificates="certificates" if authorities else None,
    )


def tls_rule(mode: str = "MUTUAL", name: str = "cred", **spec: Any) -> DestinationRule:
    """A rule that names a Secret."""
    return rule(trafficPolicy={"tls": {"mode": mode, "credentialName": name}}, **spec)


FIELD = "spec.trafficPolicy.tls.credentialName"


def test_a_secret_that_no_gateway_has(world: World) -> None:
    world.apply(entry("r1"), tls_rule())
    assert world.said("shop/r") == {}, "without a client nobody can know where it is to be"
    world.apply(proxy())
    assert world.said("shop/r")["ResolvedRefs"] == (
        "False",
        "InvalidCertificateRef",
        f'{FIELD}: requests get 503: there is no Secret "cred" in the Gateway\'s namespace infra; '
        "create it there with tls.crt, tls.key and ca.crt",
    )
    world.apply(secret("shop/cred", pair=True, authorities=True), secret("infra/other", pair=True, authorities=True))
    assert "ResolvedRefs" in world.said("shop/r"), "it is the Gateway's namespace that counts"
    world.apply(secret("infra/cred", pair=True, authorities=True))
    assert world.said("shop/r") == {}
    world.apply(gone=[secret("infra/cred")])
    assert "ResolvedRefs" in world.said("shop/r")


@pytest.mark.parametrize(
    ("mode", "held", "missing"),
    [
        ("MUTUAL", {}, "tls.crt, tls.key or ca.crt"),
        ("MUTUAL", {"pair": True}, "ca.crt"),
        ("MUTUAL", {"authorities": True}, "tls.crt or tls.key"),
        ("MUTUAL", {"pair": True, "authorities": True}, ""),
        ("SIMPLE", {"pair": True}, "ca.crt"),
        ("SIMPLE", {"authorities": True}, ""),
        ("ISTIO_MUTUAL", {}, ""),
        ("DISABLE", {}, ""),
    ],
)
def test_a_secret_that_holds_not_what_it_is_named_for(
    world: World, mode: str, held: dict[str, bool], missing: str
) -> None:
    world.apply(entry("r1"), tls_rule(mode), proxy(), secret("infra/cred", **held))
    said = world.said("shop/r")
    if missing:
        told = f"{FIELD}: requests get 503: Secret infra/cred has no {missing}; add it to the Secret"
        assert said["ResolvedRefs"][2] == told
    else:
        assert said == {}


def test_a_secret_need_not_hold_what_nothing_is_verified_by(world: World) -> None:
    tls = {"mode": "MUTUAL", "credentialName": "cred", "insecureSkipVerify": True}
    world.apply(entry("r1"), rule(trafficPolicy={"tls": tls}), proxy(), secret("infra/cred", pair=True))
    assert world.said("shop/r") == {}


def test_a_secret_that_one_of_the_gateways_has_will_do(world: World) -> None:
    edge = Proxy("q", "q.pods", "edge/edge", "", "")
    world.apply(entry("r1"), tls_rule("SIMPLE"), proxy(), edge, secret("edge/cred"))
    assert world.said("shop/r")["ResolvedRefs"][2] == (
        f"{FIELD}: requests get 503: Secret edge/cred has no ca.crt, "
        'there is no Secret "cred" in the Gateway\'s namespace infra; '
        "add it to the Secret or create it there with ca.crt"
    )
    world.apply(secret("edge/cred", authorities=True))
    assert world.said("shop/r") == {}
    world.apply(tls_rule("SIMPLE", exportTo=["infra"]))
    assert "namespace infra" in world.said("shop/r")["ResolvedRefs"][2], "clients of pods do not see the rule"
    world.apply(tls_rule("SIMPLE", exportTo=["pods"]))
    assert world.said("shop/r") == {}, "and those of infra do not now"
    world.apply(tls_rule("SIMPLE", exportTo=["."]))
    assert world.said("shop/r") == {}, "nor does anybody now"


def test_many_namespaces_are_summed_up(world: World) -> None:
    proxies = [Proxy(f"p{n}", "p.pods", f"n{n}/edge", "", "") for n in range(7)]
    world.apply(entry("r1"), tls_rule(), *proxies)
    assert (
        "in the Gateways' namespaces n0, n1, n2, n3, n4, and 2 more; create" in world.said("shop/r")["ResolvedRefs"][2]
    )


def test_a_secret_of_a_port_is_told_at_the_port(world: World) -> None:
    port = {"port": {"number": 80}, "tls": {"mode": "SIMPLE", "credentialName": "other"}}
    world.apply(entry("r1"), rule(trafficPolicy={"portLevelSettings": [port]}), proxy())
    message = world.said("shop/r")["ResolvedRefs"][2]
    assert message.startswith("spec.trafficPolicy.portLevelSettings[0].tls.credentialName: ")
    whole = {"tls": {"mode": "MUTUAL", "credentialName": "cred"}, "portLevelSettings": [port]}
    world.apply(rule(trafficPolicy=whole))
    message = world.said("shop/r")["ResolvedRefs"][2]
    assert message.startswith(f"(1) {FIELD}: ")
    assert "; (2) spec.trafficPolicy.portLevelSettings[0].tls.credentialName: " in message


def test_a_secret_that_is_not_accepted_says_why(world: World) -> None:
    wrong = ObjectReport(
        "Secret infra/cred", "files", 1, present=False, errors=(FieldProblem('data["tls.crt"]', "no PEM", "put it"),)
    )
    world.apply(entry("r1"), tls_rule(), proxy(), wrong)
    assert world.said("shop/r")["ResolvedRefs"][2] == (
        f'{FIELD}: requests get 503: Secret infra/cred is not accepted (data["tls.crt"]: no PEM); mend the Secret'
    )
    world.apply(secret("infra/cred", pair=True, authorities=True))
    assert world.said("shop/r") == {}, "its last good form is served"


@pytest.mark.parametrize("name", ["configmap://cred", "infra/cred"])
def test_what_is_no_secret_s_name_is_told_elsewhere(world: World, name: str) -> None:
    world.apply(entry("r1"), tls_rule(name=name), proxy())
    assert world.said("shop/r") == {}


def test_a_rule_that_nobody_goes_by_says_nothing_of_its_secret(world: World) -> None:
    world.apply(tls_rule(), proxy())
    assert set(world.said("shop/r")) == {"InEffect"}


def test_secrets_are_read_by_rules_that_name_them_alone(world: World) -> None:
    world.apply(entry("r1"), rule(setting=TOPOLOGY), proxy(), secret("infra/cred"))
    before = world.runs()
    world.apply(secret("infra/cred", pair=True, authorities=True), secret("infra/other"))
    assert world.runs() == before
    world.apply(tls_rule())
    before = world.runs()
    world.apply(secret("infra/other", pair=True), proxy("p2"))
    world.apply(secret("infra/cred", pair=True, authorities=True))
    assert world.runs() == before, "neither another Secret, nor another client of the namespace, nor the same facts"


def test_what_the_report_says_stands_beside_it(world: World) -> None:
    unsupported = (FieldProblem("spec.subsets", "not supported yet"),)
    report = ObjectReport("DestinationRule shop/r", "files", 1, generation=3, unsupported=unsupported)
    world.apply(rule(), report)
    said = world.said("shop/r")
    assert set(said) == {"InEffect", "FullySupported"}
    assert "spec.subsets" in said["FullySupported"][2]


_KEYS = ("shop/a", "shop/b", "infra/a", "istio-system/a")
_SETTINGS = st.sampled_from([None, {}, {"failoverPriority": ["version", "app=a"]}, {"failoverPriority": [REGION]}])
_rules = st.builds(
    lambda key, host, created, setting, **spec: rule(
        key, setting, host=host, created=created, **{name: value for name, value in spec.items() if value}
    ),
    st.sampled_from(_KEYS),
    st.sampled_from([HOST, "*.example.com", "*", "b.example.com"]),
    st.sampled_from(["", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]),
    _SETTINGS,
    exportTo=st.sampled_from([[], ["."], ["infra"]]),
    workloadSelector=st.sampled_from([None, None, {"matchLabels": {"app": "a"}}]),
)
_entries = st.builds(
    lambda name, hosts, localities, labels: entry(*localities, name=name, hosts=hosts, labels=labels),
    st.sampled_from(["shop/se", "infra/se"]),
    st.sampled_from([[HOST], [HOST, "b.example.com"], ["c.example.org"]]),
    st.lists(st.sampled_from(["r1", "r1//s", ""]), max_size=2),
    st.sampled_from([{}, {"version": "v1"}, {"app": "a"}]),
)
_tls_rules = st.builds(
    lambda mode, exported_to: tls_rule(mode, exportTo=exported_to),
    st.sampled_from(["SIMPLE", "MUTUAL"]),
    st.sampled_from([[], ["."], ["infra"]]),
)
_secrets = st.builds(
    lambda key, pair, authorities: secret(key, pair=pair, authorities=authorities),
    st.sampled_from(["infra/cred", "shop/cred"]),
    st.booleans(),
    st.booleans(),
)
_proxies = st.builds(lambda labels: proxy(**labels), st.sampled_from([{}, {"version": "v1"}, {"app": "a"}]))


@given(st.lists(st.tuples(st.booleans(), st.one_of(_rules, _tls_rules, _entries, _proxies, _secrets)), max_size=8))
def test_whatever_the_edits_it_is_as_from_scratch(edits: list[tuple[bool, Any]]) -> None:
    world, present = World(), {}
    for is_there, row in edits:
        name = type(row).__name__, row.key
        if is_there:
            present[name] = row
            world.apply(row)
        elif present.pop(name, None) is not None:
            world.apply(gone=[row])
    fresh = World()
    fresh.apply(*present.values())
    assert world.statuses.rows() == fresh.statuses.rows()
    assert world.rules.of_clusters.rows() == fresh.rules.of_clusters.rows()
