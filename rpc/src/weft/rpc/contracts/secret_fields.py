"""Which fields of a contract are secret: by `(weft.v1.field).secret`, or by protobuf's own `debug_redact`.

They are read as `raw_options`: a contract's files may have any version of weft/v1/options.proto, or none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import DecodeError

from weft.rpc.contracts.descriptors import PlainFileProto
from weft.rpc.contracts.raw_options import is_foreign, option_values
from weft.v1 import options_pb2

_OPTION = options_pb2.field
_OPTIONS = "google.protobuf.FieldOptions"
# A file without these bytes has no secret fields: the tags of the two options.
_TAGS = (b"\xc2\xe1\x18", b"\x80\x01\x01")
_STANDARD = ("google/protobuf/", "weft/v1/")


class SecretFields:
    """The secret fields of the message types that it is asked about, of any pools. Reads each file once."""

    def __init__(self) -> None:
        # By file: the full names of its secret fields and extensions.
        self._of_files: dict[FileDescriptor, frozenset[str]] = {}

    def has(self, field: FieldDescriptor) -> bool:
        """Whether a field, or an extension, is secret."""
        # The stubs do not show that a field has its file.
        described: Any = field
        file: FileDescriptor = described.file
        if (names := self._of_files.get(file)) is None:
            names = self._of_files[file] = _secret_in(file)
        return bool(names) and field.full_name in names

    def within(self, root: Descriptor) -> frozenset[str]:
        """The names, also those of JSON, of the secret fields in a message at any depth, and of all fields in secret messages."""
        found: set[str] = set()
        # Types, each with whether a secret field holds it.
        waiting = [(root, False)]
        seen = set(waiting)
        for current, hidden in waiting:  # it grows during the loop
            for field in current.fields:
                secret = hidden or self.has(field)
                if secret and not current.GetOptions().map_entry:
                    found.update((field.name, field.json_name))
                inner = field.message_type
                if inner is None or inner.file.name.startswith(_STANDARD):
                    continue
                if (inner, secret) not in seen:
                    seen.add((inner, secret))
                    waiting.append((inner, secret))
        return frozenset(found)


def _secret_in(file: FileDescriptor) -> frozenset[str]:
    serialized = file.serialized_pb
    if file.name.startswith(_STANDARD) or not any(tag in serialized for tag in _TAGS):
        return frozenset()
    foreign = is_foreign(file.pool, _OPTIONS, _OPTION.number, _OPTION.full_name)
    proto = PlainFileProto.FromString(serialized)
    found: set[str] = set()
    waiting: list[tuple[str, Any, Iterable[FieldDescriptorProto]]] = [
        (proto.package, proto.message_type, proto.extension)
    ]
    for outer, messages, fields in waiting:  # it grows during the loop
        found.update(f"{outer}.{each.name}".lstrip(".") for each in fields if _is_secret(each, foreign))
        for message in messages:
            name = f"{outer}.{message.name}".lstrip(".")
            waiting.append((name, message.nested_type, [*message.field, *message.extension]))
    return frozenset(found)


def _is_secret(field: FieldDescriptorProto, foreign: bool) -> bool:
    if field.options.debug_redact:
        return True
    parts = () if foreign else option_values(field.options, _OPTION.number)
    told = options_pb2.FieldPolicy()
    try:
        for part in parts:
            told.MergeFromString(part)
    except DecodeError:
        # Something is said of the field that cannot be read.
        return True
    return told.secret
