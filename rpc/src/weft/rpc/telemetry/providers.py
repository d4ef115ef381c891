"""Export of traces from weft's own processes, as the standard OTEL_* variables ask for it.

The exporters are those that are installed under OpenTelemetry's entry points; they, the sampler and the batches read their
variables themselves. A process that cannot export says so in one line and works on. The SDK is imported only if the environment
asks for export.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from weft.rpc.process.environment import environment
from weft.rpc.process.extras import install_command
from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry import attributes

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from weft.rpc.telemetry.span_tracer import SpanTracer

_log = get_logger("weft.telemetry")

Signal = Literal["traces", "metrics", "logs"]
Environ = Mapping[str, str]

# How long a process that ends waits for its last spans to be sent.
FLUSH_S = 3.0

_OTLP, _NONE = "otlp", "none"
_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


def exporter_names(signal: Signal, environ: Environ = os.environ) -> list[str]:
    """The exporters that the environment asks for; none: nothing is exported.

    They are those of OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER or OTEL_LOGS_EXPORTER. Without it: "otlp", if there is an OTLP endpoint.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip()
    if named:
        return [name for name in (part.strip() for part in named.split(",")) if name not in ("", _NONE)]
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return [_OTLP] if any(environ.get(name, "").strip() for name in endpoints) else []


def exporters(signal: Signal, environ: Environ = os.environ) -> list[Any]:
    """The exporters that the environment asks for, made; one that cannot be made is left out, and a line says why."""
    names = exporter_names(signal, environ)
    if names and find_spec("opentelemetry.sdk") is None:
        _log.warning(
            "telemetry.not_exported",
            signal=signal,
            error="OpenTelemetry's SDK is not installed",
            do=install_command("telemetry"),
        )
        return []
    made: list[Any] = []
    for name in names:
        try:
            made.append(_made(name, signal, environ))
        except LookupError as error:
            _log.warning("telemetry.not_exported", signal=signal, exporter=name, error=str(error.args[0]))
        except Exception as error:  # an exporter's own: a wrong endpoint, a missing certificate
            why = f"the exporter cannot be made: {error}"
            _log.warning("telemetry.not_exported", signal=signal, exporter=name, error=why)
    return made


def _made(name: str, signal: Signal, environ: Environ) -> Any:
    """One exporter.

    Raises:
        LookupError: there is none of this name; the message says what to do.
    """
    entry = name
    if name == _OTLP:
        specific = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "").strip()
        protocol = specific or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip() or "grpc"
        if protocol not in _PROTOCOLS:
            raise LookupError(f"the protocol {protocol!r} is not supported; choose {' or '.join(_PROTOCOLS)}")
        entry = _PROTOCOLS[protocol]
    for point in metadata.entry_points(group=f"opentelemetry_{signal}_exporter", name=entry):
        return point.load()()
    if name == _OTLP:
        raise LookupError(f"it is not installed: {install_command('telemetry')}")
    raise LookupError(
        f"no installed package has it; OTEL_{signal.upper()}_EXPORTER takes otlp, console, none, and the names of"
        " installed exporters"
    )


def resource(service: str, instance_id: str) -> Resource:
    """The attributes of this process. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    own = {
        **environment(),
        attributes.SERVICE_NAME: service,
        attributes.SERVICE_VERSION: metadata.version("weft"),
        attributes.SERVICE_INSTANCE_ID: instance_id,
    }
    return Resource.create(own).merge(OTELResourceDetector().detect())


@dataclass(frozen=True)
class TraceExport:
    """The export of one process: what weft records its own spans with, and the provider for those of handlers."""

    tracer: SpanTracer
    provider: TracerProvider


def trace_export(service: str, instance_id: str) -> TraceExport | None:
    """The export that the environment asks for; None: it asks for none, or there can be none.

    Args:
        service: the name of the process' kind, such as "weft-agent".
        instance_id: unique among the processes of this kind.
    """
    made = exporters("traces")
    if not made:
        return None
    from opentelemetry.sdk.trace import TracerProvider

    from weft.rpc.telemetry.sampling import SampledBy
    from weft.rpc.telemetry.span_log import SpanLog
    from weft.rpc.telemetry.span_sinks import LogProcessor, sink_of
    from weft.rpc.telemetry.span_tracer import SpanTracer

    about = resource(service, instance_id)
    log = SpanLog([sink_of(exporter, about) for exporter in made], os.environ)
    # At the process' end, `shut_down` has a bound of its own.
    provider = TracerProvider(resource=about, shutdown_on_exit=False)
    provider.add_span_processor(LogProcessor(log))
    return TraceExport(SpanTracer(log, SampledBy(provider.sampler)), provider)


def set_up_traces(service: str, instance_id: str) -> TraceExport | None:
    """As `trace_export`, for handlers too, unless the program has set OpenTelemetry up itself: then None."""
    if not exporter_names("traces"):
        return None
    from opentelemetry import trace

    from weft.rpc.telemetry import traces

    if traces.tracing():
        return None
    export = trace_export(service, instance_id)
    if export is not None:
        trace.set_tracer_provider(export.provider)
        traces.use(export.tracer, (service, instance_id))
    return export


def shut_down(export: TraceExport | None, timeout_s: float = FLUSH_S) -> None:
    """Send what is left, and end the exporters, within the time."""
    if export is not None and not export.tracer.close(timeout_s):
        _log.warning(
            "telemetry.last_lost", timeout_s=timeout_s, effect="the last traces were not sent in time"
        )
