from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import command_pb2 as _command_pb2
from weft.v1 import fleet_pb2 as _fleet_pb2
from weft.v1 import keyed_state_pb2 as _keyed_state_pb2
from weft.v1 import logs_pb2 as _logs_pb2
from weft.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RerunCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RERUN_CAUSE_UNSPECIFIED: _ClassVar[RerunCause]
    RERUN_CAUSE_FAILED: _ClassVar[RerunCause]
    RERUN_CAUSE_LOST: _ClassVar[RerunCause]
    RERUN_CAUSE_RELEASED: _ClassVar[RerunCause]
    RERUN_CAUSE_REQUESTED: _ClassVar[RerunCause]
    RERUN_CAUSE_SUSPENDED: _ClassVar[RerunCause]
RERUN_CAUSE_UNSPECIFIED: RerunCause
RERUN_CAUSE_FAILED: RerunCause
RERUN_CAUSE_LOST: RerunCause
RERUN_CAUSE_RELEASED: RerunCause
RERUN_CAUSE_REQUESTED: RerunCause
RERUN_CAUSE_SUSPENDED: RerunCause

class ConnectRequest(_message.Message):
    __slots__ = ("hello", "contract", "state", "progress", "results", "released", "goodbye", "log_replies", "command_replies")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    LOG_REPLIES_FIELD_NUMBER: _ClassVar[int]
    COMMAND_REPLIES_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    contract: Contract
    state: AgentReport
    progress: _containers.RepeatedCompositeFieldContainer[Progress]
    results: _containers.RepeatedCompositeFieldContainer[AttemptResult]
    released: _containers.RepeatedCompositeFieldContainer[Released]
    goodbye: bool
    log_replies: _containers.RepeatedCompositeFieldContainer[_logs_pb2.LogReply]
    command_replies: _containers.RepeatedCompositeFieldContainer[_command_pb2.CommandReply]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., contract: _Optional[_Union[Contract, _Mapping]] = ..., state: _Optional[_Union[AgentReport, _Mapping]] = ..., progress: _Optional[_Iterable[_Union[Progress, _Mapping]]] = ..., results: _Optional[_Iterable[_Union[AttemptResult, _Mapping]]] = ..., released: _Optional[_Iterable[_Union[Released, _Mapping]]] = ..., goodbye: bool = ..., log_replies: _Optional[_Iterable[_Union[_logs_pb2.LogReply, _Mapping]]] = ..., command_replies: _Optional[_Iterable[_Union[_command_pb2.CommandReply, _Mapping]]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("welcome", "assignments", "cancels", "result_acks", "progress_acks", "desired_state", "echo_sequence", "direct_problem", "log_requests", "tokens_changed", "commands")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    RESULT_ACKS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_ACKS_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    ECHO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DIRECT_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    LOG_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_CHANGED_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    assignments: _containers.RepeatedCompositeFieldContainer[Assignment]
    cancels: _containers.RepeatedCompositeFieldContainer[Cancel]
    result_acks: _containers.RepeatedCompositeFieldContainer[ResultAck]
    progress_acks: _containers.RepeatedCompositeFieldContainer[ProgressAck]
    desired_state: _fleet_pb2.DesiredState
    echo_sequence: int
    direct_problem: str
    log_requests: _containers.RepeatedCompositeFieldContainer[_logs_pb2.LogRequest]
    tokens_changed: bool
    commands: _containers.RepeatedCompositeFieldContainer[_command_pb2.AgentCommand]
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., assignments: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ..., cancels: _Optional[_Iterable[_Union[Cancel, _Mapping]]] = ..., result_acks: _Optional[_Iterable[_Union[ResultAck, _Mapping]]] = ..., progress_acks: _Optional[_Iterable[_Union[ProgressAck, _Mapping]]] = ..., desired_state: _Optional[_Union[_fleet_pb2.DesiredState, str]] = ..., echo_sequence: _Optional[int] = ..., direct_problem: _Optional[str] = ..., log_requests: _Optional[_Iterable[_Union[_logs_pb2.LogRequest, _Mapping]]] = ..., tokens_changed: bool = ..., commands: _Optional[_Iterable[_Union[_command_pb2.AgentCommand, _Mapping]]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("agent_id", "instance_id", "labels", "resources", "contract_hash", "methods", "slots", "prefetch", "advertised_address", "held", "version", "draining", "replace_options", "keeps_logs", "tls_name", "takes_commands")
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
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_HASH_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    PREFETCH_FIELD_NUMBER: _ClassVar[int]
    ADVERTISED_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    REPLACE_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    KEEPS_LOGS_FIELD_NUMBER: _ClassVar[int]
    TLS_NAME_FIELD_NUMBER: _ClassVar[int]
    TAKES_COMMANDS_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    instance_id: str
    labels: _containers.ScalarMap[str, str]
    resources: _containers.ScalarMap[str, float]
    contract_hash: str
    methods: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.HostedMethod]
    slots: int
    prefetch: int
    advertised_address: str
    held: _containers.RepeatedCompositeFieldContainer[HeldAttempt]
    version: str
    draining: bool
    replace_options: bool
    keeps_logs: bool
    tls_name: str
    takes_commands: bool
    def __init__(self, agent_id: _Optional[str] = ..., instance_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Mapping[str, float]] = ..., contract_hash: _Optional[str] = ..., methods: _Optional[_Iterable[_Union[_fleet_pb2.HostedMethod, _Mapping]]] = ..., slots: _Optional[int] = ..., prefetch: _Optional[int] = ..., advertised_address: _Optional[str] = ..., held: _Optional[_Iterable[_Union[HeldAttempt, _Mapping]]] = ..., version: _Optional[str] = ..., draining: bool = ..., replace_options: bool = ..., keeps_logs: bool = ..., tls_name: _Optional[str] = ..., takes_commands: bool = ...) -> None: ...

