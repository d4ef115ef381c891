"""Export of traces from weft's own processes, as the standard OTEL_* variables ask for it.

The exporters are those that are installed under OpenTelemetry's entry points; they, the sampler and the batches read their
variables themselves. A process that cannot export says so in one line and works on. The SDK is imported only if the environment
asks for export.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from weft.rpc.process.extras import install_command
from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry import attributes

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_log = get_logger("weft.telemetry")

Signal = Literal["traces", "metrics"]
Environ = Mapping[str, str]

# How long a process that ends waits for its last spans to be sent.
FLUSH_S = 5.0

_OTLP, _NONE = "otlp", "none"
_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


def exporter_names(signal: Signal, environ: Environ = os.environ) -> list[str]:
    """The exporters that the environment asks for; none: nothing is exported.

    They are those of OTEL_TRACES_EXPORTER or OTEL_METRICS_EXPORTER. Without it: "otlp", if there is an OTLP endpoint.
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
        attributes.SERVICE_NAME: service,
        attributes.SERVICE_VERSION: metadata.version("weft"),
        attributes.SERVICE_INSTANCE_ID: instance_id,
    }
    return Resource.create(own).merge(OTELResourceDetector().detect())


def tracer_provider(service: str, instance_id: str) -> TracerProvider | None:
    """A tracer provider with the exporters that the environment asks for; None: it asks for none."""
    made: list[SpanExporter] = exporters("traces")
    if not made:
        return None
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # At the process' end, `flush` has a bound of its own.
    provider = TracerProvider(resource=resource(service, instance_id), shutdown_on_exit=False)
    for exporter in made:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def set_up_traces(service: str, instance_id: str) -> TracerProvider | None:
    """Make the environment's tracer provider this process' own, unless the program has set one up; None: there is none of it.

    Args:
        service: the name of the process' kind, such as "weft-agent".
        instance_id: unique among the processes of this kind.
    """
    if not exporter_names("traces"):
        return None
    from opentelemetry import trace

    from weft.rpc.telemetry.traces import tracing

    if tracing():
        return None
    provider = tracer_provider(service, instance_id)
    if provider is not None:
        trace.set_tracer_provider(provider)
    return provider


def shut_down(provider: TracerProvider | None, timeout_s: float = FLUSH_S) -> None:
    """Send what is left, and end the exporters, within the time."""
    if provider is None:
        return
    # An exporter whose receiver is away would try again for longer than the process may live.
    ending = threading.Thread(target=provider.shutdown, name="weft-telemetry-end", daemon=True)
    ending.start()
    ending.join(timeout_s)
    if ending.is_alive():
        _log.warning(
            "telemetry.last_lost", timeout_s=timeout_s, effect="the last traces were not sent in time"
        )
