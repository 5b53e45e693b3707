"""What the rows of Kubernetes' own kinds say of themselves."""

import pytest

from controlplane.model.base import ObjectMeta
from controlplane.model.kubernetes import EndpointSlice, Service, ServiceSpec


@pytest.mark.parametrize(("cluster_ip", "headless"), [("None", True), ("", False), ("192.0.2.1", False)])
def test_a_service_is_headless_when_it_says_so(cluster_ip: str, headless: bool) -> None:
    service = Service(metadata=ObjectMeta(name="a", namespace="b"), spec=ServiceSpec(cluster_ip=cluster_ip))
    assert service.is_headless is headless


@pytest.mark.parametrize(
    ("labels", "key"),
    [({"kubernetes.io/service-name": "web"}, "b/web"), ({"kubernetes.io/service-name": ""}, None), ({}, None)],
)
def test_a_slice_belongs_to_the_service_that_its_label_names(labels: dict[str, str], key: str | None) -> None:
    metadata = ObjectMeta(name="a", namespace="b", labels=labels)
    assert EndpointSlice(metadata=metadata, address_type="IPv4").service_key == key
