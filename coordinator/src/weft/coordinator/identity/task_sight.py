"""Which tasks a caller sees: those of the methods that its scope and the policy let it call. Others do not exist for it."""

from __future__ import annotations

from collections.abc import Sequence

from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.identity.caller import Caller


async def check_seen(store: Store, caller: Caller, task_ids: Sequence[str]) -> None:
    """Refuse tasks that the caller does not see. A task that is not stored is left to the operation itself.

    Raises:
        NotFound: TASK_NOT_FOUND.
    """
    if caller.sees_all:
        return
    for record in await store.get(task_ids, payloads=False):
        if record is not None and not caller.sees(record.submission.method):
            raise refusals.task_not_found(record.task_id)
