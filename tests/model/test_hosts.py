"""Hosts: which texts are some, and their one spelling."""

import pytest
import yaml

from controlplane.model.decode import Decoded, decode_object
from controlplane.model.hosts import is_dns_name, is_host
from controlplane.model.istio import DestinationRule, ServiceEntry

NAMES = ["a", "A-1", "a.example.com", "a.example.com.", "1.a", "xn--a", "a" * 63, f"{'a.' * 127}a"]
WILDCARDS = ["*", "*.a", "*a.b", "*-a.b", "*.", "*.example.com."]
NEITHER = ["", ".", ".a", "a..b", "a_b", "-a", "a-", "a" * 64, f"{'a.' * 128}a", "192.0.2.1", "a.1", "a.*", "**.a",
           "a*.b", "*-.a", "::1", "a b", "a\n", "é"]  # fmt: skip


@pytest.mark.parametrize("text", NAMES)
def test_names(text: str) -> None:
    assert is_dns_name(text)
    assert is_host(text)


@pytest.mark.parametrize("text", WILDCARDS)
def test_wildcards_are_hosts_and_no_names(text: str) -> None:
    assert is_host(text)
    assert not is_dns_name(text)


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_no_host(text: str) -> None:
    assert not is_host(text)
    assert not is_dns_name(text)


def decode(kind: str, spec: str) -> object:
    raw = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": "a"}}
    outcome = decode_object(raw | {"spec": yaml.safe_load(spec)})
    assert isinstance(outcome, Decoded), outcome
    return outcome.object


def test_hosts_have_one_spelling() -> None:
    entry = decode("ServiceEntry", "hosts: [B.example.com, a.example.com, b.Example.com]")
    assert isinstance(entry, ServiceEntry)
    assert entry.spec.hosts == ("b.example.com", "a.example.com")
    assert entry == decode("ServiceEntry", "hosts: [b.example.com, a.example.com]")
    rule = decode("DestinationRule", "host: A.example.com")
    assert isinstance(rule, DestinationRule)
    assert rule.spec.host == "a.example.com"
