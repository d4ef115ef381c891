"""How a process codes its payloads: the settings, and the hook for a program's own codec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DEFAULT_STORE_FROM_BYTES = 1024 * 1024
# The largest message, unless it is set: with a store, and without one.
STORED_MAX_BYTES = 1024 * 1024 * 1024
INLINE_MAX_BYTES = 64 * 1024 * 1024
# Longer than a failed task is kept, unless that is set.
DEFAULT_KEEP_S = 14 * 86400.0
# What a coded payload begins with. The first byte is a tag that protobuf forbids: no message begins with it.
CODED_PREFIX = b"\x07WFP\x01"


class PayloadCodec(Protocol):
    """A program's own codec, applied to a message before compression and encryption. From any thread."""

    # Stands in the header: who decodes must have a codec of this name.
    name: str

    def encode(self, message: bytes) -> bytes:
        """The coded message."""
        ...

    def decode(self, coded: bytes) -> bytes:
        """The message. Any exception: it cannot be decoded."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Payloads:
    """How payloads are coded, at both ends: in clients and in agents.

    Args:
        keys_file: the file with the keys; payloads are encrypted by AES-GCM. Empty: they are not.
        compression: "zlib" or "zstd"; empty: none.
        store: a folder, or a URL of fsspec such as "s3://bucket/prefix", for large payloads; empty: none.
        store_from_bytes: coded payloads of this size or larger go into the store.
        keep_s: how long payloads stay in the store, at least.
        max_bytes: the largest message; 0: 1 GiB with a store, 64 MiB without one.
        required: refuse what is not coded: an agent the requests, a client the responses of tasks. Without it a client refuses those
            of calls on its channels alone.
        codec: a program's own codec, or where it is, "module:object".
    """

    keys_file: str | Path = ""
    compression: str = ""
    store: str = ""
    store_from_bytes: int = DEFAULT_STORE_FROM_BYTES
    keep_s: float = DEFAULT_KEEP_S
    max_bytes: int = 0
    required: bool = False
    codec: PayloadCodec | str | None = None
