from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DesiredState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DESIRED_STATE_UNSPECIFIED: _ClassVar[DesiredState]
    DESIRED_STATE_ACTIVE: _ClassVar[DesiredState]
    DESIRED_STATE_DRAINING: _ClassVar[DesiredState]
    DESIRED_STATE_PAUSED: _ClassVar[DesiredState]

class AgentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGENT_STATE_UNSPECIFIED: _ClassVar[AgentState]
    AGENT_STATE_ACTIVE: _ClassVar[AgentState]
    AGENT_STATE_DRAINING: _ClassVar[AgentState]
    AGENT_STATE_PAUSED: _ClassVar[AgentState]
    AGENT_STATE_SUSPECT: _ClassVar[AgentState]
    AGENT_STATE_LOST: _ClassVar[AgentState]
    AGENT_STATE_LEFT: _ClassVar[AgentState]

class MethodKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METHOD_KIND_UNSPECIFIED: _ClassVar[MethodKind]
    METHOD_KIND_UNARY: _ClassVar[MethodKind]
    METHOD_KIND_SERVER_STREAMING: _ClassVar[MethodKind]
    METHOD_KIND_CLIENT_STREAMING: _ClassVar[MethodKind]
    METHOD_KIND_BIDI_STREAMING: _ClassVar[MethodKind]

class DirectState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECT_STATE_UNSPECIFIED: _ClassVar[DirectState]
    DIRECT_STATE_REACHABLE: _ClassVar[DirectState]
    DIRECT_STATE_UNREACHABLE: _ClassVar[DirectState]

class WaitReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_REASON_UNSPECIFIED: _ClassVar[WaitReason]
    WAIT_REASON_START_TIME: _ClassVar[WaitReason]
    WAIT_REASON_RETRY: _ClassVar[WaitReason]
    WAIT_REASON_PAUSED: _ClassVar[WaitReason]
    WAIT_REASON_NO_AGENT: _ClassVar[WaitReason]
    WAIT_REASON_AGENTS_BUSY: _ClassVar[WaitReason]
    WAIT_REASON_TURN: _ClassVar[WaitReason]
    WAIT_REASON_LIMIT: _ClassVar[WaitReason]
    WAIT_REASON_LOCK: _ClassVar[WaitReason]
    WAIT_REASON_RESOURCE: _ClassVar[WaitReason]
    WAIT_REASON_SUSPENDED: _ClassVar[WaitReason]
DESIRED_STATE_UNSPECIFIED: DesiredState
DESIRED_STATE_ACTIVE: DesiredState
DESIRED_STATE_DRAINING: DesiredState
DESIRED_STATE_PAUSED: DesiredState
AGENT_STATE_UNSPECIFIED: AgentState
AGENT_STATE_ACTIVE: AgentState
AGENT_STATE_DRAINING: AgentState
AGENT_STATE_PAUSED: AgentState
AGENT_STATE_SUSPECT: AgentState
AGENT_STATE_LOST: AgentState
AGENT_STATE_LEFT: AgentState
METHOD_KIND_UNSPECIFIED: MethodKind
METHOD_KIND_UNARY: MethodKind
METHOD_KIND_SERVER_STREAMING: MethodKind
METHOD_KIND_CLIENT_STREAMING: MethodKind
METHOD_KIND_BIDI_STREAMING: MethodKind
DIRECT_STATE_UNSPECIFIED: DirectState
DIRECT_STATE_REACHABLE: DirectState
DIRECT_STATE_UNREACHABLE: DirectState
WAIT_REASON_UNSPECIFIED: WaitReason
WAIT_REASON_START_TIME: WaitReason
WAIT_REASON_RETRY: WaitReason
WAIT_REASON_PAUSED: WaitReason
WAIT_REASON_NO_AGENT: WaitReason
WAIT_REASON_AGENTS_BUSY: WaitReason
WAIT_REASON_TURN: WaitReason
WAIT_REASON_LIMIT: WaitReason
WAIT_REASON_LOCK: WaitReason
WAIT_REASON_RESOURCE: WaitReason
WAIT_REASON_SUSPENDED: WaitReason

class HostedMethod(_message.Message):
    __slots__ = ("name", "slot_cost", "unavailable")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SLOT_COST_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    slot_cost: int
    unavailable: bool
    def __init__(self, name: _Optional[str] = ..., slot_cost: _Optional[int] = ..., unavailable: bool = ...) -> None: ...

class HostLoad(_message.Message):
    __slots__ = ("process_cpu_cores", "process_memory_bytes", "host_cpu_ratio", "host_memory_ratio", "detail", "gauges", "backlog_slots")
    class GaugesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PROCESS_CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    PROCESS_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    HOST_CPU_RATIO_FIELD_NUMBER: _ClassVar[int]
    HOST_MEMORY_RATIO_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    GAUGES_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_SLOTS_FIELD_NUMBER: _ClassVar[int]
    process_cpu_cores: float
    process_memory_bytes: int
    host_cpu_ratio: float
    host_memory_ratio: float
    detail: HostDetail
    gauges: _containers.ScalarMap[str, float]
    backlog_slots: float
    def __init__(self, process_cpu_cores: _Optional[float] = ..., process_memory_bytes: _Optional[int] = ..., host_cpu_ratio: _Optional[float] = ..., host_memory_ratio: _Optional[float] = ..., detail: _Optional[_Union[HostDetail, _Mapping]] = ..., gauges: _Optional[_Mapping[str, float]] = ..., backlog_slots: _Optional[float] = ...) -> None: ...