class HeldAttempt(_message.Message):
    __slots__ = ("task_id", "attempt", "epoch", "finished", "root_id", "budget_task_ids")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    ROOT_ID_FIELD_NUMBER: _ClassVar[int]
    BUDGET_TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    epoch: int
    finished: bool
    root_id: str
    budget_task_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., finished: bool = ..., root_id: _Optional[str] = ..., budget_task_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Contract(_message.Message):
    __slots__ = ("file_descriptor_set",)
    FILE_DESCRIPTOR_SET_FIELD_NUMBER: _ClassVar[int]
    file_descriptor_set: bytes
    def __init__(self, file_descriptor_set: _Optional[bytes] = ...) -> None: ...

class AgentReport(_message.Message):
    __slots__ = ("sequence", "used_slots", "waiting", "load", "draining", "round_trip", "stuck_slots", "unavailable_services", "direct_slots", "overrun_slots", "overrun_methods", "stuck_resources", "direct_usage")
    class StuckResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    USED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_FIELD_NUMBER: _ClassVar[int]
    STUCK_SLOTS_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_SERVICES_FIELD_NUMBER: _ClassVar[int]
    DIRECT_SLOTS_FIELD_NUMBER: _ClassVar[int]
    OVERRUN_SLOTS_FIELD_NUMBER: _ClassVar[int]
    OVERRUN_METHODS_FIELD_NUMBER: _ClassVar[int]
    STUCK_RESOURCES_FIELD_NUMBER: _ClassVar[int]
    DIRECT_USAGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    used_slots: int
    waiting: int
    load: _fleet_pb2.HostLoad
    draining: bool
    round_trip: _duration_pb2.Duration
    stuck_slots: int
    unavailable_services: _containers.RepeatedScalarFieldContainer[str]
    direct_slots: int
    overrun_slots: int
    overrun_methods: _containers.RepeatedScalarFieldContainer[str]
    stuck_resources: _containers.ScalarMap[str, float]
    direct_usage: _containers.RepeatedCompositeFieldContainer[DirectUsage]
    def __init__(self, sequence: _Optional[int] = ..., used_slots: _Optional[int] = ..., waiting: _Optional[int] = ..., load: _Optional[_Union[_fleet_pb2.HostLoad, _Mapping]] = ..., draining: bool = ..., round_trip: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stuck_slots: _Optional[int] = ..., unavailable_services: _Optional[_Iterable[str]] = ..., direct_slots: _Optional[int] = ..., overrun_slots: _Optional[int] = ..., overrun_methods: _Optional[_Iterable[str]] = ..., stuck_resources: _Optional[_Mapping[str, float]] = ..., direct_usage: _Optional[_Iterable[_Union[DirectUsage, _Mapping]]] = ...) -> None: ...

class DirectUsage(_message.Message):
    __slots__ = ("method", "root_id", "calls", "active", "slot_time", "request_bytes", "response_bytes", "units", "budget_task_ids")
    class UnitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ROOT_ID_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    SLOT_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    method: str
    root_id: str
    calls: int
    active: _duration_pb2.Duration
    slot_time: _duration_pb2.Duration
    request_bytes: int
    response_bytes: int
    units: _containers.ScalarMap[str, float]
    budget_task_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, method: _Optional[str] = ..., root_id: _Optional[str] = ..., calls: _Optional[int] = ..., active: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., slot_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., request_bytes: _Optional[int] = ..., response_bytes: _Optional[int] = ..., units: _Optional[_Mapping[str, float]] = ..., budget_task_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("task_id", "attempt", "index", "payload", "headers")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    index: int
    payload: bytes
    headers: _containers.RepeatedCompositeFieldContainer[_task_pb2.Metadatum]
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., index: _Optional[int] = ..., payload: _Optional[bytes] = ..., headers: _Optional[_Iterable[_Union[_task_pb2.Metadatum, _Mapping]]] = ...) -> None: ...

