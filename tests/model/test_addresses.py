"""IP addresses: which texts are some."""

from ipaddress import IPv4Address

import pytest

from controlplane.model.addresses import is_ipv4, is_ipv6, parse_address, parse_block


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


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.1/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("2001:db8::1/32", "2001:db8::/32"),
    ],
)
def test_blocks(text: str, block: str) -> None:
    assert str(parse_block(text)) == block


@pytest.mark.parametrize(
    "text", ["", "/", "a", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/08", "192.0.2.0/255.255.255.0", "192.0.2.0/+8", "::/129",
             "192.0.2.0/8/8", "192.0.2.0/8\n", "fe80::1%eth0/64"],
)  # fmt: skip
def test_what_is_no_block(text: str) -> None:
    assert parse_block(text) is None
