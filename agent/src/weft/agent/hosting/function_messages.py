"""Converts arguments and results of functions to bytes and back: protobuf messages; dicts and models as a `Struct`; None as `Empty`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

from google.protobuf import empty_pb2, json_format, struct_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message


class InvalidFields(ValueError):
    """A `Struct` that does not fit its model.

    Args:
        violations: path and description of each wrong field.
    """

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {description}" for path, description in violations))
        self.violations = violations


def is_model(kind: Any) -> bool:
    """Whether it is a class of pydantic's models. Always false without pydantic."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def is_message_type(kind: Any) -> bool:
    return kind is dict or is_model(kind) or (isinstance(kind, type) and issubclass(kind, Message))


def descriptor_of(kind: type) -> Descriptor:
    if kind is dict or is_model(kind):
        return struct_pb2.Struct.DESCRIPTOR
    if kind is NoneType:
        return empty_pb2.Empty.DESCRIPTOR
    return kind.DESCRIPTOR  # type: ignore[attr-defined,no-any-return]


def deserializer(kind: type) -> Callable[[bytes], Any]:
    """Bytes -> message, dict or model; raises `DecodeError`, or `InvalidFields` for a model."""
    if kind is dict:
        return _dict_of
    if is_model(kind):
        return lambda data: validated(kind, _dict_of(data))
    if kind is NoneType:
        return lambda _data: None
    return kind.FromString  # type: ignore[attr-defined,no-any-return]


def serializer(kind: type, wrong: str) -> Callable[[Any], bytes]:
    """Message, dict or model -> bytes; raises `TypeError` for a value of another type.

    Args:
        wrong: begins the error, such as "acme.v1.Shouter/Shout returned".
    """
    model = is_model(kind)

    def serialize(value: Any) -> bytes:
        if not isinstance(value, kind):
            raise TypeError(f"{wrong} {type(value).__name__}, not {kind.__name__}")
        message: Any = value
        if message is None:
            return b""
        if model:
            message = message.model_dump(mode="json", by_alias=True)
        if isinstance(message, dict):
            message = json_format.ParseDict(message, struct_pb2.Struct())
        data: bytes = message.SerializeToString()
        return data

    return serialize


def validated(kind: Any, value: Any) -> Any:
    """A dict, or a model, as a model.

    Raises:
        InvalidFields: it does not fit.
    """
    from pydantic import ValidationError

    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise InvalidFields(
            [
                (".".join(map(str, each["loc"])) or "payload", str(each["msg"]))
                for each in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        ) from None


def _dict_of(data: bytes) -> dict[str, Any]:
    given = struct_pb2.Struct.FromString(data)
    try:
        return json_format.MessageToDict(given)
    except ValueError as error:
        # JSON, which a Struct stands for, has no infinity and no NaN.
        raise InvalidFields([("payload", str(error))]) from None
