"""Coded requests at the coordinator: what it knows of them, and what it refuses because it cannot read them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from tests.support.ruled import ruled_method
from tests.support.schema import METHOD
from weft.coordinator import codec
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.store.records import Submission
from weft.rpc.errors import DataLoss, FailedPrecondition, InvalidArgument
from weft.rpc.payloads import key_file
from weft.rpc.payloads.payload_coder import REQUEST, RESPONSE, PayloadCoder
from weft.rpc.payloads.payload_options import Payloads
from weft.v1 import errors_pb2, task_pb2

DEFAULTS = codec.Defaults(
    result_ttl_s=60.0, failure_ttl_s=600.0, max_payload_bytes=100_000, max_metadata_bytes=16_000
)
BODY = "message Request { string tenant = 1; string text = 2 [(buf.validate.field).string.min_len = 3]; }"
PLAIN = PayloadCoder(Payloads(codec=None, compression="zlib"))


@pytest.fixture(scope="module")
def aes(tmp_path_factory: pytest.TempPathFactory) -> PayloadCoder:
    path: Path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(key_file.new_line("k1"))
    path.chmod(0o600)
    return PayloadCoder(Payloads(keys_file=path))


@functools.cache
def method(options: str = "") -> MethodInfo:
    return ruled_method(BODY, options=f"option (weft.v1.task) = {{{options}}};" if options else "")


def request(**fields: str) -> bytes:
    message: Any = method().request_class(**({"tenant": "t", "text": "long"} | fields))
    serialized: bytes = message.SerializeToString(deterministic=True)
    return serialized


def submit(payload: bytes, options: str = "", request_id: str = "", **more: Any) -> Submission:
    info = method(options)
    call = task_pb2.TaskOptions()
    call.context.metadata.add(key="x-tenant", value=b"acme")
    return codec.submission(info, payload, request_id, call, info.policy, DEFAULTS, "task", **more)


def test_it_is_stored_as_it_is(aes: PayloadCoder) -> None:
    # Its rules are checked at the agent.
    coded = aes.encode(request(text="x"), REQUEST, METHOD)
    assert submit(coded).payload == coded
    with pytest.raises(InvalidArgument):
        submit(request(text="x"))


def test_equal_requests_are_known(aes: PayloadCoder) -> None:
    one, same, other = (aes.encode(request(text=text), REQUEST, METHOD) for text in ("one", "one", "other"))
    assert one != same
    digests = [submit(each, request_id="mine").request_digest for each in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    cached = [submit(each, "cache: {ttl: {seconds: 60}}").request_id for each in (one, same, other)]
    assert cached[0] == cached[1] != cached[2]


@pytest.mark.parametrize(
    "options",
    [
        'fairness_key: "tenant"',
        'idempotency_key: "tenant"',
        'run_limits: {key: "tenant", max_running: 1}',
        'locks: {name: "l", key: "tenant"}',
    ],
)
def test_keys_of_the_request_are_refused(options: str, aes: PayloadCoder) -> None:
    with pytest.raises(FailedPrecondition, match="has the key tenant, and its request is coded") as told:
        submit(aes.encode(request(), REQUEST, METHOD), options)
    assert told.value.reason == errors_pb2.ERROR_REASON_REQUEST_UNREADABLE
    assert told.value.metadata == {"method": METHOD, "key": "tenant"}
    # Metadata is not coded.
    submit(aes.encode(request(), REQUEST, METHOD), options.replace('"tenant"', '"metadata[\\"x-tenant\\"]"'))


def test_a_fallback_is_refused(aes: PayloadCoder) -> None:
    info = method()
    policy = info.policy or ruled_method(BODY, options="option (weft.v1.task) = {priority: 1};").policy
    with pytest.raises(FailedPrecondition, match=r"has the fallback t.v1.Service/Other"):
        codec.submission(
            info,
            aes.encode(request(), REQUEST, METHOD),
            "",
            None,
            policy,
            DEFAULTS,
            "task",
            fallbacks=[("t.v1.Service/Other", None)],
        )


def test_what_is_only_wrapped_is_read() -> None:
    # A client with compression or a store wraps each message, so that its answer may be compressed or stored.
    wrapped = PLAIN.encode(request(), REQUEST, METHOD)
    assert submit(wrapped, 'fairness_key: "tenant"').fairness_key == "t"
    assert submit(wrapped).payload == wrapped
    with pytest.raises(InvalidArgument):
        submit(PLAIN.encode(request(text="x"), REQUEST, METHOD))


def test_what_is_no_request_of_the_method_is_refused(aes: PayloadCoder) -> None:
    for coded in (
        aes.encode(request(), RESPONSE, METHOD),
        aes.encode(request(), REQUEST, "t.v1.Service/Other"),
        aes.encode(request(), REQUEST, METHOD)[:20],
    ):
        with pytest.raises(DataLoss):
            submit(coded)
