"""Keeps the catalogue of contracts up to date with the store, and forgets contracts that nothing needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.coordinator.store.base import Store
from weft.rpc.contracts.payload_rules import load_library
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# How often to look for contracts that are not needed.
FORGET_EVERY_S = 60.0

_Key = tuple[str, tuple[str, ...]]
# A contract, or why it cannot be loaded.
_Built = Contract | WeftError


class ContractSync:
    """The catalogue's I/O.

    Args:
        forget_after_s: a contract is forgotten when it was not needed for so long.
        also_needed: gives methods whose contracts are needed too: those of schedules and callbacks.
    """

    def __init__(
        self,
        store: Store,
        contracts: Contracts,
        *,
        forget_after_s: float,
        also_needed: Callable[[], Awaitable[Collection[str]]],
    ) -> None:
        self._store = store
        self._contracts = contracts
        self._forget_after_s = forget_after_s
        self._also_needed = also_needed
        # The store's contracts that are loaded, and the methods that each was in force for then.
        self._loaded: dict[str, Sequence[str]] = {}
        # By the monotonic clock.
        self._forget_at_s = 0.0
        self._loading = asyncio.Lock()

    async def bring(self, methods: Iterable[str]) -> None:
        """Take in the store's contracts if one of these methods is not in force here."""
        if any(self._contracts.find(name) is None for name in methods):
            await self.load()

    async def load(self) -> None:
        """Take in the store's contracts that are new, or in force for other methods."""
        async with self._loading:
            await self._load()

    async def _load(self) -> None:
        stored, built = await self._read()
        for digest in [digest for digest in self._loaded if digest not in stored]:
            self._drop(digest)
        for digest, (_, methods) in stored.items():
            if self._loaded.get(digest) == methods:
                continue
            self._loaded[digest] = methods
            contract = built[digest, tuple(methods)]
            try:
                if isinstance(contract, WeftError):
                    raise contract
                self._contracts.load(contract)
            except WeftError as error:
                # Its agents send it again, and get the error.
                log.warning("contract.skipped", digest=digest[:12], error=error.message)

    async def _read(self) -> tuple[Mapping[str, tuple[bytes, Sequence[str]]], Mapping[_Key, _Built]]:
        """The store's contracts, and those that are new, built. What was read while an agent's contract came into force may be
        older than that: it is read again."""
        moved: set[str] = set()
        built: dict[_Key, _Built] = {}
        while True:
            admissions = self._contracts.admissions
            # Those that are in force for other methods now come with their files.
            known = self._loaded.keys() - moved
            stored = await self._store.contracts(known)
            for digest, (descriptor_set, methods) in stored.items():
                key = (digest, tuple(methods))
                if digest not in known and key not in built:
                    await load_library(descriptor_set)
                    built[key] = await asyncio.to_thread(_build, descriptor_set, methods)
            others = {
                each
                for each, methods in self._loaded.items()
                if each in stored and stored[each][1] != methods
            }
            if others <= moved and admissions == self._contracts.admissions:
                return stored, built
            moved |= others

    async def forget(self, hosted: Sequence[str], methods: Sequence[str], now_s: float) -> None:
        """Forget contracts that no agent has and no unfinished task needs; now and then, not with each call.

        Args:
            hosted: digests of the contracts that agents have.
            methods: the methods that agents host.
            now_s: by the monotonic clock.
        """
        if now_s < self._forget_at_s:
            return
        self._forget_at_s = now_s + min(FORGET_EVERY_S, self._forget_after_s / 4)
        needed = set(methods)
        if any(not needed.issuperset(in_force) for in_force in self._loaded.values()):
            # Some method has no agent: it may have a schedule, or be a callback.
            needed |= set(await self._also_needed())
        forgotten = await self._store.forget_contracts(hosted, needed, self._forget_after_s)
        if forgotten:
            log.info("contracts.forgotten", count=len(forgotten), digest=forgotten[0][:12])
        for digest in forgotten:
            self._drop(digest)

    def _drop(self, digest: str) -> None:
        self._loaded.pop(digest, None)
        self._contracts.forget(digest)


def _build(descriptor_set: bytes, methods: Sequence[str]) -> _Built:
    """A contract of the store: the coordinator that stored it has vetted it."""
    try:
        return Contract.load(descriptor_set, methods)
    except WeftError as error:
        return error
