"""Which agents take direct calls of which methods, as a client of gRPC can dial them. Pure.

A client of gRPC has addresses, not agents: of two agents that say the same one only one counts. It refuses a whole list of addresses for one that is no IP
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


class AgentFacts(NamedTuple):
    """What of an agent clients are told. If it is as before, so is all that they are told of it.

    Attributes:
        port: None: it takes no calls.
        sure: its session is open. Otherwise that broke a moment ago, and the port may be there.
        methods: by service: the methods that it hosts, and those of them that it takes calls of.
        contract: the digest of its contract.
    """

    port: CallablePort | None
    sure: bool
    methods: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    contract: str


def agent_facts(agent: fleet_pb2.Agent) -> AgentFacts:
    """What is told of an agent that watchers know."""
    sure = fleet_snapshot.takes_calls(agent)
    port = _port(agent) if sure or fleet_snapshot.may_take_calls(agent) else None
    methods: dict[str, tuple[list[str], list[str]]] = {}
    for method in agent.methods:
        hosted, taken = methods.setdefault(method.name.rpartition("/")[0], ([], []))
        hosted.append(method.name)
        if not method.unavailable:
            taken.append(method.name)
    return AgentFacts(port, sure, methods, agent.contract_hash)


def is_undialled(agent: fleet_pb2.Agent) -> bool:
    """Whether an agent takes direct calls, but at an address that clients of gRPC do not take from a list."""
    return fleet_snapshot.takes_calls(agent) and _port(agent) is None


def callable_service(
    name: str, agents: Iterable[AgentFacts], repeatable: Callable[[str], bool]
) -> CallableService | None:
    """A service. None: no agent hosts it.

    Args:
        agents: at least those that host it.
        repeatable: whether a call of a method may run twice, by its contract.
    """
    hosted: set[str] = set()
    # By the methods that they take calls of: most agents take the same.
    alike: dict[tuple[str, ...], list[AgentFacts]] = defaultdict(list)
    for each in agents:
        if (found := each.methods.get(name)) is not None:
            hosted.update(found[0])
            if each.port is not None:
                alike[tuple(found[1])].append(each)
    if not hosted:
        return None
    secured = any(each.port and each.port.tls_name for group in alike.values() for each in group)
    known: dict[tuple[tuple[str, ...], ...], Sequence[CallablePort]] = {}
    methods: dict[str, CallableMethod] = {}
    for method in sorted(hosted):
        groups = tuple(taken for taken in alike if method in taken)
        if groups not in known:
            known[groups] = _ports((each for taken in groups for each in alike[taken]), secured=secured)
        methods[method] = CallableMethod(known[groups], repeatable(method))
    together = _apart(port for ports in known.values() for port in ports)
    return CallableService(together, methods)


def _ports(agents: Iterable[AgentFacts], *, secured: bool) -> Sequence[CallablePort]:
    among = list(agents)
    # If the sessions of all have broken at once, as when a coordinator restarts, their ports may well be there.
    chosen = [each for each in among if each.sure] or among
    return _apart(each.port for each in chosen if each.port and (each.port.tls_name or not secured))


def _apart(ports: Iterable[CallablePort]) -> Sequence[CallablePort]:
    """In order, each address once."""
    return list({port[:2]: port for port in sorted(ports)}.values())


def _port(agent: fleet_pb2.Agent) -> CallablePort | None:
    host, _, number = agent.advertised_address.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    if address.is_unspecified or not number.isascii() or not number.isdigit() or not 0 < int(number) < 65536:
        return None
    return CallablePort(str(address), int(number), max(1, min(agent.slots, MOST_SLOTS)), agent.tls_name)
