"""Compression of bodies, piece by piece, with a bound on what comes out of it."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

NAMES = ("zlib", "zstd")
# Smaller messages are not compressed: they would hardly shrink.
LEAST_BYTES = 512
_PIECE_BYTES = 256 * 1024
_ZLIB_LEVEL, _ZSTD_LEVEL = 1, 3
# The memory that a decompressor may take for its window.
_MOST_WINDOW_BYTES = 8 * 1024 * 1024


class Undecodable(Exception):
    """What was compressed is damaged, or larger than it says."""


def available(name: str) -> bool:
    """Whether this process can use a compression."""
    return name == "zlib" or (name == "zstd" and find_spec("zstandard") is not None)


def compress(name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The compressed pieces."""
    compressor: Any
    if name == "zstd":
        import zstandard

        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    else:
        compressor = zlib.compressobj(_ZLIB_LEVEL)
    for piece in pieces:
        if made := compressor.compress(piece):
            yield made
    yield compressor.flush()


def decompress(name: str, pieces: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
    """The pieces as they were.

    Args:
        size_bytes: how many bytes they must be.

    Raises:
        Undecodable: there are more, or they are damaged.
    """
    left = size_bytes
    for piece in (_unzstd if name == "zstd" else _inflate)(pieces):
        left -= len(piece)
        if left < 0:
            raise Undecodable(f"more than {size_bytes} bytes come out of it")
        yield piece


def _inflate(pieces: Iterable[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj()
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if made := inflater.decompress(rest, _PIECE_BYTES):
                    yield made
                rest = inflater.unconsumed_tail
                if inflater.eof:
                    break
        # What waits within it.
        while made := inflater.decompress(b"", _PIECE_BYTES):
            yield made
    except zlib.error as error:
        raise Undecodable(str(error)) from None
    if not inflater.eof:
        raise Undecodable("its end is missing")


def _unzstd(pieces: Iterable[bytes]) -> Iterator[bytes]:
    import zstandard

    source: Any = _Pieces(pieces)
    reader = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES).stream_reader(source)
    try:
        while made := reader.read(_PIECE_BYTES):
            yield made
    except zstandard.ZstdError as error:
        raise Undecodable(str(error)) from None


class _Pieces(io.RawIOBase):
    """Pieces as a file that can be read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        taken = self._rest[: len(buffer)]
        self._rest = self._rest[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)
