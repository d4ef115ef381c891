"""Times of calls that a program makes, by the meter provider that it has set up."""

from __future__ import annotations

from opentelemetry import metrics

from weft.rpc.telemetry import attributes
from weft.rpc.telemetry.call_figures import CLIENT_CALLS
from weft.rpc.telemetry.status_codes import code_name

_METER = "weft.client"


class _Made:
    """The histogram of the provider that is set up; tests set up several."""

    provider: metrics.MeterProvider | None = None
    histogram: metrics.Histogram


def observe(method: str, code: int, seconds: float) -> None:
    """Count a call that has ended."""
    provider = metrics.get_meter_provider()
    if _Made.provider is not provider:
        spec = CLIENT_CALLS
        _Made.histogram = provider.get_meter(_METER).create_histogram(
            spec.name,
            spec.unit,
            "Calls that this program made by weft's library.",
            explicit_bucket_boundaries_advisory=spec.bounds,
        )
        _Made.provider = provider
    about = {
        attributes.RPC_SYSTEM_NAME: attributes.GRPC,
        attributes.RPC_METHOD: method,
        attributes.RPC_RESPONSE_STATUS_CODE: code_name(code),
    }
    _Made.histogram.record(seconds, about)
