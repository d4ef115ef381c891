"""Codes and decodes the payloads of a process: its own codec, then compression, then encryption, then the store.

    message ─► codec ─► compression ─► AES-GCM ─┬─► body in the envelope
                                                └─► body in the store, its name in the envelope      (large ones)

Pieces flow through: beside the message itself, a few MiB are in memory at a time. What waits for a disk or a network, or takes long,
runs in threads, of which there are few.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import io
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from weft.rpc import refusals
from weft.rpc.enum_names import enum_name
from weft.rpc.errors import WeftError
from weft.rpc.payloads import compression
from weft.rpc.payloads.envelope import Envelope, head_of, is_coded, opened
from weft.rpc.payloads.key_file import KeyFile, PayloadKey
from weft.rpc.payloads.payload_options import INLINE_MAX_BYTES, STORED_MAX_BYTES, PayloadCodec, Payloads
from weft.rpc.payloads.payload_store import Changed, NotStored, PayloadStore
from weft.v1 import payload_pb2

T = TypeVar("T")

REQUEST = payload_pb2.PAYLOAD_KIND_REQUEST
RESPONSE = payload_pb2.PAYLOAD_KIND_RESPONSE
FAILURE = payload_pb2.PAYLOAD_KIND_FAILURE
EVENT = payload_pb2.PAYLOAD_KIND_EVENT
# Larger messages are coded in a thread, so that an event loop does not wait for it.
INLINE_BYTES = 64 * 1024
# Large payloads that are coded at a time: each holds its message.
_AT_ONCE = 4
_PIECE_BYTES = 1024 * 1024
_MOST_BYTES = 2**31 - 1


class PayloadCoder:
    """Codes and decodes payloads as the settings say. From any thread.

    Raises:
        InvalidArgument: a setting cannot be used.
        weft.rpc.process.extras.MissingExtra: a package is missing.
    """

    def __init__(self, options: Payloads) -> None:
        self.options = options
        self._keys = KeyFile(_path(options)) if options.keys_file else None
        self._store = _store(options)
        self._codec = _codec(options.codec)
        if options.compression and not compression.available(options.compression):
            known = " and ".join(compression.NAMES)
            raise refusals.invalid_field(
                f"payload compression {options.compression!r} cannot be used: there are {known},"
                " and zstd needs the package zstandard",
                field="payload_compression",
            )
        self.max_bytes = options.max_bytes or (STORED_MAX_BYTES if options.store else INLINE_MAX_BYTES)
        if not 0 < self.max_bytes <= _MOST_BYTES:
            raise refusals.invalid_field(
                f"payload_max_bytes is {options.max_bytes}; it must be 1 to {_MOST_BYTES}, protobuf's own limit",
                field="payload_max_bytes",
            )
        self._threads: ThreadPoolExecutor | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return PayloadCoder, (self.options,)

    # -- coding -------------------------------------------------------------------------------------------------

    def encode(
        self, message: bytes, kind: payload_pb2.PayloadKind, method: str, *, store: bool = True
    ) -> bytes:
        """The coded payload of a message.

        Args:
            store: a large one may go into the store.

        Raises:
            ResourceExhausted: it is larger than allowed (PAYLOAD_TOO_LARGE).
            Unavailable: the store cannot be written (PAYLOAD_STORE_UNAVAILABLE).
        """
        size = len(message)
        if size > self.max_bytes:
            raise refusals.payload_too_large(
                f"the message of {method} is {size} bytes; the limit is {self.max_bytes} (payload_max_bytes)",
                size_bytes=size,
                limit_bytes=self.max_bytes,
            )
        key = None if self._keys is None else self._keys.newest()
        header = payload_pb2.PayloadHeader(method=method, kind=kind)
        if kind in {REQUEST, EVENT}:
            header.request_digest = _digest(key, method, message)
        if self._codec is not None:
            header.codec = self._codec.name
            message = self._codec.encode(message)
        header.size = len(message)
        pieces: Iterable[bytes] = _pieces(message)
        if self.options.compression and len(message) >= compression.LEAST_BYTES:
            header.compression = self.options.compression
            pieces = compression.compress(header.compression, pieces)
        if key is not None:
            header.key_id, header.salt = key.id, os.urandom(32)
        if self._store is not None and store and size >= self.options.store_from_bytes:
            return self._stored(self._store, header, key, pieces)
        head = head_of(header)
        return b"".join((head, *_sealed(header, key, head, pieces)))

    def _stored(
        self,
        store: PayloadStore,
        header: payload_pb2.PayloadHeader,
        key: PayloadKey | None,
        pieces: Iterable[bytes],
    ) -> bytes:
        try:
            # What is stored is bound to the header without its place, which is not known yet.
            sealed = _sealed(header, key, head_of(header), pieces)
            header.stored.CopyFrom(store.write(sealed, time.time() + self.options.keep_s))
        except NotStored as error:
            raise refusals.payload_store_unavailable(
                f"a large payload of {header.method} cannot be stored: {error}", header.method
            ) from None
        return head_of(header)

    # -- decoding -----------------------------------------------------------------------------------------------

    def decode(self, payload: bytes, kind: payload_pb2.PayloadKind, methods: Collection[str]) -> bytes:
        """The message of a coded payload.

        Args:
            methods: to one of which it must belong.

        Raises:
            FailedPrecondition: this process cannot decode it (PAYLOAD_CODED).
            DataLoss: it was changed, or belongs elsewhere (PAYLOAD_CORRUPT).
            Unavailable: the store cannot be read (PAYLOAD_STORE_UNAVAILABLE).
        """
        envelope = opened(payload)
        header = envelope.header
        if header.method not in methods or header.kind != kind:
            name = enum_name(payload_pb2.PayloadKind, kind).rpartition("_")[2].lower()
            raise _corrupt(
                header, f"it is no {name} of {' or '.join(sorted(methods))}, but of {header.method[:200]}"
            )
        if header.size > self.max_bytes:
            raise _corrupt(header, f"it says that it has {header.size} bytes; the limit is {self.max_bytes}")
        whole = io.BytesIO()
        try:
            for piece in self._opened(envelope):
                whole.write(piece)
                if whole.tell() > header.size:
                    break
        except compression.Undecodable as error:
            raise _corrupt(header, str(error)) from None
        except Changed:
            raise _corrupt(header, "the store has other bytes than were put there") from None
        except NotStored as error:
            raise refusals.payload_store_unavailable(
                f"a large payload of {header.method} cannot be read: {error}", header.method
            ) from None
        if whole.tell() != header.size:
            raise _corrupt(header, f"it is not the {header.size} bytes that it says")
        return self._by_codec(header, whole.getvalue())

    def _opened(self, envelope: Envelope) -> Iterator[bytes]:
        header, head = envelope.header, envelope.head
        pieces: Iterable[bytes] = _pieces(envelope.body)
        if header.HasField("stored"):
            if self._store is None:
                raise _lacks(
                    header, "is in a store of payloads, and this process has none (payload_store)", store="-"
                )
            pieces = self._store.read(header.stored)
            bare = payload_pb2.PayloadHeader()
            bare.CopyFrom(header)
            bare.ClearField("stored")
            head = head_of(bare)
        if header.key_id:
            pieces = self._unsealed(header, head, pieces)
        elif self._keys is not None:
            # Whoever can write the store, or sits in between, must not choose what is read here.
            raise _lacks(
                header, "is coded and not encrypted; this process has keys, and takes encrypted ones alone"
            )
        if header.compression:
            if not compression.available(header.compression):
                raise _lacks(
                    header, f"is compressed by {header.compression[:40]}, which this process does not have"
                )
            pieces = compression.decompress(header.compression, pieces, header.size)
        yield from pieces

    def _unsealed(
        self, header: payload_pb2.PayloadHeader, head: bytes, pieces: Iterable[bytes]
    ) -> Iterator[bytes]:
        from weft.rpc.payloads import sealing

        key = None if self._keys is None else self._keys.find(header.key_id)
        if key is None:
            raise _lacks(
                header,
                f"is encrypted with the key {header.key_id[:64]}, which this process does not have"
                " (payload_keys_file)",
                key_id=header.key_id[:64],
            )
        try:
            yield from sealing.unseal(key.secret, header.salt, head, pieces)
        except sealing.Tampered:
            raise _corrupt(header, f"it is not as it was encrypted with the key {key.id}") from None

    def _by_codec(self, header: payload_pb2.PayloadHeader, message: bytes) -> bytes:
        if not header.codec:
            return message
        if self._codec is None or self._codec.name != header.codec:
            raise _lacks(
                header,
                f"needs the codec {header.codec[:64]}, which this process does not have",
                codec=header.codec[:64],
            )
        try:
            return self._codec.decode(message)
        except WeftError:
            raise
        except Exception as error:  # the program's own
            raise _corrupt(header, f"the codec {header.codec} fails: {type(error).__name__}") from None

    # -- for event loops ----------------------------------------------------------------------------------------

    async def encode_async(
        self, message: bytes, kind: payload_pb2.PayloadKind, method: str, *, store: bool = True
    ) -> bytes:
        """As `encode`; a large message is coded in a thread."""
        if self.is_quick(len(message)):
            return self.encode(message, kind, method, store=store)
        return await self._in_thread(lambda: self.encode(message, kind, method, store=store))

    async def decode_async(
        self, payload: bytes, kind: payload_pb2.PayloadKind, methods: Collection[str]
    ) -> bytes:
        """As `decode`; a large payload is decoded in a thread."""
        if len(payload) < INLINE_BYTES:
            header = opened(payload).header
            if header.size < INLINE_BYTES and not header.HasField("stored"):
                return self.decode(payload, kind, methods)
        return await self._in_thread(lambda: self.decode(payload, kind, methods))

    def is_quick(self, size_bytes: int) -> bool:
        """Whether a message of this size is coded at once, and waits for nothing."""
        stored = self._store is not None and size_bytes >= self.options.store_from_bytes
        return size_bytes < INLINE_BYTES and not stored

    async def delete_stored(self, payload: bytes) -> None:
        """Delete what a coded payload has in the store, if it has anything: nobody will read it. Never fails."""
        if self._store is None or not is_coded(payload):
            return
        header = opened(payload).header
        if header.HasField("stored"):
            store = self._store
            await self._in_thread(lambda: _deleted(store, header.stored.name))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="weft-payload")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @property
    def store(self) -> PayloadStore | None:
        """The store of large payloads; None: there is none."""
        return self._store


def coder_of(options: Payloads | None) -> PayloadCoder | None:
    """The coder of these settings; None: payloads are as they are."""
    given = options is not None and (
        options.keys_file or options.compression or options.store or options.codec
    )
    return PayloadCoder(options) if options is not None and given else None


def _deleted(store: PayloadStore, name: str) -> None:
    # A sweep deletes it later.
    with suppress(NotStored, Changed):
        store.delete(name)


def _digest(key: PayloadKey | None, method: str, message: bytes) -> bytes:
    if key is None:
        return hashlib.sha256(method.encode() + b"\0" + message).digest()
    from weft.rpc.payloads import sealing

    return sealing.request_digest(key.secret, method, message)


def _sealed(
    header: payload_pb2.PayloadHeader, key: PayloadKey | None, head: bytes, pieces: Iterable[bytes]
) -> Iterable[bytes]:
    if key is None:
        return pieces
    from weft.rpc.payloads import sealing

    return sealing.seal(key.secret, header.salt, head, pieces)


def _pieces(message: bytes) -> Iterator[bytes]:
    if len(message) <= _PIECE_BYTES:
        yield message
        return
    view = memoryview(message)
    for start in range(0, len(message), _PIECE_BYTES):
        yield bytes(view[start : start + _PIECE_BYTES])


def _codec(given: PayloadCodec | str | None) -> PayloadCodec | None:
    """A program's own codec."""
    if not isinstance(given, str):
        return given
    if not given:
        return None
    module, _, name = given.partition(":")
    try:
        found: PayloadCodec = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise refusals.invalid_field(
            f"the payload codec {given!r} cannot be loaded: {error}; it is module:object",
            field="payload_codec",
        ) from None
    return found


def _path(options: Payloads) -> Any:
    from pathlib import Path

    from weft.rpc.process.extras import require

    require("security")
    return Path(options.keys_file)


def _store(options: Payloads) -> PayloadStore | None:
    if not options.store:
        return None
    from weft.rpc.process.extras import require

    require("payloads")
    try:
        return PayloadStore(options.store)
    except NotStored as error:
        raise refusals.invalid_field(
            f"the store of payloads cannot be used: {error}", field="payload_store"
        ) from None


def _corrupt(header: payload_pb2.PayloadHeader, why: str) -> WeftError:
    return refusals.payload_corrupt(
        f"a coded payload of {header.method[:200]} cannot be decoded: {why}", header.method[:200]
    )


def _lacks(header: payload_pb2.PayloadHeader, why: str, **missing: str) -> WeftError:
    return refusals.payload_coded(f"a payload of {header.method[:200]} {why}", header.method[:200], **missing)
