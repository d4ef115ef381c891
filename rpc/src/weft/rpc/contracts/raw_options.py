"""Options of descriptors, read by number, as bytes: a contract's files may have any version of the file that defines an option, or
none. The descriptors are those of `PlainFileProto`, which parse no options.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import unknown_fields
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message


def is_foreign(pool: DescriptorPool, extended: str, number: int, name: str) -> bool:
    """Whether a contract uses an option's number for another option.

    Args:
        extended: full name of the options that it extends, such as "google.protobuf.MethodOptions".
        name: the option's full name.
    """
    try:
        found = pool.FindExtensionByNumber(pool.FindMessageTypeByName(extended), number)
    except KeyError:
        return False
    return bool(found.full_name != name)


def option_values(options: Message, number: int) -> tuple[bytes, ...]:
    """The serialized values of an option that is a message, in order. By protobuf's rules they are to be merged; mostly there is
    one."""
    # The stub does not show that a set can be iterated over.
    found: Any = unknown_fields.UnknownFieldSet(options)
    return tuple(
        field.data for field in found if field.field_number == number and isinstance(field.data, bytes)
    )
