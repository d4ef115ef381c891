"""The file of an export: one record a line, as JSON of the contract. Written for one user alone; read line by line, within bounds."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from google.protobuf import json_format

from weft.cli.terminal.failure import Failure, system_reason
from weft.v1 import state_pb2

STDIO = "-"
# A payload of 4 MiB takes 6 MB.
MAX_LINE_BYTES = 64 * 1024 * 1024
# The beginning of a record: its kind.
_KIND = re.compile(rb'\s*\{\s*"([A-Za-z][A-Za-z0-9]{0,63})"\s*:\s*\{')
_KNOWN = frozenset(field.json_name for field in state_pb2.StateRecord.DESCRIPTOR.fields)


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


class NewerRecords:
    """Records of a file that this version does not know, in whole or in part: a newer weft has made them."""

    def __init__(self, *, skip: bool) -> None:
        # Leave them out; else they are refused.
        self.skip = skip
        # Left out, by what JSON calls their kind.
        self.kinds: Counter[str] = Counter()
        # Taken without some of their fields.
        self.partly = 0


def check_kinds(path: str) -> None:
    """Refuse a file with records of unknown kinds, before any record is imported. Standard input cannot be read twice.

    Raises:
        Failure: the file cannot be read, or has such records: how many of each kind.
    """
    if path == STDIO:
        return
    unknown = NewerRecords(skip=True)
    for _ in records_of(path, unknown, whole=False):
        pass
    if unknown.kinds:
        raise _newer(path, unknown.kinds)


def _newer(path: str, kinds: Mapping[str, int]) -> Failure:
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return Failure(
        f"{path} has records that this version of weft does not know: {told}",
        "import it with the version that has made it, or a newer one; --skip-unknown leaves them out",
        status=2,
    )


def records_of(
    path: str, unknown: NewerRecords | None = None, *, whole: bool = True
) -> Iterator[state_pb2.StateRecord]:
    """The records of a file, from its header on.

    Args:
        unknown: what to do with records that are not known. None: they are refused.
        whole: false: look at the kinds of records alone. Known ones are empty.

    Raises:
        Failure: it cannot be read, a line is no record, or there is no end.
    """
    number, ended = 0, False
    unknown = unknown or NewerRecords(skip=False)
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
            kind = _unknown_kind(line)
            if kind and number > 1:
                if not unknown.skip:
                    raise _newer(path, {kind: 1})
                unknown.kinds[kind] += 1
                ended = False
            elif whole:
                record = _record(line, path, number, unknown)
                ended = record.HasField("end")
                yield record
            else:
                ended = True
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


def _unknown_kind(line: bytes) -> str:
    """What a record's kind is called, if it looks like a record of another version. Empty: it is to be parsed."""
    found = _KIND.match(line)
    return "" if found is None or found[1].decode() in _KNOWN else found[1].decode()


def _record(line: bytes, path: str, number: int, unknown: NewerRecords) -> state_pb2.StateRecord:
    try:
        try:
            record = json_format.Parse(line, state_pb2.StateRecord(), max_recursion_depth=50)
        except json_format.ParseError:
            if not unknown.skip:
                raise
            record = json_format.Parse(
                line, state_pb2.StateRecord(), ignore_unknown_fields=True, max_recursion_depth=50
            )
            unknown.partly += 1
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Failure(f"{path}, line {number} is no record of an export: {reason}", status=2) from None
    if record.WhichOneof("record") is None:
        raise Failure(f"{path}, line {number} is no record of an export: it is empty", status=2)
    if (number == 1) != record.HasField("header"):
        what = "does not begin with a header" if number == 1 else f"has a second header in line {number}"
        raise Failure(f"{path} {what}: it is no export", status=2)
    return record