class HostDetail(_message.Message):
    __slots__ = ("core_ratios", "load_averages", "memory_bytes", "used_memory_bytes", "swap_bytes", "used_swap_bytes", "partitions", "sent_bytes_per_s", "received_bytes_per_s", "open_files", "threads", "cpu_limit_cores", "memory_limit_bytes", "gpus")
    CORE_RATIOS_FIELD_NUMBER: _ClassVar[int]
    LOAD_AVERAGES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    SWAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_SWAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    OPEN_FILES_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    core_ratios: _containers.RepeatedScalarFieldContainer[float]
    load_averages: _containers.RepeatedScalarFieldContainer[float]
    memory_bytes: int
    used_memory_bytes: int
    swap_bytes: int
    used_swap_bytes: int
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionFigures]
    sent_bytes_per_s: float
    received_bytes_per_s: float
    open_files: int
    threads: int
    cpu_limit_cores: float
    memory_limit_bytes: int
    gpus: _containers.RepeatedCompositeFieldContainer[GpuFigures]
    def __init__(self, core_ratios: _Optional[_Iterable[float]] = ..., load_averages: _Optional[_Iterable[float]] = ..., memory_bytes: _Optional[int] = ..., used_memory_bytes: _Optional[int] = ..., swap_bytes: _Optional[int] = ..., used_swap_bytes: _Optional[int] = ..., partitions: _Optional[_Iterable[_Union[PartitionFigures, _Mapping]]] = ..., sent_bytes_per_s: _Optional[float] = ..., received_bytes_per_s: _Optional[float] = ..., open_files: _Optional[int] = ..., threads: _Optional[int] = ..., cpu_limit_cores: _Optional[float] = ..., memory_limit_bytes: _Optional[int] = ..., gpus: _Optional[_Iterable[_Union[GpuFigures, _Mapping]]] = ...) -> None: ...

class PartitionFigures(_message.Message):
    __slots__ = ("mount", "size_bytes", "used_bytes", "read_bytes_per_s", "written_bytes_per_s")
    MOUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    mount: str
    size_bytes: int
    used_bytes: int
    read_bytes_per_s: float
    written_bytes_per_s: float
    def __init__(self, mount: _Optional[str] = ..., size_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., read_bytes_per_s: _Optional[float] = ..., written_bytes_per_s: _Optional[float] = ...) -> None: ...

