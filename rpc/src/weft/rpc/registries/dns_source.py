"""Addresses by SRV records, and by the A and AAAA records of the hosts in them. They are looked up again when the first of them ends: after 1 s at the earliest and
30 s at the latest.

Hosts of a lower priority's number come first, and within a priority they are in the random order of their weights (RFC 2782).
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from weft.rpc.network.registry_url import RegistryUrl
from weft.rpc.network.targets import MAX_TARGETS
from weft.rpc.registries.address_source import RegistryError, checked, endpoint

LEAST_S, MOST_S = 1.0, 30.0
LOOK_UP_S = 5.0


class DnsSource:
    """Looks the name up, again and again."""

    def __init__(self, url: RegistryUrl) -> None:
        self._name = url.service
        self._server = url.server

    async def sets(self) -> AsyncIterator[Sequence[str]]:
        resolver, known = self._resolver(), None
        while True:
            found, ttl_s = await self._look_up(resolver)
            addresses = checked(found)
            if frozenset(addresses) != known:
                known = frozenset(addresses)
                yield addresses
            await asyncio.sleep(min(MOST_S, max(LEAST_S, ttl_s)))

    def _resolver(self) -> dns.asyncresolver.Resolver:
        try:
            made = dns.asyncresolver.Resolver(configure=not self._server)
        except dns.exception.DNSException as error:
            raise RegistryError(f"this machine has no DNS server: {error}") from None
        if self._server:
            host, _, port = self._server.rpartition(":")
            made.nameservers = [host.strip("[]")]
            made.port = int(port)
        made.lifetime = LOOK_UP_S
        return made

    async def _look_up(self, resolver: dns.asyncresolver.Resolver) -> tuple[list[str], float]:
        """The addresses, and how long they hold."""
        try:
            answer = await resolver.resolve(self._name, "SRV", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return [], LEAST_S
        except (dns.exception.DNSException, OSError) as error:
            raise RegistryError(f"{self._name} cannot be looked up: {error}") from None
        records = list(answer)
        if len(records) > MAX_TARGETS:
            raise RegistryError(
                f"{self._name} has {len(records)} SRV records; at most {MAX_TARGETS} can be coordinators"
            )
        ttl_s = float(answer.rrset.ttl) if answer.rrset is not None else LEAST_S
        ordered = in_order([(each.priority, each.weight, each) for each in records])
        # A single "." says that the service is not there.
        hosts = [
            (each.target.to_text(omit_final_dot=True), each.port)
            for each in ordered
            if each.target != dns.name.root
        ]
        ips = await asyncio.gather(*(self._ips(resolver, host) for host, _ in hosts))
        found = [endpoint(ip, port) for (_, port), (some, _) in zip(hosts, ips, strict=True) for ip in some]
        if hosts and not found:
            raise RegistryError(f"no host of {self._name} has an address")
        return found, min([ttl_s, *(of_host_s for _, of_host_s in ips)])

    async def _ips(self, resolver: dns.asyncresolver.Resolver, host: str) -> tuple[list[str], float]:
        try:
            return [str(ipaddress.ip_address(host))], MOST_S
        except ValueError:
            pass
        try:
            # Both families at once.
            found = await resolver.resolve_name(host, search=False)
        except (dns.exception.DNSException, OSError):
            # The others may do.
            return [], LEAST_S
        answers: list[Any] = list(found.values())
        ttls_s = [float(each.rrset.ttl) for each in answers if each.rrset is not None]
        return list(found.addresses()), min([MOST_S, *ttls_s])


def in_order(records: Sequence[tuple[int, int, Any]]) -> list[Any]:
    """The records in the order in which they are tried.

    Args:
        records: priority, weight, record.
    """
    ordered: list[Any] = []
    for priority in sorted({each[0] for each in records}):
        left = [(weight, record) for of, weight, record in records if of == priority]
        while left:
            # Those of weight 0 have a small chance, too.
            [chosen] = random.choices(range(len(left)), [weight + 0.01 for weight, _ in left])  # noqa: S311 - not for secrets
            ordered.append(left.pop(chosen)[1])
    return ordered
