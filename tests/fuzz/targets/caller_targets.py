"""What callers show and say: metadata, tokens, tickets, certificates, filters, page tokens, time limits."""

from __future__ import annotations

import base64
import contextlib
import functools
from datetime import UTC, datetime, timedelta

import jwt
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from tests.fuzz.target import target, text_of
from weft.agent.steps import step_values
from weft.cli.rendering import step_view
from weft.client.task_steps import RecordedStep, StepKind
from weft.coordinator import request_checks
from weft.coordinator.access import jwt_signature
from weft.coordinator.access.jwt_issuer import is_safe_url
from weft.coordinator.calls import call_options
from weft.coordinator.calls.task_filter import list_filter
from weft.coordinator.doors.xds.discovery_request import MAX_NAMES, discovery_asked
from weft.coordinator.doors.xds.subscriptions import ResourceSubscriptions
from weft.coordinator.identity import token_rules
from weft.coordinator.schedules import schedule_codec, tick_times
from weft.coordinator.store.task_ids import parse_id
from weft.rpc import errors, times
from weft.rpc.balancing import reported_load
from weft.rpc.calls import metadata
from weft.rpc.identity import scope, shown_text
from weft.rpc.network import targets as targets_of_programs
from weft.rpc.payloads import envelope
from weft.rpc.security import certificates, jwt_form, mesh_names, namespace_names, tickets, tokens
from weft.rpc.telemetry import trace_context
from weft.v1 import agent_pb2, coordinator_pb2, payload_pb2, schedule_pb2, security_pb2, task_pb2

_NOW = datetime(2030, 1, 1, tzinfo=UTC)


@target(
    "weft/coordinator/calls/call_options",
    "weft/rpc/calls/call_keys",
    "weft/rpc/calls/metadata",
    "weft/rpc/calls/tree_budgets",
    "weft/rpc/task_policy/option_checks",
    "weft/rpc/task_policy/retry_policy",
    seeds=lambda: [
        b"weft-priority\x007",
        b"weft-delay\x001.5",
        b"weft-require\x00zone=eu,gpu>=1",
        b"weft-retry\x00max_attempts=3,codes=UNAVAILABLE|INTERNAL,initial_backoff=0.5s",
        b"weft-lock\x00a\x00weft-consume\x00gpu=1,mem=2.5",
        b"weft-budget\x00tokens=1e4,cost=1.5\x00weft-tree-budget-bin\x00\x0a\x01t",
        b"weft-mode\x00direct\x00weft-request-id\x00r1\x00weft-detach\x00true",
        b"weft-start-to-close\x001e3\x00weft-result-ttl\x003600\x00weft-group\x00g/1",
        b"traceparent\x0000-11111111111111111111111111111111-2222222222222222-01\x00x-bin\x00\xff",
    ],
)
def call_metadata(data: bytes) -> None:
    """Entries of a call's metadata, as gRPC gives them: keys in lower case, values in latin-1."""
    texts = data.decode("latin-1").split("\0")
    pairs: list[tuple[str, str | bytes]] = [
        (key, value.encode("latin-1") if key.endswith("-bin") else value)
        for key, value in zip(texts[::2], texts[1::2], strict=False)
    ]
    call_options.mode(pairs)
    given = call_options.from_metadata(pairs)
    assert len(given.request_id) <= 128
    metadata.from_proto(given.options.context.metadata)


@target(
    "weft/agent/steps/step_values",
    "weft/agent/steps/attempt_steps",
    "weft/cli/rendering/step_view",
    "weft/client/task_steps",
    seeds=lambda: [
        b'{"a": [1, null, "x"]}',
        step_values.encode("s", b"bytes"),
        step_values.encode("s", Duration(seconds=3)),
    ],
    raises=(ValueError,),
)
def step_value(data: bytes) -> None:
    """The value of a signal, which a caller may have sent."""
    now = datetime.now(UTC)
    step_view.value_of(RecordedStep(1, "signal/x#1", StepKind.SIGNAL, 0, now, None, data))
    step_values.decode(data)


