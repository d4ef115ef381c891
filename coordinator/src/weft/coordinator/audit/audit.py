"""The audit part of a coordinator: where its events go, by the settings, and the service that reads them."""

from __future__ import annotations

import asyncio

from weft.coordinator.access.policy_news import PolicyNews
from weft.coordinator.audit.audit_event import NO_DIGEST, NOBODY, AuditFact, Details, who
from weft.coordinator.audit.audit_file import AuditFile
from weft.coordinator.audit.audit_log import AuditLog
from weft.coordinator.audit.audit_service import AuditService
from weft.coordinator.audit.audit_sink import AuditSink
from weft.coordinator.audit.audit_table import KIND, AuditTable
from weft.coordinator.audit.call_facts import peer_of
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc.errors import PermissionDenied, Unauthenticated
from weft.rpc.identity.refused_calls import RefusedCall
from weft.rpc.process.version import VERSION
from weft.rpc.telemetry.coordinator_metrics import AUDIT_LOST, AUDIT_WAITING
from weft.rpc.telemetry.event_export import EventExport
from weft.rpc.telemetry.figures import Figures

# Old events are deleted so often.
FORGET_S = 600.0


class Audit:
    """The audit: on if callers must show tokens, or if there is a file for it. It listens to the identity part (`IdentityNews`)."""

    def __init__(self, store: Store, settings: CoordinatorSettings) -> None:
        self._settings = settings
        self._table = AuditTable(store, settings.audit_keep_s)
        self._file = None if settings.audit_log is None else AuditFile(settings.audit_log)
        sinks: list[AuditSink] = []
        self._export: EventExport | None = None
        if settings.tokens == "on" or self._file is not None:
            if self._file is not None:
                sinks.append(AuditSink("file", f"the file {settings.audit_log}", self._file.write))
            if settings.audit_keep_s:
                sinks.append(AuditSink("store", "the store", self._table.write))
            self._export = EventExport.of("weft-coordinator", settings.process_name)
            if self._export is not None:
                sinks.append(AuditSink("otlp", "OTLP", self._export.send))
        self.log = AuditLog(settings.process_name, store.now, sinks)
        self.service = AuditService(
            self._table, self.log, settings, kept=self.log.on and bool(settings.audit_keep_s)
        )
        self._forget_at_s = 0.0

    def measure(self, figures: Figures) -> None:
        """Export how well its places take events."""
        sinks = self.log.sinks
        figures.ask(AUDIT_LOST, lambda: [((each.place,), each.lost) for each in sinks])
        figures.ask(AUDIT_WAITING, lambda: [((each.place,), each.waiting) for each in sinks])

    # -- what it is told (IdentityNews) -----------------------------------------------------------------------------

    def refused(self, call: RefusedCall) -> None:
        if isinstance(call.why, Unauthenticated | PermissionDenied):
            caller = NOBODY if call.caller is None else who(call.caller)
            outcome = call.why.code.name, call.why.reason_name
            # What the refusal says for programs: which id or label, which role, which token that has ended.
            said = tuple(sorted(call.why.metadata.items()))
            self.log.denied(AuditFact(call.method, caller, peer_of(call.peer), *outcome, said))

    def policy_read(self, news: PolicyNews) -> None:
        details: Details = (("file", news.file), ("digest", news.digest), ("rules", str(news.rules)))
        if news.fault:
            fault = (*details, ("fault", news.fault))
            self.log.record(AuditFact("policy.refused", code="INVALID_ARGUMENT", details=fault))
        else:
            self.log.record(AuditFact("policy.in_force", details=details))

    def first_operator(self, token_id: str) -> None:
        self.log.record(AuditFact("token.first_operator", details=(("token.id", token_id),)))

    # -- life -------------------------------------------------------------------------------------------------------

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
        settings = self._settings
        checks = ("tokens", settings.tokens), ("tls", str(settings.tls is not None)), ("ca", settings.ca)
        self.log.start((("version", VERSION), *checks, ("insecure", str(settings.insecure))))

    def tick(self, now_s: float) -> None:
        """Turn counts into events, if it is time.

        Args:
            now_s: monotonic time.
        """
        self.log.tick(now_s)

    async def forget(self, now_s: float) -> None:
        """Delete old events from the store, if it is time."""
        if self.log.on and now_s >= self._forget_at_s:
            # Soon again, if there were too many to delete at once.
            self._forget_at_s = now_s if await self._table.forget() else now_s + FORGET_S

    async def stop(self) -> None:
        """Write the last events, within some seconds."""
        self.service.stop()
        await self.log.stop()
        if self._export is not None:
            await self._export.stop()
