from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UsageDimension(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_DIMENSION_UNSPECIFIED: _ClassVar[UsageDimension]
    USAGE_DIMENSION_METHOD: _ClassVar[UsageDimension]
    USAGE_DIMENSION_AGENT: _ClassVar[UsageDimension]
    USAGE_DIMENSION_ROOT_TASK: _ClassVar[UsageDimension]
    USAGE_DIMENSION_TIME: _ClassVar[UsageDimension]

class BudgetPeriod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUDGET_PERIOD_UNSPECIFIED: _ClassVar[BudgetPeriod]
    BUDGET_PERIOD_TOTAL: _ClassVar[BudgetPeriod]
    BUDGET_PERIOD_DAY: _ClassVar[BudgetPeriod]
    BUDGET_PERIOD_MONTH: _ClassVar[BudgetPeriod]

class BudgetAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUDGET_ACTION_UNSPECIFIED: _ClassVar[BudgetAction]
    BUDGET_ACTION_REFUSE: _ClassVar[BudgetAction]
    BUDGET_ACTION_PAUSE: _ClassVar[BudgetAction]
USAGE_DIMENSION_UNSPECIFIED: UsageDimension
USAGE_DIMENSION_METHOD: UsageDimension
USAGE_DIMENSION_AGENT: UsageDimension
USAGE_DIMENSION_ROOT_TASK: UsageDimension
USAGE_DIMENSION_TIME: UsageDimension
BUDGET_PERIOD_UNSPECIFIED: BudgetPeriod
BUDGET_PERIOD_TOTAL: BudgetPeriod
BUDGET_PERIOD_DAY: BudgetPeriod
BUDGET_PERIOD_MONTH: BudgetPeriod
BUDGET_ACTION_UNSPECIFIED: BudgetAction
BUDGET_ACTION_REFUSE: BudgetAction
BUDGET_ACTION_PAUSE: BudgetAction

class GetUsageRequest(_message.Message):
    __slots__ = ("by", "start_time", "end_time")
    BY_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    by: UsageDimension
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, by: _Optional[_Union[UsageDimension, str]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("entries", "total", "start_time")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[UsageEntry]
    total: Usage
    start_time: _timestamp_pb2.Timestamp
    def __init__(self, entries: _Optional[_Iterable[_Union[UsageEntry, _Mapping]]] = ..., total: _Optional[_Union[Usage, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UsageEntry(_message.Message):
    __slots__ = ("name", "usage")
    NAME_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    usage: Usage
    def __init__(self, name: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("attempts", "active", "slot_time", "request_bytes", "response_bytes", "units", "direct_calls")
    class UnitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    SLOT_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    DIRECT_CALLS_FIELD_NUMBER: _ClassVar[int]
    attempts: int
    active: _duration_pb2.Duration
    slot_time: _duration_pb2.Duration
    request_bytes: int
    response_bytes: int
    units: _containers.ScalarMap[str, float]
    direct_calls: int
    def __init__(self, attempts: _Optional[int] = ..., active: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., slot_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., request_bytes: _Optional[int] = ..., response_bytes: _Optional[int] = ..., units: _Optional[_Mapping[str, float]] = ..., direct_calls: _Optional[int] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("name", "method", "root_task_id", "unit", "amount", "period", "action", "create_time", "spent", "renew_time", "paused_methods", "used_before")
    NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ROOT_TASK_ID_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    RENEW_TIME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_METHODS_FIELD_NUMBER: _ClassVar[int]
    USED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    method: str
    root_task_id: str
    unit: str
    amount: float
    period: BudgetPeriod
    action: BudgetAction
    create_time: _timestamp_pb2.Timestamp
    spent: float
    renew_time: _timestamp_pb2.Timestamp
    paused_methods: _containers.RepeatedScalarFieldContainer[str]
    used_before: float
    def __init__(self, name: _Optional[str] = ..., method: _Optional[str] = ..., root_task_id: _Optional[str] = ..., unit: _Optional[str] = ..., amount: _Optional[float] = ..., period: _Optional[_Union[BudgetPeriod, str]] = ..., action: _Optional[_Union[BudgetAction, str]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., spent: _Optional[float] = ..., renew_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., paused_methods: _Optional[_Iterable[str]] = ..., used_before: _Optional[float] = ...) -> None: ...

class SetBudgetRequest(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class SetBudgetResponse(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class ListBudgetsRequest(_message.Message):
    __slots__ = ("task_id",)
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    def __init__(self, task_id: _Optional[str] = ...) -> None: ...

class ListBudgetsResponse(_message.Message):
    __slots__ = ("budgets",)
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    def __init__(self, budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ...) -> None: ...

class DeleteBudgetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteBudgetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UsageRecord(_message.Message):
    __slots__ = ("methods", "agents", "roots")
    METHODS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedCompositeFieldContainer[UsageEntry]
    agents: _containers.RepeatedCompositeFieldContainer[UsageEntry]
    roots: _containers.RepeatedCompositeFieldContainer[UsageEntry]
    def __init__(self, methods: _Optional[_Iterable[_Union[UsageEntry, _Mapping]]] = ..., agents: _Optional[_Iterable[_Union[UsageEntry, _Mapping]]] = ..., roots: _Optional[_Iterable[_Union[UsageEntry, _Mapping]]] = ...) -> None: ...

class TreeUseRecord(_message.Message):
    __slots__ = ("parts",)
    PARTS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[TreeUsePart]
    def __init__(self, parts: _Optional[_Iterable[_Union[TreeUsePart, _Mapping]]] = ...) -> None: ...

class TreeUsePart(_message.Message):
    __slots__ = ("owner", "usage")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    owner: str
    usage: Usage
    def __init__(self, owner: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...
