"""Which addresses count as one place: those that one client may have as it likes."""

import ipaddress
from functools import lru_cache

_IPV6_BITS = 48
"""What is handed to one site, and by many hosters and tunnels to anybody who asks. Source: RFC 6177."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""All of IPv4, as a translator tells its addresses. Source: RFC 6052, section 2.1."""


@lru_cache(maxsize=1024)
def prefix_of(address: str) -> str:
    """Of IPv4 the address itself, also where IPv6 carries it, else its /48.

    What is no address stands for itself.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found in _NAT64:
        return str(ipaddress.IPv4Address(found.packed[-4:]))
    return str(found.ipv4_mapped or ipaddress.ip_network((found, _IPV6_BITS), strict=False))
