"""The file of an export: one record a line, as JSON of the contract. Written for one user alone; read line by line, within bounds."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from google.protobuf import json_format

from weft.cli.terminal.failure import Failure, system_reason
from weft.v1 import state_pb2

STDIO = "-"
# A payload of 4 MiB takes 6 MB.
MAX_LINE_BYTES = 64 * 1024 * 1024


class StateFile:
    """A new file of records. Complete once `finish` has returned; else nothing is left behind."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._to_file = path != STDIO
        self._part = Path(f"{path}.part")
        try:
            if self._to_file and Path(path).exists():
                raise Failure(f"{path} exists: choose another file, or remove it", status=2)
            self._file: IO[bytes] = self._open() if self._to_file else sys.stdout.buffer
        except OSError as error:
            raise Failure(f"cannot write {path}: {system_reason(error)}") from None

    def _open(self) -> IO[bytes]:
        self._part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        return open(os.open(self._part, flags, 0o600), "wb")  # noqa: PTH123

    def add(self, record: state_pb2.StateRecord) -> None:
        """
        Raises:
            Failure: the file cannot be written.
        """
        text = json_format.MessageToJson(record, indent=None)
        try:
            self._file.write(text.encode() + b"\n")
        except OSError as error:
            raise Failure(f"cannot write {self._path}: {system_reason(error)}") from None

    def finish(self) -> None:
        """
        Raises:
            Failure: the file cannot be written.
        """
        try:
            self._file.flush()
            if self._to_file:
                os.fsync(self._file.fileno())
                self._file.close()
                self._part.rename(self._path)
        except OSError as error:
            raise Failure(f"cannot write {self._path}: {system_reason(error)}") from None

    def drop(self) -> None:
        """Leave nothing behind of an export that did not finish."""
        if self._to_file and not self._file.closed:
            with contextlib.suppress(OSError):
                self._file.close()
            self._part.unlink(missing_ok=True)


def records_of(path: str) -> Iterator[state_pb2.StateRecord]:
    """The records of a file, from its header on.

    Raises:
        Failure: it cannot be read, a line is no record, or there is no end.
    """
    number, ended = 0, False
    with contextlib.ExitStack() as stack:
        try:
            file: IO[bytes] = (
                sys.stdin.buffer if path == STDIO else stack.enter_context(Path(path).open("rb"))
            )
        except OSError as error:
            raise Failure(f"cannot read {path}: {system_reason(error)}", status=2) from None
        while line := _read_line(file, path):
            number += 1
            if not line.strip():
                continue
            record = _record(line, path, number)
            ended = record.HasField("end")
            yield record
    if not ended:
        raise Failure(f"{path} has no end: the export was cut; export again", status=2)


def _read_line(file: IO[bytes], path: str) -> bytes:
    try:
        line = file.readline(MAX_LINE_BYTES + 1)
    except OSError as error:
        raise Failure(f"cannot read {path}: {system_reason(error)}", status=2) from None
    if len(line) > MAX_LINE_BYTES:
        raise Failure(f"{path} has a line of more than {MAX_LINE_BYTES} bytes: it is no export", status=2)
    return line


def _record(line: bytes, path: str, number: int) -> state_pb2.StateRecord:
    try:
        record = json_format.Parse(line, state_pb2.StateRecord(), max_recursion_depth=50)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Failure(f"{path}, line {number} is no record of an export: {reason}", status=2) from None
    if record.WhichOneof("record") is None:
        raise Failure(f"{path}, line {number} is no record of an export: it is empty", status=2)
    if (number == 1) != record.HasField("header"):
        what = "does not begin with a header" if number == 1 else f"has a second header in line {number}"
        raise Failure(f"{path} {what}: it is no export", status=2)
    return record
