"""Hooks as a part of a mesh: their service, the requests that come for them, and their counts."""

from __future__ import annotations

import contextlib
from typing import Any

from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.hooks.hook_counts import HookCounts
from weft.coordinator.hooks.hook_intake import HookIntake
from weft.coordinator.hooks.hook_secrets import HookSecrets
from weft.coordinator.hooks.hook_service import HookService
from weft.coordinator.hooks.hook_table import HookTable
from weft.coordinator.identity.makers import Makers
from weft.coordinator.mesh_part import MeshPart
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc.errors import WeftError
from weft.rpc.identity.edge import Edge
from weft.rpc.security.secret_text import SecretText
from weft.v1 import hook_pb2_grpc


class HookPart(MeshPart):
    """The hooks of a mesh.

    Args:
        namespace: empty: the default one.
    """

    def __init__(
        self,
        store: Store,
        contracts: Contracts,
        submissions: SubmissionService,
        settings: CoordinatorSettings,
        edge: Edge,
        makers: Makers,
        namespace: str,
    ) -> None:
        given = settings.hook_passphrase
        hook_secrets = HookSecrets(SecretText(given.get_secret_value() if given is not None else ""))
        self._table = HookTable(store)
        self.counts = HookCounts(store)
        self.intake = HookIntake(store, contracts, submissions, hook_secrets, makers, self.counts)
        self._service = HookService(store, contracts, submissions, self.intake, hook_secrets, edge, namespace)

    def add_to(self, server: Any) -> None:
        hook_pb2_grpc.add_HookServiceServicer_to_server(self._service, server)

    async def stop(self, why: WeftError | None) -> None:  # noqa: ARG002  # nobody waits here
        # The last counts; without them nothing is wrong.
        with contextlib.suppress(WeftError):
            await self.counts.write()

    async def keep_house(self, now_s: float) -> None:
        await self.counts.keep_house(now_s)
        await self.intake.seen.keep_house(now_s)

    async def methods(self) -> set[str]:
        return await self._table.methods()
