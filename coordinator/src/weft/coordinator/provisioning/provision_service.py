"""The servicer of `weft.v1.ProvisionService`: checks a request, lets the kind write its text, and makes the token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.identity.token_rules import new_token
from weft.coordinator.identity.token_table import TokenTable
from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.kind_catalogue import OWN_PACKAGE, KnownKind, known_kinds
from weft.coordinator.provisioning.provision_kind import Artifact, ProvisionKind
from weft.coordinator.provisioning.requested_agent import MeshJoin, known_settings, requested_agent
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.rpc.process.logs import get_logger
from weft.rpc.raised import text_of
from weft.rpc.security import tokens
from weft.v1 import provision_pb2, provision_pb2_grpc

log = get_logger(__name__)

Context = aio.ServicerContext[Any, Any]

# A kind has so long to write its text.
RENDER_S = 10.0
MAX_TEXT_CHARS = 256 * 1024
# In the place of a token that is not made.
PLACEHOLDER = "TOKEN"


class ProvisionService(provision_pb2_grpc.ProvisionServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, table: TokenTable, edge: Edge, joining: Callable[[], MeshJoin]) -> None:
        self._table = table
        self._edge = edge
        self._joining = joining

    @guard.unary
    async def ProvisionAgent(
        self, request: provision_pb2.ProvisionAgentRequest, context: Context
    ) -> provision_pb2.ProvisionAgentResponse:
        known = await _known(request.kind)
        token_id = tokens.generate_id()
        text = PLACEHOLDER if request.dry_run else tokens.generate(token_id)
        kind = _usable(known)
        spec, wanted = requested_agent(request, kind, text, self._joining())
        maker = self._edge.caller(context).token_id
        token = new_token(wanted, token_id, maker, self._table.now())
        # Before the token is stored: one whose text nobody gets would be of no use.
        artifact = await _rendered(known, kind, spec)
        response = provision_pb2.ProvisionAgentResponse(
            text=artifact.text,
            file_name=artifact.file_name,
            steps=artifact.steps,
            warnings=[*artifact.warnings, *self._warnings()],
            agent_ids=spec.ids,
        )
        if not request.dry_run:
            await self._table.create(token, text)
            response.token.CopyFrom(token)
            log.info("agent.provisioned", kind=known.name, agent_id=spec.name, token_id=token.id, by=maker)
        return response

    @guard.unary
    async def ListProvisionKinds(
        self, request: provision_pb2.ListProvisionKindsRequest, context: Context
    ) -> provision_pb2.ListProvisionKindsResponse:
        kinds = await asyncio.to_thread(known_kinds)
        return provision_pb2.ListProvisionKindsResponse(kinds=map(_described, kinds.values()))

    def _warnings(self) -> list[str]:
        if self._edge.on:
            return []
        return ["this coordinator lets agents in without a token: start it with --tokens on"]


async def _known(name: str) -> KnownKind:
    kinds = await asyncio.to_thread(known_kinds)
    if name not in kinds:
        raise refusals.provision_kind_not_found(name, ", ".join(kinds))
    return kinds[name]


def _usable(known: KnownKind) -> ProvisionKind:
    if known.kind is None:
        raise refusals.provision_kind_failed(known.name, known.package, known.problem)
    return known.kind


async def _rendered(known: KnownKind, kind: ProvisionKind, spec: AgentSpec) -> Artifact:
    """What the kind writes: in a thread, since it may be somebody else's.

    Raises:
        WeftError: the spec does not suit the kind, or the kind has failed.
    """
    try:
        async with asyncio.timeout(RENDER_S):
            artifact = await asyncio.to_thread(kind.render, spec)
        if len(artifact.text) > MAX_TEXT_CHARS:
            raise ValueError(f"its text has more than {MAX_TEXT_CHARS} characters")
        return artifact
    except WeftError:
        raise
    except Exception as error:
        if known.package == OWN_PACKAGE and not isinstance(error, TimeoutError):
            raise
        log.warning("provision.kind_failed", kind=known.name, package=known.package, exc_info=True)
        raise refusals.provision_kind_failed(
            known.name,
            known.package,
            f"{type(error).__name__}: {text_of(error)}".replace(spec.token, "…")[:512],
        ) from None


def _described(known: KnownKind) -> provision_pb2.ProvisionKind:
    found = provision_pb2.ProvisionKind(name=known.name, package=known.package, problem=known.problem)
    if known.kind is not None:
        found.description = known.kind.description
        for each in known_settings(known.kind):
            found.settings.add(
                name=each.name,
                description=each.description,
                default_value=each.default,
                required=each.required,
            )
    return found
