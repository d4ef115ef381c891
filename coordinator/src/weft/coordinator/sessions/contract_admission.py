"""Puts an agent's contract in force: checked against the contracts in force, stored, then admitted."""

from __future__ import annotations

import asyncio

from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.process.logs import get_logger
from weft.v1 import session_pb2

log = get_logger(__name__)


class ContractAdmission:
    """Admits contracts, one at a time."""

    def __init__(self, store: Store, contracts: Contracts) -> None:
        self._store = store
        self._contracts = contracts
        self._admitting = asyncio.Lock()

    async def admit_known(self, hello: session_pb2.Hello) -> bool:
        """Admit the contract that `hello` names; False: the coordinator does not have it, the agent must send it.

        Raises:
            InvalidArgument: a hosted method is not in the contract.
            FailedPrecondition: a method is incompatible with the one in force.
        """
        contract = self._contracts.get(hello.contract_hash)
        if contract is not None:
            await self._admit(hello, contract)
        return contract is not None

    async def admit_sent(self, session: AgentSession, message: session_pb2.Contract) -> None:
        """Admit the contract that an agent sent.

        Raises:
            InvalidArgument: it is not the announced contract, or a hosted method is not in it.
            FailedPrecondition: a method is incompatible with the one in force.
        """
        contract = Contract.load(message.file_descriptor_set, list(session.methods))
        if contract.digest != session.hello.contract_hash:
            raise refusals.contract_invalid(
                "the contract's hash is not the one that `hello` announced",
                field="contract.file_descriptor_set",
            )
        await self._admit(session.hello, contract)

    async def _admit(self, hello: session_pb2.Hello, contract: Contract) -> None:
        hosted = contract.hosting([method.name for method in hello.methods])
        # Stored before it is in force: the next coordinator must check by the same contract.
        async with self._admitting:
            changed = self._contracts.check(hosted)
            if changed:
                await self._store.put_contract(hosted.digest, hosted.file_descriptor_set, changed)
                log.info("contract.accepted", agent=hello.agent_id, methods=len(changed))
            self._contracts.admit(hosted)
