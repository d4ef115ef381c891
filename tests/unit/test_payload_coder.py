"""Coded payloads: what goes in comes out, and nothing that was changed, moved or blown up does."""

from __future__ import annotations

import base64
import io
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from google.protobuf import empty_pb2, struct_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.agent import Agent, SettingsError
from weft.rpc import errors, refusals
from weft.rpc.errors import DataLoss, FailedPrecondition, InvalidArgument, TooLarge, Unavailable
from weft.rpc.payloads import coded_failure, key_file, sealing
from weft.rpc.payloads.envelope import head_of, is_coded, opened
from weft.rpc.payloads.payload_coder import FAILURE, REQUEST, RESPONSE, PayloadCoder
from weft.rpc.payloads.payload_options import CODED_PREFIX, Payloads
from weft.rpc.payloads.process_payloads import from_environment, payload_coder
from weft.v1 import payload_pb2, task_pb2

METHOD = "acme.v1.Vault/Put"
CLEAR = b"the clear text of a payload, " * 100
KEY = sealing.FRAME_BYTES


def keys(folder: Path, *ids: str) -> Path:
    path = folder / "keys"
    path.write_text("".join(f"{key_file.new_line(each)}\n" for each in ids))
    path.chmod(0o600)
    return path


@pytest.fixture
def aes(tmp_path: Path) -> PayloadCoder:
    return PayloadCoder(Payloads(keys_file=keys(tmp_path, "k1")))


class Reversing:
    name = "reversing"

    def encode(self, message: bytes) -> bytes:
        return message[::-1]

    def decode(self, coded: bytes) -> bytes:
        return coded[::-1]


