# ruff: noqa: RUF001
"""Where transfers may go: every spelling of an address, by default and by the settings."""

import pytest

from tesp_api.worker.rules import Rules, host_name

DENIED = {
    "a loopback": [
        "127.0.0.1",
        "127.0.0.1.",
        "127.255.255.254",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "0177.0x0.0.01",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "[::1]",
        "::1",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "[::FFFF:7F00:0001]",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1:7f00:0:100::",
        "2002:7f00:1::",
        "2002:7f00:0001::1",
        "2001:0:7f00:1::",
        "2001:0:808:808:0:0:80ff:fffe",
        "fe80::5efe:127.0.0.1",
        "2001:db8::200:5efe:7f00:1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "%6cocalhost",
        "ｌｏｃａｌｈｏｓｔ",
        "anything.localhost",
        "ip6-localhost",
        "localhost.localdomain",
    ],
    "a cloud metadata": [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
        "metadata.google.internal",
        "Metadata.Google.Internal.",
        "metadata",
    ],
    "a link-local": [
        "169.254.0.1",
        "169.254.255.255",
        "fe80::1",
        "fe80::1%25eth0",
        "febf::1",
        "fe80::a9fe:a9fe",
    ],
    "an unspecified": ["0.0.0.0", "0", "0.1.2.3", "::", "::ffff:0.0.0.0"],
    "a multicast": ["224.0.0.1", "239.255.255.250", "ff02::1"],
    "a broadcast": ["255.255.255.255", "4294967295", "0xffffffff"],
}
ALLOWED = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "8.8.8.8",
    "010.0.0.1",
    "128.0.0.1",
    "126.255.255.255",
    "169.253.255.255",
    "fd12:3456::1",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "example.org",
    "storage",
    "localhost.example.org",
    "127.0.0.1.nip.io",
    "256.256.256.256",
    "bücher.example",
]


@pytest.mark.parametrize(("kind", "host"), [(kind, host) for kind, hosts in DENIED.items() for host in hosts])
def test_what_is_denied_by_default_in_every_spelling(kind: str, host: str) -> None:
    fault = Rules().host_fault(host)
    # An ISATAP address of a link is denied for either reason.
    assert f"is {kind} address" in fault or ("5efe" in host and "address" in fault)
    assert "transfers.local_networks" in fault
    assert not Rules(local_networks=("0.0.0.0/0", "::/0")).host_fault(host)


@pytest.mark.parametrize("host", ALLOWED)
def test_what_is_allowed_by_default(host: str) -> None:
    assert Rules().host_fault(host) == ""


@pytest.mark.parametrize(
    ("rules", "host", "words"),
    [
        (Rules(local_networks=("127.0.0.0/8",)), "127.0.0.1", ""),
        (Rules(local_networks=("127.0.0.0/8",)), "localhost", ""),
        (Rules(local_networks=("127.0.0.0/8",)), "::ffff:127.0.0.1", ""),
        (Rules(local_networks=("127.0.0.0/8",)), "::1", "is a loopback address"),
        (Rules(local_networks=("127.0.0.0/8",)), "169.254.169.254", "is a cloud metadata address"),
        (Rules(local_networks=("127.0.0.1/32",)), "127.0.0.2", "is a loopback address"),
        (
            Rules(local_networks=("127.0.0.0/8",), deny_networks=("127.0.0.0/8",)),
            "127.0.0.1",
            "deny_networks",
        ),
        (Rules(deny_networks=("10.0.0.0/8",)), "10.1.2.3", "deny_networks"),
        (Rules(deny_networks=("10.0.0.0/8",)), "167838211", "deny_networks"),
        (Rules(deny_networks=("10.0.0.0/8",)), "::ffff:10.1.2.3", "deny_networks"),
        (Rules(deny_networks=("10.0.0.0/8",)), "64:ff9b::a01:203", "deny_networks"),
        (Rules(deny_networks=("10.0.0.0/8",)), "2002:a01:203::1", "deny_networks"),
        (Rules(deny_networks=("fd00::/8",)), "fd12::1", "deny_networks"),
        (Rules(allow_networks=("192.0.2.0/24",)), "192.0.2.7", ""),
        (Rules(allow_networks=("192.0.2.0/24",)), "::ffff:192.0.2.7", ""),
        (
            Rules(allow_networks=("192.0.2.0/24",)),
            "198.51.100.1",
            "not among transfers.allow_networks (192.0.2.0/24)",
        ),
        (Rules(allow_networks=("192.0.2.0/24",)), "2002:c000:207::1", "not among transfers.allow_networks"),
        (Rules(allow_networks=("192.0.2.0/24",)), "a.name", ""),
        (Rules(allow_networks=("0.0.0.0/0",)), "127.0.0.1", "is a loopback address"),
        (Rules(deny_hosts=("*.evil.org",)), "a.EVIL.org.", "transfers.deny_hosts (*.evil.org)"),
        (Rules(deny_hosts=("*.evil.org",)), "%61.evil.org", "transfers.deny_hosts"),
        (Rules(deny_hosts=("*.evil.org",)), "evil.org", ""),
        (Rules(deny_hosts=("*.evil.org",)), "evil.org.example", ""),
        (Rules(deny_hosts=("bücher.example",)), "xn--bcher-kva.example", "transfers.deny_hosts"),
        (Rules(deny_hosts=("xn--bcher-kva.example",)), "BÜCHER.example", "transfers.deny_hosts"),
        (Rules(deny_hosts=("10.0.0.1",)), "167772161", "transfers.deny_hosts"),
        (Rules(deny_hosts=("10.0.0.1",)), "::ffff:10.0.0.1", "transfers.deny_hosts"),
        (Rules(allow_hosts=("*.example.org",)), "data.example.org", ""),
        (
            Rules(allow_hosts=("*.example.org",)),
            "example.org",
            "not among transfers.allow_hosts (*.example.org)",
        ),
        (Rules(allow_hosts=("*.example.org",)), "192.0.2.1", "not among transfers.allow_hosts"),
        (Rules(allow_hosts=("*.example.org",), deny_hosts=("x.*",)), "x.example.org", "transfers.deny_hosts"),
        (Rules(allow_hosts=("localhost",)), "localhost", "is a loopback address"),
    ],
)
def test_rules_of_hosts_and_networks(rules: Rules, host: str, words: str) -> None:
    fault = rules.host_fault(host)
    assert words in fault if words else fault == ""


def test_rules_of_schemes() -> None:
    assert Rules().scheme_fault("ftp") == ""
    assert "transfers.deny_schemes" in Rules(deny_schemes=("FTP",)).scheme_fault("ftp")
    assert "not among transfers.allow_schemes (https)" in Rules(allow_schemes=("https",)).scheme_fault("http")


def test_an_address_names_what_it_stands_for() -> None:
    assert Rules().address_fault("::ffff:a9fe:a9fe").startswith("::ffff:a9fe:a9fe (which is 169.254.169.254)")


@pytest.mark.parametrize(
    "spelling", ["EXAMPLE.org", "example.org.", "%65xample.org", "ｅxample.org", "[example.org]"]
)
def test_names_are_compared_as_a_resolver_asks_for_them(spelling: str) -> None:
    assert host_name(spelling) == "example.org"
