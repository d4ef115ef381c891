"""Export of events as log records by OTLP, and by any other installed exporter, as the standard OTEL_* variables ask for it.

For the few events that must arrive, not for lines of a log: each batch is handed to the exporter, and a failure is the caller's to
repeat. The SDK is imported only if the environment asks for export.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from weft.rpc.telemetry.providers import FLUSH_S, exporters, resource

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

_SCOPE = "weft"
_EVENT = "weft.audit"
# A list or an object cannot be an attribute: it is in the body.
_PLAIN = (str, int, float, bool)


class NotExported(Exception):
    """An exporter did not take events."""


class EventExport:
    """Sends events.

    Args:
        made: exporters of OpenTelemetry's SDK.
    """

    def __init__(self, made: Sequence[Any], about: Resource) -> None:
        self._exporters = made
        self._about = about

    @classmethod
    def of(cls, service: str, instance_id: str) -> Self | None:
        """The export that the environment asks for; None: it asks for none, or there can be none."""
        made = exporters("logs")
        return cls(made, resource(service, instance_id)) if made else None

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Send events, each with a `time` and a `code`.

        Raises:
            NotExported
        """
        await asyncio.to_thread(self._send, events)

    def _send(self, events: Sequence[Mapping[str, Any]]) -> None:
        from opentelemetry.sdk._logs.export import LogRecordExportResult

        records = [_readable(event, self._about) for event in events]
        for exporter in self._exporters:
            if exporter.export(records) is not LogRecordExportResult.SUCCESS:
                raise NotExported("the receiver of OpenTelemetry's logs did not take events")

    async def stop(self) -> None:
        """End the exporters, within some seconds."""
        for exporter in self._exporters:
            ending = threading.Thread(target=exporter.shutdown, name="weft-events-end", daemon=True)
            ending.start()
            await asyncio.to_thread(ending.join, FLUSH_S)


def _readable(event: Mapping[str, Any], about: Resource) -> Any:
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    at_ns = int(datetime.fromisoformat(event["time"]).timestamp() * 1e6) * 1000
    fine = event.get("code") == "OK"
    attributes = {
        f"{_EVENT}.{name}": value
        for name, value in event.items()
        if isinstance(value, _PLAIN) and value != ""
    }
    record = LogRecord(
        timestamp=at_ns,
        observed_timestamp=at_ns,
        severity_text="INFO" if fine else "WARN",
        severity_number=SeverityNumber.INFO if fine else SeverityNumber.WARN,
        # The whole event, in the form that its digest is of.
        body=json.dumps(event, sort_keys=True, separators=(",", ":")),
        attributes=attributes,
        event_name=_EVENT,
    )
    return ReadableLogRecord(
        log_record=record, resource=about, instrumentation_scope=InstrumentationScope(_SCOPE)
    )
