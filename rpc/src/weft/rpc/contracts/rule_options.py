"""Where a contract has rules of `buf.validate`: which message types, and what the check of a large message costs there.

They are read as `raw_options`: a contract's files may have any version of buf/validate/validate.proto, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from weft.rpc.contracts.descriptors import PlainFileProto
from weft.rpc.contracts.raw_options import is_foreign, option_values

# The numbers of `(buf.validate.message)`, `.oneof` and `.field`, and of `(buf.validate.predefined)`: rules of one's own.
RULES_NUMBER = 1159
# What serialized files with rules contain: the tag of a message field of that number.
RULES_TAG = b"\xba\x48"
PREDEFINED_NUMBER = 1160
_PREDEFINED_TAG = b"\xc2\x48"
# The options that they extend, with the extension's name.
_EXTENDED = {
    "google.protobuf.MessageOptions": "buf.validate.message",
    "google.protobuf.OneofOptions": "buf.validate.oneof",
    "google.protobuf.FieldOptions": "buf.validate.field",
}
# A CEL expression that makes a list, element by element, copies it for each element: its time grows with the square. A comment
# may stand between a name and its parenthesis.
_MAKES_LIST = re.compile(rb"\b(?:map|filter)\s*(?:\(|//)")
_STANDARD = ("google/protobuf/", "buf/validate/")


class RuledTypes(NamedTuple):
    """The types with rules, of a message and its inner messages at any depth."""

    # Each with its lists and maps that have rules.
    lists: Mapping[Descriptor, frozenset[str]]
    # Some rule makes lists by CEL.
    makes_lists: bool


class RuleOptions:
    """The rules in the files of one pool. Reads each file once.

    Args:
        pool: the pool.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        # Another option of that number: then there are no rules.
        self._foreign = any(
            is_foreign(pool, extended, RULES_NUMBER, name) for extended, name in _EXTENDED.items()
        )
        # By full name: the lists and maps with rules.
        self._types: dict[str, frozenset[str]] = {}
        # Types, and files with rules of their own, that make lists.
        self._making_lists: set[str] = set()
        self._read: set[str] = set()

    def within(self, root: Descriptor) -> RuledTypes | None:
        """The types with rules in a message; None: there are none."""
        # All types within are in this file and its imports.
        self._read_file(root.file)
        if self._foreign or not self._types:
            return None
        found: dict[Descriptor, frozenset[str]] = {}
        seen, waiting = {root.full_name}, [root]
        for current in waiting:  # it grows during the loop
            if (lists := self._types.get(current.full_name)) is not None:
                found[current] = lists
            for field in current.fields:
                inner = field.message_type
                if inner is not None and inner.full_name not in seen:
                    seen.add(inner.full_name)
                    waiting.append(inner)
        # A rule that a file defines may be used by any type.
        return RuledTypes(found, not self._making_lists.isdisjoint(seen | self._read)) if found else None

    def _read_file(self, file: FileDescriptor) -> None:
        """Read a file and its imports."""
        waiting = [file]
        for current in waiting:  # it grows during the loop
            if current.name in self._read:
                continue
            self._read.add(current.name)
            waiting += current.dependencies
            # Where the tag is not there in this form, there are no rules: `has_rules` says so of the bytes of the whole contract.
            if not current.name.startswith(_STANDARD) and _has_tags(serialized := current.serialized_pb):
                proto = PlainFileProto.FromString(serialized)
                self._keep(proto.package, proto.message_type)
                if any(map(_MAKES_LIST.search, _predefined(proto))):
                    self._making_lists.add(current.name)

    def _keep(self, outer: str, messages: Iterable[DescriptorProto]) -> None:
        for message in messages:
            name = f"{outer}.{message.name}" if outer else message.name
            ruled = {
                owner: rules
                for owner, at in holders(message)
                if (rules := option_values(at.options, RULES_NUMBER))
            }
            if ruled:
                repeated = {each.name for each in message.field if each.label == each.LABEL_REPEATED}
                self._types[name] = frozenset(repeated & ruled.keys())
                if any(_MAKES_LIST.search(part) for parts in ruled.values() for part in parts):
                    self._making_lists.add(name)
            self._keep(name, message.nested_type)


def _has_tags(serialized: bytes) -> bool:
    return RULES_TAG in serialized or _PREDEFINED_TAG in serialized


def holders(message: DescriptorProto) -> list[tuple[str, Any]]:
    """The descriptors of a message that may have rules, with their names: itself, by "", its fields, its oneofs."""
    parts: list[Any] = [*message.field, *message.oneof_decl]
    return [("", message), *((part.name, part) for part in parts)]


def _predefined(file: FileDescriptorProto) -> Iterable[bytes]:
    """The rules of one's own that a file defines: as options of extensions."""
    waiting: list[Any] = [file]
    for current in waiting:  # it grows during the loop
        for extension in current.extension:
            yield from option_values(extension.options, PREDEFINED_NUMBER)
        waiting += current.message_type if isinstance(current, PlainFileProto) else current.nested_type
