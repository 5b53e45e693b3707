"""IP addresses: which texts are some."""

import pytest

from controlplane.model.addresses import parse_address


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
