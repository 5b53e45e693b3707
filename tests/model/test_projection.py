"""What of status and metadata is kept, and that a change of everything else is no change."""

import copy
from typing import Any

import pytest
import yaml

from controlplane.model.decode import Decoded, decode_object
from controlplane.model.kubernetes import Node, Pod
from controlplane.model.service_entry import ServiceEntry, WorkloadEntry


def decode(raw: Any) -> Decoded:
    outcome = decode_object(yaml.safe_load(raw) if isinstance(raw, str) else raw)
    assert isinstance(outcome, Decoded), outcome
    return outcome


POD: dict[str, Any] = yaml.safe_load(
    """
    apiVersion: v1
    kind: Pod
    metadata:
      name: web-1
      namespace: demo
      labels: {app: web}
      annotations: {kubernetes.io/config.seen: a}
      generation: 1
      creationTimestamp: "2024-05-31T12:00:00Z"
      ownerReferences: [{kind: ReplicaSet, name: web, uid: a, apiVersion: apps/v1}]
    spec:
      nodeName: n1
      containers: [{name: web, image: web:1, env: [{name: A, value: b}], resources: {limits: {cpu: 1}}}]
      tolerations: [{key: a, operator: Exists}]
    status:
      phase: Running
      hostIP: 192.0.2.9
      podIP: 192.0.2.1
      podIPs: [{ip: 192.0.2.1}, {ip: "2001:db8::1"}]
      qosClass: BestEffort
      conditions:
      - {type: PodScheduled, status: "True", lastTransitionTime: "2024-05-31T12:00:00Z"}
      - {type: Ready, status: "True", lastProbeTime: null, lastTransitionTime: "2024-05-31T12:00:00Z"}
      containerStatuses: [{name: web, restartCount: 0, state: {running: {}}}]
    """
)


def test_a_pod_is_its_labels_its_node_its_addresses_and_whether_it_is_ready() -> None:
    outcome = decode(POD)
    pod = outcome.object
    assert isinstance(pod, Pod)
    assert (pod.key, pod.metadata.labels, pod.spec.node_name) == ("demo/web-1", {"app": "web"}, "n1")
    assert (pod.status.phase, pod.status.pod_ip) == ("Running", "192.0.2.1")
    assert [address.ip for address in pod.status.pod_ips] == ["192.0.2.1", "2001:db8::1"]
    assert [(condition.type, condition.status) for condition in pod.status.conditions] == [("Ready", "True")]
    assert (pod.is_ready, pod.terminating) == (True, False)
    assert (outcome.warnings, outcome.unsupported) == ((), ())


CHATTER = {
    "annotations": ("metadata", "annotations", {"b": "c"}),
    "generation": ("metadata", "generation", 2),
    "managed fields": ("metadata", "managedFields", [{"manager": "kubelet"}]),
    "resource version": ("metadata", "resourceVersion", "5"),
    "containers": ("spec", "containers", [{"name": "web", "image": "web:2"}]),
    "what nobody knows": ("spec", "whatever", 1),
    "container statuses": ("status", "containerStatuses", []),
    "another condition": (
        "status",
        "conditions",
        [{"type": "ContainersReady", "status": "False"}, {"type": "Ready", "status": "True", "message": "a"}],
    ),
}


@pytest.mark.parametrize("case", CHATTER)
def test_what_is_not_kept_of_a_pod_is_no_change(case: str) -> None:
    part, name, value = CHATTER[case]
    changed = copy.deepcopy(POD)
    changed[part][name] = value
    outcome = decode(changed)
    assert outcome.object == decode(POD).object
    assert (outcome.warnings, outcome.unsupported) == ((), ())


@pytest.mark.parametrize(
    ("deleted", "conditions", "ready"),
    [
        (None, [{"type": "Ready", "status": "True"}], True),
        ("2024-05-31T12:00:00Z", [{"type": "Ready", "status": "True"}], False),
        (None, [{"type": "Ready", "status": "False"}], False),
        (None, [{"type": "Ready", "status": "Unknown"}], False),
        (None, [{"type": "ContainersReady", "status": "True"}], False),
        (None, None, False),
    ],
)
def test_a_pod_is_ready_that_says_so_and_stays(deleted: str | None, conditions: Any, ready: bool) -> None:
    raw = copy.deepcopy(POD)
    raw["metadata"]["deletionTimestamp"] = deleted
    raw["status"]["conditions"] = conditions
    pod = decode(raw).object
    assert isinstance(pod, Pod)
    assert (pod.terminating, pod.is_ready) == (deleted is not None, ready)


def test_when_a_pod_is_to_be_gone_is_not_kept() -> None:
    first, second = copy.deepcopy(POD), copy.deepcopy(POD)
    first["metadata"] |= {"deletionTimestamp": "2024-05-31T12:00:00Z", "deletionGracePeriodSeconds": 30}
    second["metadata"] |= {"deletionTimestamp": "2024-05-31T12:00:01Z", "deletionGracePeriodSeconds": 0}
    assert decode(first).object == decode(second).object


