"""Which addresses count as one place: those that one client may have as it likes."""

import ipaddress
from functools import lru_cache

_IPV6_BITS = 48
"""What is handed to one site, and by many hosters and tunnels to anybody who asks. Source: RFC 6177."""


@lru_cache(maxsize=1024)
def prefix_of(address: str) -> str:
    """Of IPv4 the address itself, of IPv6 its /48; what is no address stands for itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is None and found.version == 6:
        return str(ipaddress.ip_network((found, _IPV6_BITS), strict=False))
    return str(mapped or found)
