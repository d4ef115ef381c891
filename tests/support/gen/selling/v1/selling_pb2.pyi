from buf.validate import validate_pb2 as _validate_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Order(_message.Message):
    __slots__ = ("item", "count", "answers")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    item: str
    count: int
    answers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, item: _Optional[str] = ..., count: _Optional[int] = ..., answers: _Optional[_Iterable[int]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("price", "attempt")
    PRICE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    price: int
    attempt: int
    def __init__(self, price: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...
