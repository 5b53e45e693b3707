"""IP addresses: which texts are some."""

from ipaddress import IPv4Address

import pytest

from controlplane.model.addresses import is_ipv4, is_ipv6, parse_address


@pytest.mark.parametrize("text", ["192.0.2.1", "0.0.0.0", "127.0.0.1", "2001:db8::1", "::1", "::", "FE80::1"])
def test_addresses(text: str) -> None:
    assert parse_address(text) is not None


@pytest.mark.parametrize(
    "text",
    ["", "192.0.2", "192.0.2.256", "192.0.2.01", "192.0.2.1/32", " 192.0.2.1", "a", "2001:db8::1::", "[::1]", "::ffff:192.0.2.1",
     "fe80::1%eth0", "1:2:3:4:5:6:7:8:9", "192.0.2.1\n"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


def test_the_quick_look_sees_what_the_parser_sees() -> None:
    parts = [
        "0",
        "1",
        "9",
        "10",
        "99",
        "100",
        "199",
        "200",
        "249",
        "250",
        "255",
        "256",
        "00",
        "01",
        "",
        "a",
        "-1",
        "1000",
        "٣",
    ]
    texts = [f"{a}.{b}.0.{c}" for a in parts for b in parts for c in parts]
    texts += ["1.2.3", "1.2.3.4.5", "1.2.3.4.", ".1.2.3.4", "1.2.3.4\n", "1.2.3.4 ", "1..2.3", "", "::1"]
    for text in texts:
        assert is_ipv4(text) == isinstance(parse_address(text), IPv4Address), text
    assert is_ipv6("::1")
    assert not is_ipv6("192.0.2.1")