class GpuFigures(_message.Message):
    __slots__ = ("name", "use_ratio", "memory_bytes", "used_memory_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    USE_RATIO_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    use_ratio: float
    memory_bytes: int
    used_memory_bytes: int
    def __init__(self, name: _Optional[str] = ..., use_ratio: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., used_memory_bytes: _Optional[int] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("id", "instance_id", "epoch", "state", "desired_state", "labels", "resources", "methods", "contract_hash", "slots", "used_slots", "in_flight", "advertised_address", "load", "connect_time", "last_seen_time", "version", "heartbeat_round_trip", "stale_results_refused", "direct_state", "direct_problem", "failing", "overrun_slots", "overrun_methods", "tls_name", "resource_use", "ejection", "slow_methods")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_HASH_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    USED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    ADVERTISED_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_ROUND_TRIP_FIELD_NUMBER: _ClassVar[int]
    STALE_RESULTS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    DIRECT_STATE_FIELD_NUMBER: _ClassVar[int]
    DIRECT_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    FAILING_FIELD_NUMBER: _ClassVar[int]
    OVERRUN_SLOTS_FIELD_NUMBER: _ClassVar[int]
    OVERRUN_METHODS_FIELD_NUMBER: _ClassVar[int]
    TLS_NAME_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_USE_FIELD_NUMBER: _ClassVar[int]
    EJECTION_FIELD_NUMBER: _ClassVar[int]
    SLOW_METHODS_FIELD_NUMBER: _ClassVar[int]
    id: str
    instance_id: str
    epoch: int
    state: AgentState
    desired_state: DesiredState
    labels: _containers.ScalarMap[str, str]
    resources: _containers.ScalarMap[str, float]
    methods: _containers.RepeatedCompositeFieldContainer[HostedMethod]
    contract_hash: str
    slots: int
    used_slots: int
    in_flight: int
    advertised_address: str
    load: HostLoad
    connect_time: _timestamp_pb2.Timestamp
    last_seen_time: _timestamp_pb2.Timestamp
    version: str
    heartbeat_round_trip: _duration_pb2.Duration
    stale_results_refused: int
    direct_state: DirectState
    direct_problem: str
    failing: bool
    overrun_slots: int
    overrun_methods: _containers.RepeatedScalarFieldContainer[str]
    tls_name: str
    resource_use: _containers.RepeatedCompositeFieldContainer[ResourceUse]
    ejection: Ejection
    slow_methods: _containers.RepeatedCompositeFieldContainer[SlowMethod]
    def __init__(self, id: _Optional[str] = ..., instance_id: _Optional[str] = ..., epoch: _Optional[int] = ..., state: _Optional[_Union[AgentState, str]] = ..., desired_state: _Optional[_Union[DesiredState, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Mapping[str, float]] = ..., methods: _Optional[_Iterable[_Union[HostedMethod, _Mapping]]] = ..., contract_hash: _Optional[str] = ..., slots: _Optional[int] = ..., used_slots: _Optional[int] = ..., in_flight: _Optional[int] = ..., advertised_address: _Optional[str] = ..., load: _Optional[_Union[HostLoad, _Mapping]] = ..., connect_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., version: _Optional[str] = ..., heartbeat_round_trip: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stale_results_refused: _Optional[int] = ..., direct_state: _Optional[_Union[DirectState, str]] = ..., direct_problem: _Optional[str] = ..., failing: bool = ..., overrun_slots: _Optional[int] = ..., overrun_methods: _Optional[_Iterable[str]] = ..., tls_name: _Optional[str] = ..., resource_use: _Optional[_Iterable[_Union[ResourceUse, _Mapping]]] = ..., ejection: _Optional[_Union[Ejection, _Mapping]] = ..., slow_methods: _Optional[_Iterable[_Union[SlowMethod, _Mapping]]] = ...) -> None: ...

class Ejection(_message.Message):
    __slots__ = ("end_time", "count", "failures", "code")
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    end_time: _timestamp_pb2.Timestamp
    count: int
    failures: int
    code: int
    def __init__(self, end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., count: _Optional[int] = ..., failures: _Optional[int] = ..., code: _Optional[int] = ...) -> None: ...

class SlowMethod(_message.Message):
    __slots__ = ("method", "attempt_time", "typical_time")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    TYPICAL_TIME_FIELD_NUMBER: _ClassVar[int]
    method: str
    attempt_time: _duration_pb2.Duration
    typical_time: _duration_pb2.Duration
    def __init__(self, method: _Optional[str] = ..., attempt_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., typical_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ResourceUse(_message.Message):
    __slots__ = ("resource", "declared", "used", "users")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    resource: str
    declared: float
    used: float
    users: _containers.RepeatedCompositeFieldContainer[ResourceUser]
    def __init__(self, resource: _Optional[str] = ..., declared: _Optional[float] = ..., used: _Optional[float] = ..., users: _Optional[_Iterable[_Union[ResourceUser, _Mapping]]] = ...) -> None: ...

class ResourceUser(_message.Message):
    __slots__ = ("task_id", "amount")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    amount: float
    def __init__(self, task_id: _Optional[str] = ..., amount: _Optional[float] = ...) -> None: ...

class LockState(_message.Message):
    __slots__ = ("name", "holders", "waiting")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    name: str
    holders: _containers.RepeatedCompositeFieldContainer[LockHolder]
    waiting: int
    def __init__(self, name: _Optional[str] = ..., holders: _Optional[_Iterable[_Union[LockHolder, _Mapping]]] = ..., waiting: _Optional[int] = ...) -> None: ...

class LockHolder(_message.Message):
    __slots__ = ("task_id", "agent_id", "start_time", "shared")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    agent_id: str
    start_time: _timestamp_pb2.Timestamp
    shared: bool
    def __init__(self, task_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., shared: bool = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("method", "requirements", "queued", "scheduled", "running", "paused", "agents", "oldest_age", "waiting", "limited", "limits", "operator_limits")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    LIMITED_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_LIMITS_FIELD_NUMBER: _ClassVar[int]
    method: str
    requirements: str
    queued: int
    scheduled: int
    running: int
    paused: bool
    agents: int
    oldest_age: _duration_pb2.Duration
    waiting: Waiting
    limited: int
    limits: _containers.RepeatedCompositeFieldContainer[_options_pb2.RunLimit]
    operator_limits: _containers.RepeatedCompositeFieldContainer[_options_pb2.RunLimit]
    def __init__(self, method: _Optional[str] = ..., requirements: _Optional[str] = ..., queued: _Optional[int] = ..., scheduled: _Optional[int] = ..., running: _Optional[int] = ..., paused: bool = ..., agents: _Optional[int] = ..., oldest_age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., waiting: _Optional[_Union[Waiting, _Mapping]] = ..., limited: _Optional[int] = ..., limits: _Optional[_Iterable[_Union[_options_pb2.RunLimit, _Mapping]]] = ..., operator_limits: _Optional[_Iterable[_Union[_options_pb2.RunLimit, _Mapping]]] = ...) -> None: ...

class Waiting(_message.Message):
    __slots__ = ("reason", "text")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    reason: WaitReason
    text: str
    def __init__(self, reason: _Optional[_Union[WaitReason, str]] = ..., text: _Optional[str] = ...) -> None: ...
