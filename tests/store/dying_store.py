"""A store whose coordinator dies at a step of a pass, and what a pass needs beside it."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.lightweight import CONTRACT, ECHO
from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.matching import Matching
from weft.coordinator.settings import CoordinatorSettings
from weft.v1 import group_pb2

CALLBACK = group_pb2.GroupCallback(method=ECHO, payload=ProbeRequest(text="then").SerializeToString())


class Died(BaseException):
    """The coordinator is killed here."""


class DyingStore:
    """A store whose process dies at its n-th call: before the call has an effect, or after it."""

    def __init__(self, store: Any, calls: int, *, after: bool) -> None:
        self._store = store
        self._left = calls
        self._after = after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Died
            result = await found(*args, **more)
            if self._left == 0:
                raise Died
            return result

        return call


def submissions_of(store: Any, *, contract: bool = True, max_queued: int = 1_000_000) -> SubmissionService:
    """The submissions of a coordinator that has just started; `contract`: with that of ECHO."""
    contracts = Contracts()
    if contract:
        contracts.admit(Contract.load(CONTRACT, [ECHO]))
    matching = Matching(store, AgentRegister(), AsyncMock())
    settings = CoordinatorSettings(store="unused", max_queued_tasks=max_queued)
    return SubmissionService(store, contracts, matching, settings)