@target(
    "weft/rpc/calls/call_keys",
    seeds=lambda: [b"weft-mode\x00direct", b"weft-root-id\x00a", b"weft-retry\x00unavailable"],
)
def direct_metadata(data: bytes) -> None:
    texts = data.decode("latin-1").split("\0")
    call_options.check_direct(list(zip(texts[::2], texts[1::2], strict=False)))


@target(
    "weft/rpc/calls/metadata",
    seeds=lambda: [task_pb2.Metadatum(key="x-a", value=b"b").SerializeToString()],
    raises=(DecodeError,),
)
def sent_metadata(data: bytes) -> None:
    """An entry of another process that may be sent: gRPC must take it."""
    entry = task_pb2.Metadatum.FromString(data)
    if metadata.can_be_sent(entry):
        assert not metadata.unfit(metadata.from_proto([entry]))


@target(
    "weft/rpc/telemetry/trace_context",
    seeds=lambda: [
        b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01",
        b"cc-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00-more",
    ],
)
def traceparent(data: bytes) -> None:
    found = trace_context.parse(text_of(data))
    if found is not None:
        assert trace_context.parse(found.traceparent) == found


@functools.cache
def _token() -> str:
    return tokens.generate("A" * tokens.ID_CHARS)


@target(
    "weft/rpc/security/tokens",
    "weft/rpc/identity/shown_text",
    seeds=lambda: [_token().encode(), b"Bearer " + _token().encode()],
    raises=(tokens.BadToken,),
)
def token(data: bytes) -> None:
    text = data.decode("latin-1")
    shown = shown_text.token_of([("authorization", text)])
    shown_text.check_form(shown)
    if not (jwt_form.is_jwt(shown) or tickets.is_ticket(shown)):
        assert tokens.is_id(tokens.id_of(shown))


@functools.cache
def _ticket() -> bytes:
    claims = security_pb2.Ticket(
        namespace="n", agent=security_pb2.AgentProcess(agent_id="a", instance_id="i")
    )
    return tickets.signed(claims, b"k" * 32).encode()


@target("weft/rpc/security/tickets", seeds=lambda: [_ticket()], raises=(tickets.BadTicket,))
def ticket(data: bytes) -> None:
    text = data.decode("latin-1")
    tickets.claims_of(text)
    assert tickets.signed(tickets.verified(text, b"k" * 32), b"k" * 32)


@functools.cache
def _jwt() -> bytes:
    return jwt.encode({"iss": "i", "sub": "s", "exp": 4e9}, "k" * 32, "HS256", headers={"kid": "1"}).encode()


@target(
    "weft/coordinator/access/jwt_signature",
    "weft/rpc/security/jwt_form",
    seeds=lambda: [_jwt()],
    raises=(jwt_signature.JwtFault,),
)
def json_web_token(data: bytes) -> None:
    text = data.decode("latin-1")
    jwt_form.is_jwt(text)
    said = jwt_signature.taken_apart(text)
    assert all(isinstance(part, str) for part in said)


_RSA = b'{"kty": "RSA", "kid": "1", "n": "' + b"u" * 342 + b'E", "e": "AQAB", "alg": "RS256", "use": "sig"}'
_EC = b'{"kty": "EC", "crv": "P-256", "kid": "2", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}'


@target(
    "weft/coordinator/access/jwt_signature",
    seeds=lambda: [
        b'{"keys": [' + _EC + b"]}",
        b'{"keys": [' + _RSA + b", " + _EC + b"]}",
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}',
    ],
    raises=(jwt_signature.JwtFault,),
)
def json_web_keys(data: bytes) -> None:
    keys = jwt_signature.read_keys(data)
    assert keys
    keys.find("1")


@target(
    "weft/coordinator/access/jwt_issuer",
    seeds=lambda: [b"https://issuer.example/keys", b"http://127.0.0.1:80", b"https://[::1]:1/"],
)
def issuer_url(data: bytes) -> None:
    is_safe_url(text_of(data))


@functools.cache
def _authority() -> certificates.KeyPair:
    return certificates.new_authority("mesh", datetime.now(UTC))


