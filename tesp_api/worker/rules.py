"""Where transfers may go: which schemes, host names and addresses. Pure; the server asks it as well.

A literal address counts in every spelling that a resolver takes, and with the address that it carries
inside (mapped, NAT64, 6to4, Teredo, ISATAP).

Source: RFC 6890 (special addresses), RFC 6052 and 8215 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo),
RFC 5214 (ISATAP), RFC 6761 (localhost), and the clouds' manuals (metadata).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Tuple, Union
from urllib.parse import unquote

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    Ip = Union[IPv4Address, IPv6Address]
    Network = Union[IPv4Network, IPv6Network]

LOCAL = {
    "an unspecified": ("0.0.0.0/8", "::/128"),
    "a loopback": ("127.0.0.0/8", "::1/128"),
    "a cloud metadata": (
        "169.254.169.254/32",
        "169.254.170.0/24",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
        "fd00:42::42/128",
        "fd00:a9fe:a9fe::/64",
        "fd00:c1::a9fe:a9fe/128",
        "fd00:100::100:200/128",
    ),
    "a link-local": ("169.254.0.0/16", "fe80::/10"),
    "a multicast": ("224.0.0.0/4", "ff00::/8"),
    "a broadcast": ("255.255.255.255/32",),
}
"""What is denied unless `local_networks` holds it, by what it is called; the first that fits."""

_METADATA_NAMES = (
    "metadata",
    "metadata.goog",
    "metadata.google.internal",
    "instance-data",
    "metadata.tencentyun.com",
)
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")

Names = Tuple[str, ...]


class Rules(NamedTuple):
    """The settings of the same names; a name or address is refused that `deny_` holds or `allow_` lacks.

    `trusted` are places ("host:port", with wildcards) that the operator named elsewhere: they pass all rules.
    """

    allow_schemes: Names = ()
    deny_schemes: Names = ()
    allow_hosts: Names = ()
    deny_hosts: Names = ()
    allow_networks: Names = ()
    deny_networks: Names = ()
    local_networks: Names = ()
    trusted: Names = ()

    def scheme_fault(self, scheme: str) -> str:
        """Why the scheme is refused and by which setting; "" if it is not."""
        return refusal("the scheme", "schemes", (scheme,), self.allow_schemes, self.deny_schemes)

    def host_fault(self, host: str) -> str:
        """Why the host is refused, as far as its name or its literal address tells; "" if it is not."""
        name = host_name(host)
        address = literal_of(name)
        if address is None:
            fault = refusal("the host", "hosts", (name,), self.allow_hosts, self.deny_hosts)
            faults = [self.address_fault(one) for one in _known_addresses(name)]
            is_local = bool(faults) and all(faults)
            return fault or (f"the host {name!r} is known to be local: {faults[0]}" if is_local else "")
        names = (name, *map(str, _forms(address)))
        fault = refusal("the host", "hosts", names, self.allow_hosts, self.deny_hosts)
        return fault or self.address_fault(str(address))

    def address_fault(self, text: str) -> str:
        """Why the address is refused and by which setting; "" if it is not."""
        address = _address(text)
        forms, carried = _forms(address), _carried(address)
        for form in (*forms, *carried):
            said = str(form) if form == address else f"{address} (which is {form})"
            if _holds(self.deny_networks, form):
                return f"the address {said} is refused by transfers.deny_networks"
            for kind, networks in LOCAL.items():
                if _holds(networks, form) and not _holds(self.local_networks, form):
                    return f"{said} is {kind} address, and transfers.local_networks does not hold it"
        if self.allow_networks and not any(_holds(self.allow_networks, form) for form in forms):
            allowed = ", ".join(self.allow_networks)
            return f"the address {address} is not among transfers.allow_networks ({allowed})"
        return ""


def refusal(what: str, setting: str, names: Names, allow: Names, deny: Names) -> str:
    """Why something that goes by all of `names` is refused; "" if it is not."""
    for pattern in deny:
        if any(fnmatchcase(name, _pattern(pattern)) for name in names):
            return f"{what} {names[0]!r} is refused by transfers.deny_{setting} ({pattern})"
    if allow and not any(fnmatchcase(name, _pattern(pattern)) for name in names for pattern in allow):
        return f"{what} {names[0]!r} is not among transfers.allow_{setting} ({', '.join(allow)})"
    return ""


@lru_cache(maxsize=1024)
def host_name(host: str) -> str:
    """The name as a resolver asks for it: lower case, ASCII, decoded, without a dot at its end."""
    name = unquote(host).strip("[]")
    if not name.isascii():
        with suppress(UnicodeError):  # such a name cannot be asked for either
            name = name.encode("idna").decode()
    name = name.lower()
    return name[:-1] if name.endswith(".") else name


def literal_of(name: str) -> Ip | None:
    """The address that a name of `host_name` spells, in any way that resolvers take; None for a real name."""
    try:
        if ":" in name:
            return _address(name)
        return _address(socket.inet_ntoa(socket.inet_aton(name))) if " " not in name else None
    except (OSError, ValueError):
        return None


def _known_addresses(name: str) -> Names:
    if name in _LOOPBACK_NAMES or name.endswith(".localhost"):
        return "127.0.0.1", "::1"
    return ("169.254.169.254",) if name in _METADATA_NAMES else ()


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> str:
    """A pattern like the names that it is compared with; a part beyond ASCII can have no wildcards."""
    return ".".join(part if part.isascii() else host_name(part) for part in pattern.lower().split("."))


@lru_cache(maxsize=1024)
def _network(text: str) -> Network:
    from ipaddress import ip_network

    return ip_network(text, strict=False)


@lru_cache(maxsize=1024)
def _address(text: str) -> Ip:
    from ipaddress import ip_address

    return ip_address(text.partition("%")[0])


def _holds(networks: Names, address: Ip) -> bool:
    return any(address in _network(text) for text in networks)


def _forms(address: Ip) -> tuple[Ip, ...]:
    """The address and, if it only stands for one of IPv4, that: mapped, compatible, translated, NAT64."""
    from ipaddress import IPv4Address

    number = int(address)
    is_other = address.version == 6 and (
        number >> 32 in (0xFFFF, 0xFFFF0000, 0x64FF9B << 64) or 1 < number < 1 << 32
    )
    return (address, IPv4Address(number & 0xFFFFFFFF)) if is_other else (address,)


def _carried(address: Ip) -> tuple[Ip, ...]:
    """The addresses of IPv4 to which a tunnel, or a translator of this site, leads."""
    from ipaddress import IPv4Address

    number = int(address)
    found = []
    if address.version == 6:
        if number >> 112 == 0x2002:
            found.append(number >> 80)
        if number >> 96 == 0x20010000:
            found += [number >> 64, ~number]
        if number >> 80 == 0x64FF9B0001:  # at the end or, with a prefix of 48 bits, in the middle
            places = (number & 0xFFFFFFFF, (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF)
            found += filter(None, places)
        if number >> 32 & 0xFDFFFFFF == 0x5EFE:
            found.append(number)
    return tuple(IPv4Address(one & 0xFFFFFFFF) for one in found)
