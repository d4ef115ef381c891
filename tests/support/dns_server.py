"""A DNS server on a port of its own, which answers SRV and A questions by UDP from a table: a socket, and dnspython's messages."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

ZONE = "example.test"
NAME = f"_weft._tcp.{ZONE}."


class DnsServer(asyncio.DatagramProtocol):
    """The server. `target` is the URL of a source."""

    def __init__(self) -> None:
        # Name, type -> texts of records.
        self.records: dict[tuple[str, str], list[str]] = {}
        self.ttl_s = 1
        self.asked = 0
        # Answers nothing.
        self.silent = False
        self.port = 0
        self._transport: Any = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    @property
    def target(self) -> str:
        return f"dns+srv://_weft._tcp.{ZONE}?server=127.0.0.1:{self.port}"

    def put(self, *addresses: str) -> None:
        """Make these the only coordinators."""
        self.records = {}
        for number, address in enumerate(addresses):
            host, _, port = address.rpartition(":")
            name = f"c{number}.{ZONE}."
            self.records.setdefault((NAME, "SRV"), []).append(f"10 {number} {port} {name}")
            self.records[name, "A"] = [host]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        if self.silent:
            return
        question = dns.message.from_wire(data)
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.AA | dns.flags.RA
        [asked] = question.question
        name, kind = asked.name.to_text().lower(), dns.rdatatype.to_text(asked.rdtype)
        if texts := self.records.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(asked.name, self.ttl_s, "IN", kind, *texts))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(max_size=65535), addr)
