"""Which agents take direct calls of which methods, as a client of gRPC can dial them. Pure.

A client of gRPC has addresses, not agents: of two agents that say the same one only the first counts. It refuses a whole list of addresses for one that is no IP
address, so those are left out. If some agents of a service have TLS, those without are left out: a client uses TLS for all of a cluster or for none.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from weft.rpc.balancing import fleet_snapshot
from weft.v1 import fleet_pb2

# Slots beyond this weigh no more: sums of weights have 32 bits.
MOST_SLOTS = 65_535


class CallablePort(NamedTuple):
    """An agent's own port.

    Attributes:
        slots: the agent's capacity.
        tls_name: a name in its certificate; empty: it has no TLS.
    """

    host: str
    number: int
    slots: int
    tls_name: str


class CallableMethod(NamedTuple):
    """A method.

    Attributes:
        repeatable: by its contract a call may run twice.
    """

    ports: Sequence[CallablePort]
    repeatable: bool


class CallableService(NamedTuple):
    """A service that some connected agent hosts.

    Attributes:
        ports: of all agents that take calls of some method of it.
        methods: by full name.
    """

    ports: Sequence[CallablePort]
    methods: Mapping[str, CallableMethod]


class _Candidate(NamedTuple):
    port: CallablePort
    sure: bool


def callable_services(
    agents: Iterable[fleet_pb2.Agent], repeatable: Callable[[str], bool]
) -> dict[str, CallableService]:
    """The services, by name.

    Args:
        agents: those that watchers know.
        repeatable: whether a call of a method may run twice, by its contract.
    """
    hosts: dict[str, list[_Candidate]] = defaultdict(list)
    for agent in sorted(agents, key=lambda agent: agent.id):
        candidate = _candidate(agent)
        for method in agent.methods:
            # Named even without an agent that takes calls: its service is known.
            found = hosts[method.name]
            if candidate is not None and not method.unavailable:
                found.append(candidate)
    services: dict[str, dict[str, list[CallablePort]]] = defaultdict(dict)
    for name in sorted(hosts):
        services[name.rpartition("/")[0]][name] = _ports(hosts[name])
    return {service: _service(methods, repeatable) for service, methods in services.items()}


def undialled(agents: Iterable[fleet_pb2.Agent]) -> dict[str, str]:
    """Agents that take direct calls, but at an address that clients of gRPC do not take from a list: agent id -> address."""
    return {
        agent.id: agent.advertised_address
        for agent in agents
        if fleet_snapshot.takes_calls(agent) and _port(agent) is None
    }


def _candidate(agent: fleet_pb2.Agent) -> _Candidate | None:
    sure = fleet_snapshot.takes_calls(agent)
    if not sure and not fleet_snapshot.may_take_calls(agent):
        return None
    port = _port(agent)
    return None if port is None else _Candidate(port, sure)


def _port(agent: fleet_pb2.Agent) -> CallablePort | None:
    host, _, number = agent.advertised_address.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    if address.is_unspecified or not number.isascii() or not number.isdigit() or not 0 < int(number) < 65536:
        return None
    return CallablePort(str(address), int(number), max(1, min(agent.slots, MOST_SLOTS)), agent.tls_name)


def _ports(candidates: Sequence[_Candidate]) -> list[CallablePort]:
    # If the sessions of all have broken at once, as when a coordinator restarts, their ports may well be there.
    chosen = [each.port for each in candidates if each.sure] or [each.port for each in candidates]
    return list({port[:2]: port for port in reversed(chosen)}.values())[::-1]


def _service(
    methods: Mapping[str, Sequence[CallablePort]], repeatable: Callable[[str], bool]
) -> CallableService:
    secured = any(port.tls_name for ports in methods.values() for port in ports)
    kept = {name: [port for port in ports if port.tls_name or not secured] for name, ports in methods.items()}
    by_address = {port[:2]: port for ports in kept.values() for port in ports}
    return CallableService(
        sorted(by_address.values()),
        {name: CallableMethod(sorted(ports), repeatable(name)) for name, ports in kept.items()},
    )
