"""Puts an agent's contract in force: checked against the contracts in force, stored, then admitted.

Task policies hold for all agents. So an agent whose contract has other policies than that of another connected agent is refused
until the others are gone, unless it replaces them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Protocol

from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.coordinator.contracts.contract_loading import ContractLoading
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.policy.method_policy import MethodPolicy
from weft.coordinator.policy.option_differences import differing_option, shown
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.contracts import descriptors
from weft.rpc.identity.caller import Caller
from weft.rpc.process.logs import get_logger
from weft.v1 import fleet_pb2, session_pb2

log = get_logger(__name__)

# Contracts that were refused for their options. They are kept, so that their agents, which dial again, need not send them; larger
# ones are sent again.
MAX_REFUSED = 16
MAX_REFUSED_BYTES = 512 * 1024


class Hosts(Protocol):
    """The known agents, here and elsewhere."""

    @property
    def contracts(self) -> Collection[str]:
        """The digests of their contracts."""
        ...

    def hosts(self, method: str) -> Iterable[fleet_pb2.Agent]:
        """The connected agents that host a method."""
        ...

    def is_back(self, agent_id: str, instance_id: str, contract_hash: str) -> bool:
        """Whether this process is known as the agent, connected, and its contract has been accepted."""
        ...


class ContractAdmission:
    """Admits contracts, one at a time.

    Args:
        admitted: called when a contract is in force. Its agent gets work when that has returned: what follows from the contract
            must hold then.

    Attributes:
        policies: the policies in force.
    """

    def __init__(
        self, store: Store, contracts: Contracts, hosts: Hosts, admitted: Callable[[], Awaitable[None]]
    ) -> None:
        self.policies = contracts.policies
        self._store = store
        self._contracts = contracts
        self._hosts = hosts
        self._admitted = admitted
        self._loading = ContractLoading(self._find)
        self._admitting = asyncio.Lock()
        # By digest.
        self._refused: dict[str, Contract] = {}

    async def admit_known(self, hello: session_pb2.Hello, caller: Caller) -> bool:
        """Admit the contract that `hello` names. False: the coordinator does not have it, or has to check it for other methods, which
        takes longer than an agent waits for its welcome; the agent must send it.

        Raises:
            PermissionDenied: a method takes events of a topic that the agent may not use (OUT_OF_SCOPE, POLICY_DENIED).
            InvalidArgument: a hosted method is not in the contract, or the contract has been refused before.
            FailedPrecondition: a method is incompatible with the one in force.
            Unavailable: OPTIONS_CONFLICT.
        """
        digest = hello.contract_hash
        self._loading.check_refused(digest, [method.name for method in hello.methods])
        contract = self._find(digest)
        if contract is None or not self._loading.is_quick(
            contract, [method.name for method in hello.methods]
        ):
            return False
        await self._admit(hello, contract, caller)
        return True

    def _find(self, digest: str) -> Contract | None:
        return self._contracts.get(digest) or self._refused.get(digest)

    async def admit_sent(self, session: AgentSession, message: session_pb2.Contract) -> None:
        """Admit the contract that an agent sent.

        Raises:
            PermissionDenied: as `admit_known`.
            InvalidArgument: it is not the announced contract, or a hosted method is not in it.
            FailedPrecondition: a method is incompatible with the one in force.
            ResourceExhausted: this machine is too busy to check it.
            Unavailable: OPTIONS_CONFLICT.
        """
        if descriptors.digest(message.file_descriptor_set) != session.hello.contract_hash:
            raise refusals.contract_invalid(
                "the contract's hash is not the one that `hello` announced",
                field="contract.file_descriptor_set",
            )
        contract = await self._loading.load(message.file_descriptor_set, list(session.methods))
        await self._admit(session.hello, contract, session.caller)

    async def admit_imported(self, file_descriptor_set: bytes, methods: Iterable[str]) -> Sequence[str]:
        """Put a contract in force without an agent, for those of its methods that have none yet; returns them.

        Raises:
            InvalidArgument: it is no contract, or a method is not in it.
            FailedPrecondition, ResourceExhausted: as `Contracts.check`.
        """
        new = [name for name in methods if self._contracts.find(name) is None]
        if not new:
            return ()
        contract = await self._loading.load(file_descriptor_set, new)
        async with self._admitting:
            changed = self._contracts.check(contract)
            if changed:
                await self._store.put_contract(contract.digest, contract.file_descriptor_set, changed)
                log.info("contract.imported", methods=len(changed))
            self._contracts.admit(contract)
        await self._admitted()
        return changed

    async def _admit(self, hello: session_pb2.Hello, contract: Contract, caller: Caller) -> None:
        hosted = await self._loading.hosting(contract, [method.name for method in hello.methods])
        for method in hosted.methods.values():
            if method.policy is not None and method.policy.on_event is not None:
                # Its events come to it as tasks: what it may not subscribe to, it may not get so.
                caller.check_method(method.descriptor.input_type.full_name)
        # Stored before it is in force: the next coordinator must check by the same contract.
        async with self._admitting:
            # A process that was accepted once stays accepted when its stream breaks, whatever has replaced its options since.
            replaces = not self._is_back(hello)
            compared = await self._loading.compare(self._contracts, hosted)
            changed = self._contracts.check(hosted, replace_options=replaces, compared=compared)
            if replaces and not hello.replace_options:
                self._check_options(hello, hosted)
            if changed:
                await self._store.put_contract(hosted.digest, hosted.file_descriptor_set, changed)
                log.info("contract.accepted", agent_id=hello.agent_id, methods=len(changed))
            self._contracts.admit(hosted, replace_options=replaces, compared=compared)
            self._refused.pop(hosted.digest, None)
        await self._admitted()

    def _is_back(self, hello: session_pb2.Hello) -> bool:
        return self._contracts.known(hello.contract_hash) and self._hosts.is_back(
            hello.agent_id, hello.instance_id, hello.contract_hash
        )

    def _check_options(self, hello: session_pb2.Hello, hosted: Contract) -> None:
        """Refuse a contract with other options than that of another connected agent.

        Raises:
            Unavailable: OPTIONS_CONFLICT.
        """
        for digest in self._hosts.contracts:
            other = None if digest == hosted.digest else self._contracts.get(digest)
            if other is None:
                continue
            for method in hosted.methods.values():
                theirs = other.policy_of(method.name)
                option = differing_option(method.policy, theirs)
                agent_id = self._other_host(hello.agent_id, method.name, digest) if option else ""
                if agent_id:
                    self._keep_refused(hosted)
                    _refuse(method, theirs, option, agent_id)

    def _other_host(self, agent_id: str, method: str, digest: str) -> str:
        """A connected agent that hosts the method by this contract, and is not `agent_id`; empty: there is none."""
        found = (agent.id for agent in self._hosts.hosts(method) if agent.contract_hash == digest)
        return next((each for each in found if each != agent_id), "")

    def _keep_refused(self, contract: Contract) -> None:
        if self._contracts.known(contract.digest) or len(contract.file_descriptor_set) > MAX_REFUSED_BYTES:
            return
        self._refused.pop(contract.digest, None)
        self._refused[contract.digest] = contract
        if len(self._refused) > MAX_REFUSED:
            del self._refused[next(iter(self._refused))]


def _refuse(method: MethodInfo, theirs: MethodPolicy | None, option: str, agent_id: str) -> None:
    raise refusals.options_conflict(
        f"{method.name}: the option {option} differs. In this agent's contract: {shown(method.policy, option)}. In that of agent"
        f" {agent_id!r}, which is connected: {shown(theirs, option)}. Stop the agents with the other contract, or start this one with --replace-options (Agent(replace_options=True)): then its options hold for all",
        method=method.name,
        option=option,
        agent_id=agent_id,
    )
