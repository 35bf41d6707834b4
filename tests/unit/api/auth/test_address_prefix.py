"""Which addresses count as one."""

import pytest

from tesp_api.api.auth.address_prefix import prefix_of


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("64:ff9b::192.0.2.9", "192.0.2.9"),
        ("64:ff9b:1::192.0.2.9", "64:ff9b:1::/48"),
        ("2001:db8:1:2::9", "2001:db8:1::/48"),
        ("2001:db8:1:ffff:8000::1", "2001:db8:1::/48"),
        ("2001:db8:2::9", "2001:db8:2::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("a socket", "a socket"),
        ("", ""),
    ],
)
def test_the_addresses_of_one_ipv6_network_are_one(address: str, prefix: str) -> None:
    assert prefix_of(address) == prefix
