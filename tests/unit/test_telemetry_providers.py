"""Export as the standard variables ask for it, to a real receiver; and what is said where it cannot be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.otlp_receiver import OtlpReceiver, otlp_receiver
from weft.rpc.telemetry import providers
from weft.rpc.telemetry.providers import TraceExport
from weft.rpc.telemetry.span_records import Kind, SpanShape


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with otlp_receiver() as made:
        yield made


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(
        providers._log.__class__, "warning", lambda _self, event, **about: lines.append(f"{event} {about}")
    )
    return lines


def exported(export: TraceExport | None) -> None:
    """Make a span of the SDK and one of weft's own."""
    assert export is not None
    with export.provider.get_tracer("test").start_as_current_span("a span"):
        pass
    export.tracer.begin(SpanShape("own", Kind.SERVER, {"rpc.system.name": "grpc"})).finish()
    providers.shut_down(export)


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4317"}, []),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp"]),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, []),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, []),
    ],
)
def test_what_the_environment_asks_for(environ: dict[str, str], names: list[str]) -> None:
    assert providers.exporter_names("traces", environ) == names


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_spans_arrive_with_the_process_and_the_headers(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "tenant=acme")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab")
    receiver.spans.clear()
    exported(providers.trace_export("weft-agent", "a1"))

    assert sorted(span.name for span in receiver.spans) == ["a span", "own"]
    for span in receiver.spans:
        assert span.service == "weft-agent"
        assert span.process["service.instance.id"] == "a1"
        assert span.process["deployment.environment.name"] == "lab"
        assert span.process["telemetry.sdk.language"] == "python"
    assert receiver.headers[-1]["tenant"] == "acme"


def test_the_environments_service_name_wins(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.grpc_endpoint)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "billing")
    receiver.spans.clear()
    exported(providers.trace_export("weft-agent", "a1"))
    assert receiver.spans[0].service == "billing"


def test_a_sampler_of_the_environment_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    export = providers.trace_export("weft-agent", "a1")
    assert export is not None
    assert not export.provider.get_tracer("test").start_span("a span").is_recording()
    assert not export.tracer.begin(SpanShape("own", Kind.SERVER, {})).sampled
    providers.shut_down(export)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "jaeger"},
            [
                "telemetry.not_exported {'signal': 'traces', 'exporter': 'jaeger'",
                "no installed package has it",
            ],
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            ["'http/json' is not supported", "grpc or http/protobuf"],
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "soon"},
            ["the exporter cannot be made"],
        ),
    ],
)
def test_an_exporter_that_cannot_be_is_one_line(
    monkeypatch: pytest.MonkeyPatch, said: list[str], variables: dict[str, str], words: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert providers.trace_export("weft-agent", "a1") is None
    (line,) = said
    assert all(word in line for word in words), line


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setattr(providers, "find_spec", lambda _name: None)
    assert providers.set_up_traces("weft-agent", "a1") is None
    (line,) = said
    assert "telemetry.not_exported {'signal': 'traces'" in line
    assert "OpenTelemetry's SDK is not installed" in line
    assert "pip install" in line


def test_the_end_does_not_wait_for_a_receiver_that_is_away(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    export = providers.trace_export("weft-agent", "a1")
    assert export is not None
    export.tracer.begin(SpanShape("own", Kind.SERVER, {})).finish()
    providers.shut_down(export, 0.05)
    (line,) = said
    assert line.startswith("telemetry.last_lost {'timeout_s': 0.05,")
