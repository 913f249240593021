"""Which addresses a fetch may talk to: never this pod itself, its link, or a cloud's metadata service."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.100.100.200/32",  # Alibaba Cloud
            "168.63.129.16/32",  # Azure's wire server
            "192.0.0.192/32",  # Oracle Cloud, old
            "fd00:ec2::/32",  # AWS over IPv6
            "fd20:ce::254/128",  # Google Cloud over IPv6
        ),
    )
)
"""Metadata services outside 169.254.0.0/16, which is refused as link-local already."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class AddressRules:
    """Networks that are allowed all the same; empty in every pod, loopback in tests of the fetch itself."""

    allowed: tuple[Network, ...] = ()


def forbidden(address: str, rules: AddressRules) -> str | None:
    """Return why `address` may not be talked to, or None where it may."""
    parsed = embedded(ipaddress.ip_address(address.partition("%")[0]))
    if any(parsed in network for network in rules.allowed):
        return None
    if any(parsed in network for network in METADATA):
        return "a cloud metadata address"
    kinds = (
        (parsed.is_loopback, "a loopback address"),
        (parsed.is_link_local, "a link-local address, where clouds serve credentials"),
        (parsed.is_unspecified, "the unspecified address"),
        (parsed.is_multicast, "a multicast address"),
        (_this_network(parsed) or parsed.is_reserved, "a reserved address"),
    )
    return next((reason for holds, reason in kinds if holds), None)


def embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one carries (mapped, 6to4, Teredo, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def _this_network(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv4Address) and address in ipaddress.IPv4Network("0.0.0.0/8")