class AttemptResult(_message.Message):
    __slots__ = ("task_id", "attempt", "outcome", "crashed", "progress_count", "state")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CRASHED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    outcome: _task_pb2.Outcome
    crashed: bool
    progress_count: int
    state: _keyed_state_pb2.StateWrite
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., outcome: _Optional[_Union[_task_pb2.Outcome, _Mapping]] = ..., crashed: bool = ..., progress_count: _Optional[int] = ..., state: _Optional[_Union[_keyed_state_pb2.StateWrite, _Mapping]] = ...) -> None: ...

class Released(_message.Message):
    __slots__ = ("task_id", "attempt")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("epoch", "heartbeat_interval", "lease", "contract_needed", "adopted", "lost", "desired_state", "max_response_bytes", "coordinator_id", "tokens_checked", "ticket_key", "time", "report_key", "max_state_bytes", "direct_notice")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_NEEDED_FIELD_NUMBER: _ClassVar[int]
    ADOPTED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    MAX_RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_ID_FIELD_NUMBER: _ClassVar[int]
    TOKENS_CHECKED_FIELD_NUMBER: _ClassVar[int]
    TICKET_KEY_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REPORT_KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_STATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIRECT_NOTICE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    heartbeat_interval: _duration_pb2.Duration
    lease: _duration_pb2.Duration
    contract_needed: bool
    adopted: _containers.RepeatedCompositeFieldContainer[AttemptRef]
    lost: _containers.RepeatedCompositeFieldContainer[AttemptRef]
    desired_state: _fleet_pb2.DesiredState
    max_response_bytes: int
    coordinator_id: str
    tokens_checked: bool
    ticket_key: bytes
    time: _timestamp_pb2.Timestamp
    report_key: bytes
    max_state_bytes: int
    direct_notice: _duration_pb2.Duration
    def __init__(self, epoch: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., lease: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., contract_needed: bool = ..., adopted: _Optional[_Iterable[_Union[AttemptRef, _Mapping]]] = ..., lost: _Optional[_Iterable[_Union[AttemptRef, _Mapping]]] = ..., desired_state: _Optional[_Union[_fleet_pb2.DesiredState, str]] = ..., max_response_bytes: _Optional[int] = ..., coordinator_id: _Optional[str] = ..., tokens_checked: bool = ..., ticket_key: _Optional[bytes] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., report_key: _Optional[bytes] = ..., max_state_bytes: _Optional[int] = ..., direct_notice: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AttemptRef(_message.Message):
    __slots__ = ("task_id", "attempt")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("task_id", "attempt", "method", "payload", "context", "deadline", "time_left", "request_id", "priority", "rerun", "consumes", "state", "durable_children")
    class ConsumesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RERUN_FIELD_NUMBER: _ClassVar[int]
    CONSUMES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DURABLE_CHILDREN_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    method: str
    payload: bytes
    context: _task_pb2.CallContext
    deadline: _timestamp_pb2.Timestamp
    time_left: _duration_pb2.Duration
    request_id: str
    priority: int
    rerun: Rerun
    consumes: _containers.ScalarMap[str, float]
    state: _keyed_state_pb2.KeyedState
    durable_children: bool
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., method: _Optional[str] = ..., payload: _Optional[bytes] = ..., context: _Optional[_Union[_task_pb2.CallContext, _Mapping]] = ..., deadline: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., time_left: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., priority: _Optional[int] = ..., rerun: _Optional[_Union[Rerun, _Mapping]] = ..., consumes: _Optional[_Mapping[str, float]] = ..., state: _Optional[_Union[_keyed_state_pb2.KeyedState, _Mapping]] = ..., durable_children: bool = ...) -> None: ...

class Rerun(_message.Message):
    __slots__ = ("cause", "last_agent_id", "last_code")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    LAST_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_CODE_FIELD_NUMBER: _ClassVar[int]
    cause: RerunCause
    last_agent_id: str
    last_code: int
    def __init__(self, cause: _Optional[_Union[RerunCause, str]] = ..., last_agent_id: _Optional[str] = ..., last_code: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("task_id", "attempt", "grace", "reason", "lost")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    grace: _duration_pb2.Duration
    reason: str
    lost: bool
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ..., lost: bool = ...) -> None: ...

class ResultAck(_message.Message):
    __slots__ = ("task_id", "attempt", "refused")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    refused: bool
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., refused: bool = ...) -> None: ...

class ProgressAck(_message.Message):
    __slots__ = ("task_id", "attempt", "index")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    index: int
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...