@target(
    "weft/rpc/security/certificates",
    seeds=lambda: [certificates.PrivateKey().request(), _authority().certificate],
    raises=(certificates.CertificateFault,),
    max_bytes=certificates.MAX_REQUEST_BYTES + 100,
    examples=15,
)
def signing_request(data: bytes) -> None:
    made = certificates.sign_request(
        _authority(), data, certificates.Names("agent"), datetime.now(UTC), timedelta(hours=1), serves=False
    )
    assert certificates.facts(made).names.common == "agent"


@target(
    "weft/rpc/security/certificates",
    seeds=lambda: [_authority().certificate, _authority().certificate * 2],
    raises=(certificates.CertificateFault,),
    examples=15,
)
def certificate(data: bytes) -> None:
    certificates.facts(data)


def _der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(line for line in pem.splitlines() if b"-" not in line))


@target(
    "weft/rpc/security/certificates",
    seeds=lambda: [
        _der(_authority().certificate),
        _der(_issued().certificate),
        _der(certificates.PrivateKey().request()),
    ],
    raises=(certificates.CertificateFault,),
    examples=30,
)
def certificate_within(data: bytes) -> None:
    """Bytes of a certificate, a signing request or a key, in whole PEM."""
    for kind in ("CERTIFICATE", "CERTIFICATE REQUEST", "PRIVATE KEY"):
        text = (
            f"-----BEGIN {kind}-----\n".encode()
            + base64.encodebytes(data)
            + f"-----END {kind}-----\n".encode()
        )
        with contextlib.suppress(certificates.CertificateFault):
            certificates.facts(text)
        with contextlib.suppress(certificates.CertificateFault):
            names = certificates.Names("agent")
            certificates.sign_request(_authority(), text, names, _NOW, timedelta(hours=1), serves=False)
        with contextlib.suppress(certificates.CertificateFault):
            certificates.unlocked_key(text, b"passphrase")


@functools.cache
def _issued() -> certificates.KeyPair:
    names = certificates.Names("a", dns=["a.example"], ips=["10.0.0.1"], uris=["spiffe://weft/agent/a"])
    return certificates.issue(_authority(), names, datetime.now(UTC))


@target(
    "weft/rpc/security/mesh_names",
    "weft/rpc/security/namespace_names",
    seeds=lambda: [b"spiffe://weft/agent/a-1", b"team-a", b"a/b:c@d"],
)
def names(data: bytes) -> None:
    text = text_of(data)
    mesh_names.agent_of(text)
    if mesh_names.is_agent_id(text):
        assert mesh_names.agent_of(mesh_names.agent_uri(text)) == text
    namespace_names.checked_name(text)


@target(
    "weft/rpc/identity/scope",
    "weft/coordinator/identity/token_rules",
    seeds=lambda: [
        security_pb2.TokenScope(
            methods=["a.*", "*"], agent_ids=["x-*"], namespaces=["t"], labels={"a": "b*"}
        ).SerializeToString()
    ],
    raises=(DecodeError,),
)
def token_scope(data: bytes) -> None:
    given = security_pb2.TokenScope.FromString(data)
    token_rules.check_scope(given)
    scope.scope_of(given)


@target(
    "weft/coordinator/calls/task_filter",
    seeds=lambda: [
        coordinator_pb2.TaskFilter(
            states=[1, 2], method="a.b/C", error_codes=[5], error_text="x"
        ).SerializeToString()
    ],
    raises=(DecodeError,),
)
def task_filter(data: bytes) -> None:
    list_filter(coordinator_pb2.TaskFilter.FromString(data))


@target(
    "weft/coordinator/request_checks",
    "weft/coordinator/store/task_ids",
    seeds=lambda: [b"0192f1a4b5c6d7e8", b"a/b", b"~"],
)
def page_token(data: bytes) -> None:
    text = text_of(data)
    parse_id(text)
    request_checks.check_page_token(text, request_checks.check_resource_name)


@target(
    "weft/rpc/times",
    seeds=lambda: [
        Duration(seconds=1, nanos=5).SerializeToString(),
        Duration(seconds=-(2**62)).SerializeToString(),
    ],
    raises=(DecodeError,),
)
def time_limit(data: bytes) -> None:
    found = times.checked_duration(Duration.FromString(data), "delay")
    assert 0 <= found <= times.MAX_DURATION_S
    assert abs(times.seconds(times.duration(found)) - found) < 1e-5


