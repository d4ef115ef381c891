"""Contracts of the store come into force at a coordinator, whose agents bring others at the same time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from tests.store.support import Harness
from tests.support.schema import METHOD, contract
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.coordinator.contracts.contract_sync import ContractSync
from weft.coordinator.store.base import Store

OTHER = METHOD.replace("Call", "Other")
OLDER = contract(methods=["Call Request Response", "Other Request Response"])
NEWER = contract()


class OvertakenStore:
    """Its next answer is on the way while an agent's contract is stored and comes into force."""

    def __init__(self, store: Store, catalogue: Contracts) -> None:
        self._store = store
        self._catalogue = catalogue
        self.coming: Contract | None = None

    async def contracts(self, known: Collection[str]) -> Mapping[str, tuple[bytes, Sequence[str]]]:
        answer = await self._store.contracts(known)
        coming, self.coming = self.coming, None
        if coming is not None:
            await put(self._store, coming)
            self._catalogue.admit(coming)
        return answer


async def put(store: Store, given: Contract) -> None:
    await store.put_contract(given.digest, given.file_descriptor_set, list(given.methods))


def in_force(catalogue: Contracts) -> dict[str, str]:
    return {info.name: info.contract for info in catalogue.methods()}


async def test_a_contract_that_was_read_before_a_newer_one_came_does_not_displace_it(h: Harness) -> None:
    catalogue = Contracts()
    store = OvertakenStore(h.store, catalogue)
    sync = ContractSync(cast("Any", store), catalogue, forget_after_s=100.0, also_needed=cast("Any", None))
    # Another coordinator has stored it.
    await put(h.store, OLDER)
    store.coming = NEWER
    await sync.load()
    assert in_force(catalogue) == {METHOD: NEWER.digest, OTHER: OLDER.digest}


async def test_a_contract_that_is_in_force_for_other_methods_is_read_again(h: Harness) -> None:
    catalogue = Contracts()
    sync = ContractSync(h.store, catalogue, forget_after_s=100.0, also_needed=cast("Any", None))
    for given in (OLDER, NEWER, OLDER):
        await put(h.store, given)
        await sync.load()
        assert catalogue.method(METHOD).contract == given.digest