CODEC = Reversing()
FORMS: dict[str, Callable[[Path], Payloads]] = {
    "aes": lambda folder: Payloads(keys_file=keys(folder, "k1")),
    "zlib": lambda _: Payloads(compression="zlib"),
    "zstd": lambda _: Payloads(compression="zstd"),
    "stored": lambda folder: Payloads(store=str(folder / "store"), store_from_bytes=1),
    "own": lambda _: Payloads(codec=CODEC),
    "all": lambda folder: Payloads(
        keys_file=keys(folder, "k1"),
        compression="zstd",
        store=str(folder / "store"),
        store_from_bytes=1000,
        codec=f"{__name__}:CODEC",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [0, 1, 511, 512, 70_000, KEY - 1, KEY, KEY + 1, 2 * KEY + 17])
def test_what_goes_in_comes_out(form: str, size: int, tmp_path: Path) -> None:
    coder = PayloadCoder(FORMS[form](tmp_path))
    message = os.urandom(size // 2) + bytes(size - size // 2)
    for kind in (REQUEST, RESPONSE):
        coded = coder.encode(message, kind, METHOD)
        assert is_coded(coded)
        assert coder.decode(coded, kind, (METHOD,)) == message


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * KEY // 2), max_size=5))
def test_frames_do_not_depend_on_pieces(sizes: list[int]) -> None:
    whole = os.urandom(sum(sizes))
    source = io.BytesIO(whole)
    pieces = [source.read(size) for size in sizes]
    key, salt, head = os.urandom(32), os.urandom(32), b"head"
    sealed = b"".join(sealing.seal(key, salt, head, pieces))
    assert sealed == b"".join(sealing.seal(key, salt, head, [whole]))
    assert len(sealed) == len(whole) + sealing.TAG_BYTES * max(1, -(-len(whole) // KEY))
    assert b"".join(sealing.unseal(key, salt, head, [sealed[:77], sealed[77:]])) == whole


def test_no_protobuf_parser_takes_it_for_a_message(aes: PayloadCoder) -> None:
    coded = aes.encode(CLEAR, REQUEST, METHOD)
    for kind in (empty_pb2.Empty, struct_pb2.Struct, task_pb2.Task):
        with pytest.raises(DecodeError):
            kind.FromString(coded)


def test_the_clear_text_is_not_in_it(aes: PayloadCoder) -> None:
    one, other = (aes.encode(CLEAR, REQUEST, METHOD) for _ in range(2))
    assert b"clear text" not in one
    assert one != other
    digests = {opened(each).header.request_digest for each in (one, other)}
    assert len(digests) == 1
    assert opened(aes.encode(CLEAR + b".", REQUEST, METHOD)).header.request_digest not in digests
    assert opened(aes.encode(CLEAR, REQUEST, "acme.v1.Vault/Get")).header.request_digest not in digests
    assert not opened(aes.encode(CLEAR, RESPONSE, METHOD)).header.request_digest


def test_nothing_that_was_changed_is_read(aes: PayloadCoder) -> None:
    coded = aes.encode(b"0123456789", REQUEST, METHOD)
    for at in range(len(CODED_PREFIX), len(coded)):
        changed = bytearray(coded)
        changed[at] ^= 1
        with pytest.raises((DataLoss, FailedPrecondition)):
            aes.decode(bytes(changed), REQUEST, (METHOD,))
    for end in range(len(CODED_PREFIX), len(coded)):
        with pytest.raises(DataLoss):
            aes.decode(coded[:end], REQUEST, (METHOD,))
    with pytest.raises(DataLoss):
        aes.decode(coded + b"x", REQUEST, (METHOD,))


def test_frames_cannot_be_moved_or_left_out(aes: PayloadCoder) -> None:
    coded = aes.encode(os.urandom(3 * KEY), REQUEST, METHOD)
    head, body = opened(coded).head, opened(coded).body
    frames = [body[at : at + KEY + 16] for at in range(0, len(body), KEY + 16)]
    assert len(frames) == 3
    for wrong in ([1, 0, 2], [0, 1], [0, 2], [0, 1, 1], [2]):
        with pytest.raises(DataLoss):
            aes.decode(head + b"".join(frames[at] for at in wrong), REQUEST, (METHOD,))


def test_it_belongs_to_its_method_and_direction(aes: PayloadCoder) -> None:
    coded = aes.encode(CLEAR, REQUEST, METHOD)
    with pytest.raises(DataLoss, match=r"it is no request of acme.v1.Vault/Get, but of acme.v1.Vault/Put"):
        aes.decode(coded, REQUEST, ("acme.v1.Vault/Get",))
    with pytest.raises(DataLoss, match="it is no response"):
        aes.decode(coded, RESPONSE, (METHOD,))
    # A header that says otherwise is not the one that was encrypted with.
    header = opened(coded).header
    header.method = "acme.v1.Vault/Get"
    with pytest.raises(DataLoss, match="it is not as it was encrypted"):
        aes.decode(head_of(header) + opened(coded).body, REQUEST, ("acme.v1.Vault/Get",))


def test_keys_are_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = keys(tmp_path, "old")
    coder = PayloadCoder(Payloads(keys_file=path))
    before = coder.encode(CLEAR, REQUEST, METHOD)
    old = path.read_text()
    path.write_text(f"{key_file.new_line('new')}\n{old}")
    monkeypatch.setattr(key_file, "LOOK_S", 0.0)
    coder._keys._look_at_s = 0.0  # type: ignore[union-attr]
    after = coder.encode(CLEAR, REQUEST, METHOD)
    assert (opened(before).header.key_id, opened(after).header.key_id) == ("old", "new")
    assert coder.decode(before, REQUEST, (METHOD,)) == coder.decode(after, REQUEST, (METHOD,)) == CLEAR
    # A file that is being written, or is gone, changes nothing.
    path.write_text("")
    assert coder.decode(after, REQUEST, (METHOD,)) == CLEAR
    path.write_text(f"{key_file.new_line('third')}\n")
    with pytest.raises(
        FailedPrecondition, match="encrypted with the key old, which this process does not have"
    ) as told:
        coder.decode(before, REQUEST, (METHOD,))
    assert told.value.metadata == {"method": METHOD, "key_id": "old"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no keys"),
        ("# only this\n", "has no keys"),
        ("k1\n", "line 1 of .* is not an id and a key"),
        ("k1 AAAA\n", "the key k1 is not 32 bytes in base64"),
        ("k1 §§§\n", "the key k1 is not 32 bytes in base64"),
        (f"ü {base64.b64encode(bytes(32)).decode()}\n", "line 1"),
        (
            f"\n{f'k1 {base64.b64encode(bytes(32)).decode()}'}\n" * 2,
            "line 4 of .*: the key k1 is there twice",
        ),
    ],
)
def test_wrong_key_files(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=why) as told:
        PayloadCoder(Payloads(keys_file=path))
    assert base64.b64encode(bytes(32)).decode() not in str(told.value)


def test_a_process_with_keys_takes_encrypted_payloads_alone(aes: PayloadCoder) -> None:
    plain = PayloadCoder(Payloads(compression="zlib")).encode(CLEAR, RESPONSE, METHOD)
    with pytest.raises(FailedPrecondition, match="is coded and not encrypted"):
        aes.decode(plain, RESPONSE, (METHOD,))


def test_what_a_process_lacks_is_said(tmp_path: Path, aes: PayloadCoder) -> None:
    bare = PayloadCoder(Payloads(compression="zlib"))
    own = PayloadCoder(Payloads(codec=CODEC)).encode(CLEAR, REQUEST, METHOD)
    stored = PayloadCoder(Payloads(store=str(tmp_path / "s"), store_from_bytes=1)).encode(
        CLEAR, REQUEST, METHOD
    )
    for coded, why in (
        (aes.encode(CLEAR, REQUEST, METHOD), "encrypted with the key k1"),
        (own, "needs the codec reversing"),
        (stored, "is in a store of payloads, and this process has none"),
    ):
        with pytest.raises(FailedPrecondition, match=why):
            bare.decode(coded, REQUEST, (METHOD,))


def bomb(compression: str, size: int, says: int) -> bytes:
    """A payload of which much more comes out than it says."""
    zeros = bytes(size)
    body = zlib.compress(zeros, 9) if compression == "zlib" else zstandard.ZstdCompressor().compress(zeros)
    header = payload_pb2.PayloadHeader(method=METHOD, kind=REQUEST, size=says, compression=compression)
    return head_of(header) + body


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_bombs_do_not_go_off(compression: str) -> None:
    coder = PayloadCoder(Payloads(compression=compression, max_bytes=1_000_000))
    with pytest.raises(DataLoss, match="more than 1000 bytes come out of it"):
        coder.decode(bomb(compression, 50_000_000, 1000), REQUEST, (METHOD,))
    with pytest.raises(DataLoss, match="the limit is 1000000"):
        coder.decode(bomb(compression, 50_000_000, 50_000_000), REQUEST, (METHOD,))
    with pytest.raises(DataLoss, match="it is not the 2000 bytes that it says"):
        coder.decode(bomb(compression, 1000, 2000), REQUEST, (METHOD,))
    with pytest.raises(DataLoss):
        coder.decode(bomb(compression, 5000, 5000)[:-9], REQUEST, (METHOD,))


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    coder = PayloadCoder(Payloads(compression="zstd"))
    with pytest.raises((DataLoss, FailedPrecondition)):
        coder.decode(CODED_PREFIX + garbage, REQUEST, (METHOD,))
    header = payload_pb2.PayloadHeader(method=METHOD, kind=REQUEST, size=100, compression="zstd")
    with pytest.raises(DataLoss):
        coder.decode(head_of(header) + garbage, REQUEST, (METHOD,))


def test_the_limit_of_a_message() -> None:
    coder = PayloadCoder(Payloads(compression="zlib", max_bytes=1000))
    with pytest.raises(TooLarge, match="the limit is 1000"):
        coder.encode(bytes(1001), REQUEST, METHOD)
    assert PayloadCoder(Payloads(compression="zlib")).max_bytes == 64 << 20
    with pytest.raises(InvalidArgument, match="protobuf's own limit"):
        PayloadCoder(Payloads(compression="zlib", max_bytes=2**31))


# -- the store ----------------------------------------------------------------------------------------------------


def stored_files(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


def test_large_payloads_are_stored_small_ones_not(tmp_path: Path) -> None:
    store = tmp_path / "store"
    coder = PayloadCoder(Payloads(keys_file=keys(tmp_path, "k1"), store=str(store), store_from_bytes=1000))
    assert coder.decode(coder.encode(bytes(999), REQUEST, METHOD), REQUEST, (METHOD,)) == bytes(999)
    assert not store.exists()
    coded = coder.encode(CLEAR, REQUEST, METHOD)
    (file,) = stored_files(store)
    assert len(coded) < 400
    assert b"clear text" not in file.read_bytes()
    assert file.parent.stat().st_mode & 0o077 == 0
    stored = opened(coded).header.stored
    assert (stored.name, stored.size) == (str(file.relative_to(store)), file.stat().st_size)
    assert coder.decode(coded, REQUEST, (METHOD,)) == CLEAR
    assert not stored_files(store / "none")
    coded = coder.encode(CLEAR, REQUEST, METHOD, store=False)
    assert not opened(coded).header.HasField("stored")


def test_a_stored_payload_that_is_gone_or_changed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    coder = PayloadCoder(Payloads(store=str(store), store_from_bytes=1))
    coded = coder.encode(CLEAR, REQUEST, METHOD)
    (file,) = stored_files(store)
    for wrong in (CLEAR[:-1], CLEAR + b"x", CLEAR[:-1] + b"x"):
        file.write_bytes(wrong)
        with pytest.raises(DataLoss, match="the store has other bytes"):
            coder.decode(coded, REQUEST, (METHOD,))
    file.unlink()
    with pytest.raises(Unavailable, match=r"does not have .*: it was deleted"):
        coder.decode(coded, REQUEST, (METHOD,))


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "20261201T04/../../x", "/etc/passwd", "", "20261201T04/ABC"]
)
def test_a_reference_does_not_lead_out_of_the_store(name: str, tmp_path: Path) -> None:
    coder = PayloadCoder(Payloads(store=str(tmp_path / "a" / "b"), store_from_bytes=1))
    header = payload_pb2.PayloadHeader(method=METHOD, kind=REQUEST, size=1)
    header.stored.name = name
    with pytest.raises(DataLoss):
        coder.decode(head_of(header), REQUEST, (METHOD,))


def test_a_sweep_deletes_what_may_be_deleted(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for keep_s in (10.0, 3 * 86400.0):
        coder = PayloadCoder(Payloads(store=str(store), store_from_bytes=1, keep_s=keep_s))
        coder.encode(CLEAR, REQUEST, METHOD)
    (store / "other").mkdir()
    assert coder.store is not None
    assert coder.store.sweep(time.time()) == 0
    assert coder.store.sweep(time.time() + 7300.0) == 1
    assert len(stored_files(store)) == 1
    assert (store / "other").is_dir()
    assert coder.store.sweep(time.time() + 4 * 86400.0) == 1
    assert not stored_files(store)


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    coder = PayloadCoder(Payloads(store=str(tmp_path / "file"), store_from_bytes=1))
    with pytest.raises(Unavailable, match="cannot be stored"):
        coder.encode(CLEAR, REQUEST, METHOD)
    with pytest.raises(InvalidArgument, match="the store of payloads cannot be used"):
        PayloadCoder(Payloads(store="nosuch://x"))


def test_a_store_of_another_kind() -> None:
    coder = PayloadCoder(Payloads(store="memory://weft-test", store_from_bytes=1))
    coded = coder.encode(CLEAR, RESPONSE, METHOD)
    assert coder.decode(coded, RESPONSE, (METHOD,)) == CLEAR
    assert coder.store is not None
    assert coder.store.sweep(time.time() + 30 * 86400.0) == 1
    with pytest.raises(Unavailable):
        coder.decode(coded, RESPONSE, (METHOD,))


# -- failures -----------------------------------------------------------------------------------------------------


def test_a_failure_keeps_its_code_and_its_retry(aes: PayloadCoder) -> None:
    status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="card 4111 is locked")
    details: list[Any] = [
        error_details_pb2.RetryInfo(),
        error_details_pb2.ErrorInfo(domain="acme.com", reason="LOCKED", metadata={"card": "4111"}),
        error_details_pb2.ErrorInfo(domain=errors.DOMAIN, reason="OVERLOADED"),
    ]
    for each in details:
        status.details.add().Pack(each)
    raised = task_pb2.HandlerError(type="Locked", message="4111", stack="at 4111")
    outcome = task_pb2.Outcome(status=status, error=raised)
    coded = coded_failure.coded_outcome(aes, outcome, METHOD, with_error=True)
    assert b"4111" not in coded.SerializeToString()
    assert (coded.status.code, coded.error.type) == (code_pb2.UNAVAILABLE, "Locked")
    told = errors.from_status(coded.status)
    assert told.reason_name == "OVERLOADED"
    assert told.retry_after_s == 0.0
    failure = coded_failure.decoded(aes, coded.status, (METHOD,))
    assert failure is not None
    assert (failure.status, failure.error) == (status, raised)
    hidden = coded_failure.coded_outcome(aes, outcome, METHOD, with_error=False)
    assert not hidden.HasField("error")
    failure = coded_failure.decoded(aes, hidden.status, (METHOD,))
    assert failure is not None
    assert not failure.HasField("error")
    assert coded_failure.decoded(aes, refusals.stopping("x").status(), (METHOD,)) is None
    with pytest.raises(DataLoss):
        coded_failure.decoded(aes, coded.status, ("acme.v1.Vault/Get",))
    assert opened(coded_failure.coded_in(coded.status) or b"").header.kind == FAILURE


# -- settings -----------------------------------------------------------------------------------------------------


def test_settings_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_environment() is None
    assert payload_coder(None) is None
    assert payload_coder(False) is None
    assert payload_coder(Payloads()) is None
    monkeypatch.setenv("WEFT_PAYLOAD_REQUIRED", "true")
    with pytest.raises(InvalidArgument, match="set WEFT_PAYLOAD_KEYS_FILE as well"):
        payload_coder(None)
    monkeypatch.setenv("WEFT_PAYLOAD_KEYS_FILE", str(keys(tmp_path, "k1")))
    monkeypatch.setenv("WEFT_PAYLOAD_CODEC", f"{__name__}:CODEC")
    monkeypatch.setenv("WEFT_PAYLOAD_MAX_BYTES", "77")
    coder = payload_coder(None)
    assert coder is not None
    assert coder.max_bytes == 77
    coded = coder.encode(b"abc", REQUEST, METHOD)
    assert opened(coded).header.codec == "reversing"
    monkeypatch.setenv("WEFT_PAYLOAD_MAX_BYTES", "many")
    with pytest.raises(InvalidArgument, match="WEFT_PAYLOAD_MAX_BYTES is 'many'"):
        payload_coder(None)


def test_settings_of_agents(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="payload_required: no coded call could be read"):
        Agent("a1").configure(payload_required=True)
    given = Payloads(keys_file=str(keys(tmp_path, "k1")), codec=CODEC, required=True)
    assert Agent("a1", payloads=given).settings.payloads == given
    with pytest.raises(SettingsError, match="it is neither module:object nor a codec"):
        Agent("a1", payloads=Payloads(codec=5))  # type: ignore[arg-type]
    assert Agent("a1").settings.payloads is None


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Payloads(compression="lz4"), "payload compression 'lz4' cannot be used"),
        (Payloads(codec="no.such:codec"), "payload codec 'no.such:codec' cannot be loaded"),
        (Payloads(codec="os"), "it is module:object"),
        (Payloads(keys_file="/no/such/file"), "cannot read the key file /no/such/file"),
    ],
)
def test_wrong_settings(options: Payloads, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        PayloadCoder(options)