def test_whether_a_pod_terminates_is_nothing_to_write() -> None:
    outcome = decode(POD | {"terminating": True})
    assert isinstance(outcome.object, Pod)
    assert not outcome.object.terminating
    assert [warning.path for warning in outcome.warnings] == ["terminating"]


def test_other_kinds_do_not_keep_that_they_are_deleted() -> None:
    raw = "{apiVersion: v1, kind: Namespace, metadata: {name: a%s}}"
    assert decode(raw % ', deletionTimestamp: "2024-05-31T12:00:00Z"').object == decode(raw % "").object


def test_a_node_is_its_labels() -> None:
    text = """
        apiVersion: v1
        kind: Node
        metadata: {name: n1, labels: {topology.kubernetes.io/region: r1}, annotations: {ttl: "%d"}}
        spec: {podCIDR: 192.0.2.0/24, taints: [{key: a, effect: NoSchedule}]}
        status: {conditions: [{type: Ready, lastHeartbeatTime: "%d"}], images: []}"""
    outcome = decode(text % (1, 1))
    assert isinstance(outcome.object, Node)
    assert (outcome.object.key, outcome.object.metadata.labels) == ("n1", {"topology.kubernetes.io/region": "r1"})
    assert (outcome.warnings, outcome.unsupported) == ((), ())
    assert outcome.object == decode(text % (2, 2)).object


def entry(status: str) -> Decoded:
    return decode(
        f"""
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {{name: a}}
        spec: {{hosts: [a.example.com], resolution: STATIC}}
        status: {status}"""
    )


def test_allocated_addresses_are_kept_and_conditions_are_not() -> None:
    outcome = entry(
        "{addresses: [{value: 240.240.0.1, host: A.example.com}, {value: '2001:2::1'}], conditions: [{type: a}]}"
    )
    assert isinstance(outcome.object, ServiceEntry)
    assert [(address.value, address.host) for address in outcome.object.status.addresses] == [
        ("240.240.0.1", "a.example.com"),
        ("2001:2::1", ""),
    ]
    assert (outcome.warnings, outcome.unsupported) == ((), ())
    assert entry("{conditions: [{type: a}]}").object == entry("null").object == entry("{}").object


WRONG = {
    "[]": "status: a list, where an object belongs; ignored",
    "5": "status: 5 is a number, where an object belongs; ignored",
    "{addresses: a}": 'status.addresses: "a" is text, where a list belongs; ignored',
    "{addresses: [{value: 240.240.0.1}, 5]}": "status.addresses[1]: 5 is a number, where an object belongs; ignored",
    "{addresses: [null, {value: 240.240.0.1}]}": "status.addresses[0]: nothing, where an object belongs; ignored",
    "{addresses: [{value: 5}, {value: 240.240.0.1}]}": "status.addresses[0].value: 5 is a number, where text belongs; "
    "ignored",
    "{addresses: [{value: 240.240.0.1}, {value: a}]}": 'status.addresses[1].value: "a" is no IP address; ignored',
    "{addresses: [{value: 240.240.0.1}, {host: a}]}": 'status.addresses[1].value: "" is no IP address; ignored',
    '{addresses: [{value: "\\ud800"}, {value: 240.240.0.1}]}': 'status.addresses[0].value: "\\ud800" has half a surrogate '
    "pair in it; ignored",
}


@pytest.mark.parametrize("status", WRONG)
def test_what_is_wrong_with_a_status_is_ignored_with_a_warning(status: str) -> None:
    outcome = entry(status)
    assert isinstance(outcome.object, ServiceEntry)
    assert [str(warning) for warning in outcome.warnings] == [f"{WRONG[status]}; mend what writes the status"]
    kept = [address.value for address in outcome.object.status.addresses]
    assert kept == (["240.240.0.1"] if "240" in status else [])


def test_of_a_workload_only_its_health_is_kept() -> None:
    text = """
        apiVersion: networking.istio.io/v1
        kind: WorkloadEntry
        metadata: {name: a}
        spec: {address: 192.0.2.1}
        status: {conditions: [{type: Healthy, status: "False", lastProbeTime: "%d"}, {type: Other, status: "%d"}]}"""
    outcome = decode(text % (1, 1))
    assert isinstance(outcome.object, WorkloadEntry)
    assert [(condition.type, condition.status) for condition in outcome.object.status.conditions] == [
        ("Healthy", "False")
    ]
    assert outcome.object == decode(text % (2, 2)).object
    assert outcome.warnings == ()


def test_conditions_of_a_wrong_form_reject_nothing() -> None:
    raw = copy.deepcopy(POD)
    raw["status"]["conditions"] = [5, {"type": "Ready", "status": True}, {"type": "Ready", "status": "True"}]
    outcome = decode(raw)
    assert isinstance(outcome.object, Pod)
    assert outcome.object.is_ready
    assert [warning.path for warning in outcome.warnings] == ["status.conditions[0]", "status.conditions[1].status"]