@target(
    "weft/coordinator/schedules/tick_times",
    seeds=lambda: [
        b"*/5 * * * *\x00Europe/Berlin",
        b"0 0 29 2 *\x00UTC",
        b"1-5,7 */2 L * MON#1\x00",
        b"0 0 31 2 *\x00x",
        b"* * * * * *\x00../../etc/passwd",
    ],
    raises=(tick_times.BadTiming,),
    max_bytes=400,
)
def cron(data: bytes) -> None:
    expression, _, zone = text_of(data).partition("\0")
    tick_times.zone_of(zone)
    tick_times.check_cron(expression, zone, 1.9e9)


@target(
    "weft/coordinator/schedules/schedule_codec",
    seeds=lambda: [
        schedule_pb2.ScheduleSpec(cron="*/5 * * * *", time_zone="UTC", method="a.b/C").SerializeToString(),
        schedule_pb2.ScheduleSpec(
            interval=Duration(seconds=60), jitter=Duration(seconds=1)
        ).SerializeToString(),
    ],
    raises=(DecodeError,),
)
def schedule_spec(data: bytes) -> None:
    spec = schedule_pb2.ScheduleSpec.FromString(data)
    schedule_codec.check_spec(spec, 1.9e9)
    schedule = schedule_pb2.Schedule(name="a", spec=spec)
    schedule_codec.timing_of(schedule).next_after(1.9e9)


@target(
    "weft/rpc/balancing/reported_load",
    seeds=lambda: [
        agent_pb2.OrcaLoadReport(named_metrics={"used_slots": 1.0, "backlog_slots": 2.0}).SerializeToString()
    ],
)
def load_report(data: bytes) -> None:
    reported_load.used_slots(data)


@functools.cache
def _status() -> bytes:
    return (
        errors.InvalidArgument("no", reason=1, field="a.b", metadata={"k": "v"}, retry_after_s=2.0)
        .status()
        .SerializeToString()
    )


@target("weft/rpc/errors", "weft/rpc/balancing/retry", seeds=lambda: [_status()], raises=(DecodeError,))
def status_details(data: bytes) -> None:
    """The details of another process' error."""
    error = errors.from_status(errors.status_pb2.Status.FromString(data))
    assert error.violations is not None
    assert errors.from_status(error.status()).reason == error.reason


@target(
    "weft/rpc/payloads/envelope",
    seeds=lambda: [
        envelope.head_of(payload_pb2.PayloadHeader(method="a.b/C", size=3, compression="zlib")) + b"xyz"
    ],
)
def coded_payload(data: bytes) -> None:
    found = envelope.opened(envelope.CODED_PREFIX + data)
    assert found.head + found.body == envelope.CODED_PREFIX + data
    found.told()


@target(
    "weft/rpc/network/targets",
    "weft/rpc/network/unix_path",
    seeds=lambda: [
        b"a.example:7700,10.0.0.1:1",
        b"unix:/run/weft.sock",
        b"[::1%eth0]:80",
        b"dns:///x",
        b"unix-abstract:a",
    ],
)
def target_address(data: bytes) -> None:
    found = targets_of_programs.parse(text_of(data))
    assert targets_of_programs.parse(found) == found


@target(
    "weft/coordinator/doors/xds/discovery_request",
    seeds=lambda: [
        b"\x1a\x0facme.v1.Greeter\x22\x04type",
        b"\x12\x1d\x1a\x1b\x0a\x19\x0a\x0eweft-namespace\x12\x07\x1a\x05team1",
        b"\x2a\x011\x32\x04\x08\x03\x12\x00",
    ],
)
def discovery_request(data: bytes) -> None:
    """A request of an xDS client."""
    with contextlib.suppress(errors.InvalidArgument):
        asked = discovery_asked(data)
        assert len(asked.names) <= MAX_NAMES
        ResourceSubscriptions(lambda _: True).ask(asked)
