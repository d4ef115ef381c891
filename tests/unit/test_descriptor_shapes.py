"""Descriptors that no compiler writes are refused: Python's protobuf ends the process at some of their messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import schema
from tests.support.schema import METHOD, PACKAGE
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.rpc.errors import InvalidArgument
from weft.v1 import errors_pb2

# A message with a map, and its entry.
MAP = {"Request": "map<string, Request> by = 1; string name = 2"}


def changed(change: Callable[[Any, Any, Any], None]) -> bytes:
    """A contract whose file, request and entry of a map are changed."""
    file = schema.file(messages=MAP)
    request = file.message_type[0]
    change(file, request, request.nested_type[0])
    return schema.file_set(file)


def another_field(_file: Any, request: Any, entry: Any) -> None:
    entry.field.add(name="more", number=3, label=1, type=9)


def on_the_outside(file: Any, request: Any, entry: Any) -> None:
    made = file.message_type.add()
    made.CopyFrom(entry)
    request.field[0].type_name = f".{PACKAGE}.{entry.name}"


def of_another_message(file: Any, request: Any, entry: Any) -> None:
    made = file.message_type[1].field.add()
    made.CopyFrom(request.field[0])


def as_extension(file: Any, request: Any, entry: Any) -> None:
    file.message_type[1].extension_range.add(start=100, end=200)
    made = file.extension.add()
    made.CopyFrom(request.field[0])
    made.number, made.extendee = 100, f".{PACKAGE}.Response"


def as_request(file: Any, request: Any, entry: Any) -> None:
    file.service[0].method[0].input_type = f".{PACKAGE}.Request.{entry.name}"


SHAPES: dict[str, Callable[[Any, Any, Any], None]] = {
    "no value": lambda file, request, entry: entry.field.pop(),
    "the value has another number": lambda file, request, entry: setattr(entry.field[1], "number", 11),
    "the key has another name": lambda file, request, entry: setattr(entry.field[0], "name", "k"),
    "another field": another_field,
    "a list of keys": lambda file, request, entry: setattr(entry.field[0], "label", 3),
    "a required value": lambda file, request, entry: setattr(entry.field[1], "label", 2),
    "a key of floats": lambda file, request, entry: setattr(entry.field[0], "type", 1),
    "a key of bytes": lambda file, request, entry: setattr(entry.field[0], "type", 12),
    "a value in a group": lambda file, request, entry: setattr(entry.field[1], "type", 10),
    "a single entry": lambda file, request, entry: setattr(request.field[0], "label", 1),
    "an entry with extensions": lambda file, request, entry: entry.extension_range.add(start=10, end=20),
    "outside of its message": on_the_outside,
    "a field of another message": of_another_message,
    "an extension": as_extension,
    "a request": as_request,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_maps_by_hand_are_refused(shape: str):
    with pytest.raises(InvalidArgument) as raised:
        Contract.load(changed(SHAPES[shape]), [METHOD])
    assert raised.value.reason == errors_pb2.ERROR_REASON_CONTRACT_INVALID
    # Entries of one field, or of three, protobuf refuses by itself.
    assert "map" in raised.value.message or "is not a valid file" in raised.value.message


def test_maps_of_a_compiler_are_taken():
    assert METHOD in Contract.load(changed(lambda file, request, entry: None), [METHOD]).methods


@pytest.mark.parametrize("key", [b"\x80\xff", b"ok"])
def test_a_required_field_that_is_missing_in_a_map_is_told_where_it_can_be(key: bytes):
    """Python's protobuf ends the process when it names such a field below a key that is not UTF-8."""
    info = schema.contract({"Request": "map<string, Request> m = 1; required string raw = 2"}).methods[METHOD]
    entry = b"\x0a" + bytes([len(key)]) + key + b"\x12\x00"
    payload = b"\x0a" + bytes([len(entry)]) + entry
    with pytest.raises(InvalidArgument, match=r"t\.v1\.Request is missing required fields: raw") as raised:
        info.check_request(payload)
    assert raised.value.reason == errors_pb2.ERROR_REASON_PAYLOAD_MALFORMED
    assert ("m['ok'].raw" in raised.value.message) == (key == b"ok")


def test_nobody_asks_protobuf_for_the_missing_fields():
    """It ends the process where the map's key is not UTF-8: `required_fields` says which are missing."""
    root = Path(__file__).resolve().parents[2]
    sources = (
        path
        for name in ("agent", "cli", "client", "coordinator", "rpc")
        for path in (root / name).rglob("*.py")
    )
    assert not [path.name for path in sources if ".FindInitializationErrors(" in path.read_text()]
