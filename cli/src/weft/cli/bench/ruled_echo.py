"""The measured method with rules: the same message on the wire, but its contract says which values are good.

The contract is made here, since no generated module has rules: this is about what `buf.validate` writes for

    bytes value = 1 [(buf.validate.field).bytes = {min_len: 1, max_len: 1000}];
"""

from __future__ import annotations

from google.protobuf.message import Message

from weft.rpc.contracts.descriptors import PlainFileProto, build_pool, message_class

# (buf.validate.field), a FieldRules: its `bytes` (15) has `min_len` (2) and `max_len` (3).
_RULES = b"\xba\x48\x07\x7a\x05\x10\x01\x18\xe8\x07"


def ruled_value() -> type[Message]:
    """A message with the wire form of `google.protobuf.BytesValue`, and rules."""
    file = PlainFileProto(name="weft/bench/v1/ruled.proto", package="weft.bench.v1", syntax="proto3")
    field = file.message_type.add(name="RuledValue").field.add(name="value", number=1)
    field.type, field.label = field.TYPE_BYTES, field.LABEL_OPTIONAL
    field.options.MergeFromString(_RULES)
    return message_class(build_pool([file]).FindMessageTypeByName("weft.bench.v1.RuledValue"))
