from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ChargeRequest(_message.Message):
    __slots__ = ("tenant_id", "order_id", "broken_agents", "fail_attempts", "card_code")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    BROKEN_AGENTS_FIELD_NUMBER: _ClassVar[int]
    FAIL_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CARD_CODE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    order_id: str
    broken_agents: _containers.RepeatedScalarFieldContainer[str]
    fail_attempts: int
    card_code: str
    def __init__(self, tenant_id: _Optional[str] = ..., order_id: _Optional[str] = ..., broken_agents: _Optional[_Iterable[str]] = ..., fail_attempts: _Optional[int] = ..., card_code: _Optional[str] = ...) -> None: ...

class ChargeReply(_message.Message):
    __slots__ = ("agent_id", "attempt", "task_id", "card_code")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    CARD_CODE_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    attempt: int
    task_id: str
    card_code: str
    def __init__(self, agent_id: _Optional[str] = ..., attempt: _Optional[int] = ..., task_id: _Optional[str] = ..., card_code: _Optional[str] = ...) -> None: ...
