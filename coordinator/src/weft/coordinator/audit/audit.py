"""The audit part of a coordinator: where its events go, by the settings, and the service that reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from weft.coordinator.audit.audit_event import NO_DIGEST
from weft.coordinator.audit.audit_file import AuditFile
from weft.coordinator.audit.audit_log import AuditLog
from weft.coordinator.audit.audit_service import AuditService
from weft.coordinator.audit.audit_sink import AuditSink
from weft.coordinator.audit.audit_table import KIND, AuditTable
from weft.coordinator.audit.audited_calls import AuditedCalls
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc.identity.caller import Caller
from weft.rpc.telemetry.event_export import EventExport

# Old events are deleted so often.
FORGET_S = 600.0


class Audit:
    """The audit: on if callers must show tokens, or if there is a file for it.

    Args:
        caller: who makes a call.
    """

    def __init__(self, store: Store, settings: CoordinatorSettings, caller: Callable[[Any], Caller]) -> None:
        self._table = AuditTable(store, settings.audit_keep_s)
        self._file = None if settings.audit_log is None else AuditFile(settings.audit_log)
        sinks: list[AuditSink] = []
        self._export: EventExport | None = None
        if settings.tokens == "on" or self._file is not None:
            if self._file is not None:
                sinks.append(AuditSink(f"the file {settings.audit_log}", self._file.write))
            if settings.audit_keep_s:
                sinks.append(AuditSink("the store", self._table.write))
            self._export = EventExport.of("weft-coordinator", settings.process_name)
            if self._export is not None:
                sinks.append(AuditSink("OTLP", self._export.send))
        self.log = AuditLog(settings.process_name, store.now, sinks)
        self.calls = AuditedCalls(self.log, caller)
        self.service = AuditService(
            self._table, self.log, settings, kept=self.log.on and bool(settings.audit_keep_s)
        )
        self._forget_at_s = 0.0

    def rows_changed(self, kind: str) -> None:
        """Some coordinator has changed rows of a kind."""
        if kind == KIND:
            self.service.come()

    async def start(self) -> None:
        """Begin. The store is open.

        Raises:
            InvalidArgument: the file cannot be written.
        """
        if not self.log.on:
            return
        if self._file is not None:
            digest = await asyncio.to_thread(self._file.open)
            if digest != NO_DIGEST:
                self.log.chain.follow(digest)
        self.log.start()

    async def keep_house(self, now_s: float) -> None:
        """Turn counts into events, and forget old ones."""
        if not self.log.on:
            return
        self.log.tick(now_s)
        if now_s >= self._forget_at_s:
            self._forget_at_s = now_s + FORGET_S
            await self._table.forget()

    async def stop(self) -> None:
        """Write the last events, within some seconds."""
        self.service.stop()
        await self.log.stop()
        if self._export is not None:
            await self._export.stop()
