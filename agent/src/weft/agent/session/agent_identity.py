"""An agent's description of itself, for Hello and for DescribeAgent."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping

from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.settings import AgentSettings
from weft.rpc.process.environment import environment
from weft.rpc.process.version import VERSION
from weft.v1 import fleet_pb2, session_pb2


def identity_of(
    settings: AgentSettings,
    methods: Mapping[str, HostedMethod],
    instance_id: str,
    digest: str,
    advertised: str,
    tls_name: str,
) -> session_pb2.Hello:
    """The part of a Hello that stays the same until the hosted methods change.

    Args:
        digest: of the methods' contract.
        advertised: the address of the direct server; empty: there is none.
        tls_name: a name in its certificate; empty: it has no TLS.
    """
    return session_pb2.Hello(
        agent_id=settings.id,
        instance_id=instance_id,
        # The machine, unless the settings say otherwise. The coordinator adds the agent's id and version.
        labels={"host": socket.gethostname(), **_environment(settings), **settings.labels},
        resources=settings.resources,
        contract_hash=digest,
        methods=[
            fleet_pb2.HostedMethod(name=name, slot_cost=hosted.slot_cost)
            for name, hosted in sorted(methods.items())
        ],
        slots=settings.slots,
        prefetch=settings.prefetch,
        advertised_address=advertised,
        tls_name=tls_name if advertised else "",
        version=VERSION,
        replace_options=settings.replace_options,
        keeps_logs=settings.log_lines > 0,
        takes_commands=True,
    )


def _environment(settings: AgentSettings) -> Mapping[str, str]:
    return environment() if settings.environment_labels else {}


def hello_now(
    identity: session_pb2.Hello,
    unavailable: Collection[str],
    held: Iterable[session_pb2.HeldAttempt] = (),
    *,
    draining: bool,
) -> session_pb2.Hello:
    """The present Hello. `unavailable` has the services that take no calls."""
    hello = session_pb2.Hello()
    hello.CopyFrom(identity)
    for method in hello.methods:
        # In Hello already: it holds before the first heartbeat.
        method.unavailable = method.name.partition("/")[0] in unavailable
    hello.held.extend(held)
    hello.draining = draining
    return hello


def described(hello: session_pb2.Hello, used_slots: int, load: fleet_pb2.HostLoad) -> fleet_pb2.Agent:
    """The agent's description of itself."""
    return fleet_pb2.Agent(
        id=hello.agent_id,
        instance_id=hello.instance_id,
        state=fleet_pb2.AGENT_STATE_DRAINING if hello.draining else fleet_pb2.AGENT_STATE_ACTIVE,
        labels=hello.labels,
        resources=hello.resources,
        methods=hello.methods,
        contract_hash=hello.contract_hash,
        slots=hello.slots,
        used_slots=used_slots,
        advertised_address=hello.advertised_address,
        tls_name=hello.tls_name,
        load=load,
        version=hello.version,
    )
