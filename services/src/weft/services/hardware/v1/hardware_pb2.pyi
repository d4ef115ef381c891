from weft.rules import validate_pb2 as _validate_pb2
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

class Topic(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOPIC_UNSPECIFIED: _ClassVar[Topic]
    TOPIC_MEMORY_FULL: _ClassVar[Topic]
    TOPIC_MEMORY_PRESSURE: _ClassVar[Topic]
    TOPIC_SWAP_USED: _ClassVar[Topic]
    TOPIC_SWAPPING: _ClassVar[Topic]
    TOPIC_CORES_FULL: _ClassVar[Topic]
    TOPIC_HOT_CORE: _ClassVar[Topic]
    TOPIC_CPU_STOLEN: _ClassVar[Topic]
    TOPIC_TEMPERATURE: _ClassVar[Topic]
    TOPIC_DISK_FULL: _ClassVar[Topic]
    TOPIC_FILES_FULL: _ClassVar[Topic]
    TOPIC_DISK_PRESSURE: _ClassVar[Topic]
    TOPIC_LEAK: _ClassVar[Topic]
    TOPIC_NOISY_PROCESS: _ClassVar[Topic]
    TOPIC_LARGE_PROCESS: _ClassVar[Topic]
    TOPIC_THROTTLED: _ClassVar[Topic]
    TOPIC_GROUP_MEMORY: _ClassVar[Topic]
    TOPIC_GPU_MEMORY: _ClassVar[Topic]
    TOPIC_INTERFACE_ERRORS: _ClassVar[Topic]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_WARNING: _ClassVar[Severity]
    SEVERITY_CRITICAL: _ClassVar[Severity]

class AnswerSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANSWER_SOURCE_UNSPECIFIED: _ClassVar[AnswerSource]
    ANSWER_SOURCE_RULES: _ClassVar[AnswerSource]
    ANSWER_SOURCE_MODEL: _ClassVar[AnswerSource]
TOPIC_UNSPECIFIED: Topic
TOPIC_MEMORY_FULL: Topic
TOPIC_MEMORY_PRESSURE: Topic
TOPIC_SWAP_USED: Topic
TOPIC_SWAPPING: Topic
TOPIC_CORES_FULL: Topic
TOPIC_HOT_CORE: Topic
TOPIC_CPU_STOLEN: Topic
TOPIC_TEMPERATURE: Topic
TOPIC_DISK_FULL: Topic
TOPIC_FILES_FULL: Topic
TOPIC_DISK_PRESSURE: Topic
TOPIC_LEAK: Topic
TOPIC_NOISY_PROCESS: Topic
TOPIC_LARGE_PROCESS: Topic
TOPIC_THROTTLED: Topic
TOPIC_GROUP_MEMORY: Topic
TOPIC_GPU_MEMORY: Topic
TOPIC_INTERFACE_ERRORS: Topic
SEVERITY_UNSPECIFIED: Severity
SEVERITY_WARNING: Severity
SEVERITY_CRITICAL: Severity
ANSWER_SOURCE_UNSPECIFIED: AnswerSource
ANSWER_SOURCE_RULES: AnswerSource
ANSWER_SOURCE_MODEL: AnswerSource

class GetSnapshotRequest(_message.Message):
    __slots__ = ("measure_over", "max_processes")
    MEASURE_OVER_FIELD_NUMBER: _ClassVar[int]
    MAX_PROCESSES_FIELD_NUMBER: _ClassVar[int]
    measure_over: _duration_pb2.Duration
    max_processes: int
    def __init__(self, measure_over: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_processes: _Optional[int] = ...) -> None: ...

class GetSnapshotResponse(_message.Message):
    __slots__ = ("snapshot",)
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("read_at", "measured_over", "host", "processor", "memory", "disks", "interfaces", "gpus", "control_group", "processes", "process_count", "hidden", "disk_pressure")
    READ_AT_FIELD_NUMBER: _ClassVar[int]
    MEASURED_OVER_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PROCESSOR_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    DISKS_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    CONTROL_GROUP_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    PROCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    DISK_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    read_at: _timestamp_pb2.Timestamp
    measured_over: _duration_pb2.Duration
    host: Host
    processor: Processor
    memory: Memory
    disks: _containers.RepeatedCompositeFieldContainer[Disk]
    interfaces: _containers.RepeatedCompositeFieldContainer[NetworkInterface]
    gpus: _containers.RepeatedCompositeFieldContainer[Gpu]
    control_group: ControlGroup
    processes: _containers.RepeatedCompositeFieldContainer[Process]
    process_count: int
    hidden: _containers.RepeatedScalarFieldContainer[str]
    disk_pressure: Pressure
    def __init__(self, read_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., measured_over: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., host: _Optional[_Union[Host, _Mapping]] = ..., processor: _Optional[_Union[Processor, _Mapping]] = ..., memory: _Optional[_Union[Memory, _Mapping]] = ..., disks: _Optional[_Iterable[_Union[Disk, _Mapping]]] = ..., interfaces: _Optional[_Iterable[_Union[NetworkInterface, _Mapping]]] = ..., gpus: _Optional[_Iterable[_Union[Gpu, _Mapping]]] = ..., control_group: _Optional[_Union[ControlGroup, _Mapping]] = ..., processes: _Optional[_Iterable[_Union[Process, _Mapping]]] = ..., process_count: _Optional[int] = ..., hidden: _Optional[_Iterable[str]] = ..., disk_pressure: _Optional[_Union[Pressure, _Mapping]] = ...) -> None: ...

class Host(_message.Message):
    __slots__ = ("name", "agent_id", "system", "kernel", "architecture", "started_at", "environment")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    agent_id: str
    system: str
    kernel: str
    architecture: str
    started_at: _timestamp_pb2.Timestamp
    environment: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., agent_id: _Optional[str] = ..., system: _Optional[str] = ..., kernel: _Optional[str] = ..., architecture: _Optional[str] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., environment: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Processor(_message.Message):
    __slots__ = ("model", "logical_cores", "physical_cores", "use_ratio", "core_ratios", "io_wait_ratio", "stolen_ratio", "load_averages", "frequency_mhz", "temperature_celsius", "pressure")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LOGICAL_CORES_FIELD_NUMBER: _ClassVar[int]
    PHYSICAL_CORES_FIELD_NUMBER: _ClassVar[int]
    USE_RATIO_FIELD_NUMBER: _ClassVar[int]
    CORE_RATIOS_FIELD_NUMBER: _ClassVar[int]
    IO_WAIT_RATIO_FIELD_NUMBER: _ClassVar[int]
    STOLEN_RATIO_FIELD_NUMBER: _ClassVar[int]
    LOAD_AVERAGES_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_MHZ_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_FIELD_NUMBER: _ClassVar[int]
    model: str
    logical_cores: int
    physical_cores: int
    use_ratio: float
    core_ratios: _containers.RepeatedScalarFieldContainer[float]
    io_wait_ratio: float
    stolen_ratio: float
    load_averages: _containers.RepeatedScalarFieldContainer[float]
    frequency_mhz: float
    temperature_celsius: float
    pressure: Pressure
    def __init__(self, model: _Optional[str] = ..., logical_cores: _Optional[int] = ..., physical_cores: _Optional[int] = ..., use_ratio: _Optional[float] = ..., core_ratios: _Optional[_Iterable[float]] = ..., io_wait_ratio: _Optional[float] = ..., stolen_ratio: _Optional[float] = ..., load_averages: _Optional[_Iterable[float]] = ..., frequency_mhz: _Optional[float] = ..., temperature_celsius: _Optional[float] = ..., pressure: _Optional[_Union[Pressure, _Mapping]] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("size_bytes", "available_bytes", "swap_bytes", "used_swap_bytes", "swapped_in_bytes_per_s", "swapped_out_bytes_per_s", "pressure")
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SWAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_SWAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    SWAPPED_IN_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    SWAPPED_OUT_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    available_bytes: int
    swap_bytes: int
    used_swap_bytes: int
    swapped_in_bytes_per_s: float
    swapped_out_bytes_per_s: float
    pressure: Pressure
    def __init__(self, size_bytes: _Optional[int] = ..., available_bytes: _Optional[int] = ..., swap_bytes: _Optional[int] = ..., used_swap_bytes: _Optional[int] = ..., swapped_in_bytes_per_s: _Optional[float] = ..., swapped_out_bytes_per_s: _Optional[float] = ..., pressure: _Optional[_Union[Pressure, _Mapping]] = ...) -> None: ...

class Pressure(_message.Message):
    __slots__ = ("some_ratio_10s", "some_ratio_60s", "full_ratio_10s", "full_ratio_60s")
    SOME_RATIO_10S_FIELD_NUMBER: _ClassVar[int]
    SOME_RATIO_60S_FIELD_NUMBER: _ClassVar[int]
    FULL_RATIO_10S_FIELD_NUMBER: _ClassVar[int]
    FULL_RATIO_60S_FIELD_NUMBER: _ClassVar[int]
    some_ratio_10s: float
    some_ratio_60s: float
    full_ratio_10s: float
    full_ratio_60s: float
    def __init__(self, some_ratio_10s: _Optional[float] = ..., some_ratio_60s: _Optional[float] = ..., full_ratio_10s: _Optional[float] = ..., full_ratio_60s: _Optional[float] = ...) -> None: ...

class Disk(_message.Message):
    __slots__ = ("device", "mount", "file_system", "size_bytes", "used_bytes", "files", "used_files", "read_bytes_per_s", "written_bytes_per_s", "busy_ratio")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MOUNT_FIELD_NUMBER: _ClassVar[int]
    FILE_SYSTEM_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    USED_FILES_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    BUSY_RATIO_FIELD_NUMBER: _ClassVar[int]
    device: str
    mount: str
    file_system: str
    size_bytes: int
    used_bytes: int
    files: int
    used_files: int
    read_bytes_per_s: float
    written_bytes_per_s: float
    busy_ratio: float
    def __init__(self, device: _Optional[str] = ..., mount: _Optional[str] = ..., file_system: _Optional[str] = ..., size_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., files: _Optional[int] = ..., used_files: _Optional[int] = ..., read_bytes_per_s: _Optional[float] = ..., written_bytes_per_s: _Optional[float] = ..., busy_ratio: _Optional[float] = ...) -> None: ...

class NetworkInterface(_message.Message):
    __slots__ = ("name", "up", "bits_per_s", "sent_bytes_per_s", "received_bytes_per_s", "errors_per_s", "dropped_per_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    BITS_PER_S_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    ERRORS_PER_S_FIELD_NUMBER: _ClassVar[int]
    DROPPED_PER_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    up: bool
    bits_per_s: int
    sent_bytes_per_s: float
    received_bytes_per_s: float
    errors_per_s: float
    dropped_per_s: float
    def __init__(self, name: _Optional[str] = ..., up: bool = ..., bits_per_s: _Optional[int] = ..., sent_bytes_per_s: _Optional[float] = ..., received_bytes_per_s: _Optional[float] = ..., errors_per_s: _Optional[float] = ..., dropped_per_s: _Optional[float] = ...) -> None: ...

class Gpu(_message.Message):
    __slots__ = ("number", "name", "use_ratio", "memory_bytes", "used_memory_bytes", "temperature_celsius", "power_watts", "power_limit_watts")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    USE_RATIO_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    POWER_WATTS_FIELD_NUMBER: _ClassVar[int]
    POWER_LIMIT_WATTS_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    use_ratio: float
    memory_bytes: int
    used_memory_bytes: int
    temperature_celsius: float
    power_watts: float
    power_limit_watts: float
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., use_ratio: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., used_memory_bytes: _Optional[int] = ..., temperature_celsius: _Optional[float] = ..., power_watts: _Optional[float] = ..., power_limit_watts: _Optional[float] = ...) -> None: ...

class ControlGroup(_message.Message):
    __slots__ = ("cpu_limit_cores", "memory_limit_bytes", "used_memory_bytes", "throttled_ratio", "memory_kills")
    CPU_LIMIT_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_RATIO_FIELD_NUMBER: _ClassVar[int]
    MEMORY_KILLS_FIELD_NUMBER: _ClassVar[int]
    cpu_limit_cores: float
    memory_limit_bytes: int
    used_memory_bytes: int
    throttled_ratio: float
    memory_kills: int
    def __init__(self, cpu_limit_cores: _Optional[float] = ..., memory_limit_bytes: _Optional[int] = ..., used_memory_bytes: _Optional[int] = ..., throttled_ratio: _Optional[float] = ..., memory_kills: _Optional[int] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("process_id", "parent_id", "name", "user", "cpu_cores", "memory_bytes", "threads", "started_at", "state")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    process_id: int
    parent_id: int
    name: str
    user: str
    cpu_cores: float
    memory_bytes: int
    threads: int
    started_at: _timestamp_pb2.Timestamp
    state: str
    def __init__(self, process_id: _Optional[int] = ..., parent_id: _Optional[int] = ..., name: _Optional[str] = ..., user: _Optional[str] = ..., cpu_cores: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., threads: _Optional[int] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("interval", "max_processes", "max_samples", "only_changes", "thresholds")
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MAX_PROCESSES_FIELD_NUMBER: _ClassVar[int]
    MAX_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    ONLY_CHANGES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    interval: _duration_pb2.Duration
    max_processes: int
    max_samples: int
    only_changes: bool
    thresholds: Thresholds
    def __init__(self, interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_processes: _Optional[int] = ..., max_samples: _Optional[int] = ..., only_changes: bool = ..., thresholds: _Optional[_Union[Thresholds, _Mapping]] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("snapshot", "suggestions")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SUGGESTIONS_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    suggestions: _containers.RepeatedCompositeFieldContainer[Suggestion]
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., suggestions: _Optional[_Iterable[_Union[Suggestion, _Mapping]]] = ...) -> None: ...

class SuggestRequest(_message.Message):
    __slots__ = ("thresholds", "over")
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    thresholds: Thresholds
    over: _duration_pb2.Duration
    def __init__(self, thresholds: _Optional[_Union[Thresholds, _Mapping]] = ..., over: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SuggestResponse(_message.Message):
    __slots__ = ("suggestions", "samples", "over")
    SUGGESTIONS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    suggestions: _containers.RepeatedCompositeFieldContainer[Suggestion]
    samples: int
    over: _duration_pb2.Duration
    def __init__(self, suggestions: _Optional[_Iterable[_Union[Suggestion, _Mapping]]] = ..., samples: _Optional[int] = ..., over: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Thresholds(_message.Message):
    __slots__ = ("memory_ratio", "memory_pressure_ratio", "swap_ratio", "swapping_bytes_per_s", "cpu_ratio", "core_ratio", "stolen_ratio", "temperature_celsius", "disk_ratio", "files_ratio", "disk_pressure_ratio", "leak_bytes_per_hour", "process_cpu_ratio", "process_memory_ratio", "throttled_ratio", "group_memory_ratio", "gpu_memory_ratio", "interface_errors_per_s")
    MEMORY_RATIO_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PRESSURE_RATIO_FIELD_NUMBER: _ClassVar[int]
    SWAP_RATIO_FIELD_NUMBER: _ClassVar[int]
    SWAPPING_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    CPU_RATIO_FIELD_NUMBER: _ClassVar[int]
    CORE_RATIO_FIELD_NUMBER: _ClassVar[int]
    STOLEN_RATIO_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    DISK_RATIO_FIELD_NUMBER: _ClassVar[int]
    FILES_RATIO_FIELD_NUMBER: _ClassVar[int]
    DISK_PRESSURE_RATIO_FIELD_NUMBER: _ClassVar[int]
    LEAK_BYTES_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    PROCESS_CPU_RATIO_FIELD_NUMBER: _ClassVar[int]
    PROCESS_MEMORY_RATIO_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_RATIO_FIELD_NUMBER: _ClassVar[int]
    GROUP_MEMORY_RATIO_FIELD_NUMBER: _ClassVar[int]
    GPU_MEMORY_RATIO_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_ERRORS_PER_S_FIELD_NUMBER: _ClassVar[int]
    memory_ratio: float
    memory_pressure_ratio: float
    swap_ratio: float
    swapping_bytes_per_s: float
    cpu_ratio: float
    core_ratio: float
    stolen_ratio: float
    temperature_celsius: float
    disk_ratio: float
    files_ratio: float
    disk_pressure_ratio: float
    leak_bytes_per_hour: float
    process_cpu_ratio: float
    process_memory_ratio: float
    throttled_ratio: float
    group_memory_ratio: float
    gpu_memory_ratio: float
    interface_errors_per_s: float
    def __init__(self, memory_ratio: _Optional[float] = ..., memory_pressure_ratio: _Optional[float] = ..., swap_ratio: _Optional[float] = ..., swapping_bytes_per_s: _Optional[float] = ..., cpu_ratio: _Optional[float] = ..., core_ratio: _Optional[float] = ..., stolen_ratio: _Optional[float] = ..., temperature_celsius: _Optional[float] = ..., disk_ratio: _Optional[float] = ..., files_ratio: _Optional[float] = ..., disk_pressure_ratio: _Optional[float] = ..., leak_bytes_per_hour: _Optional[float] = ..., process_cpu_ratio: _Optional[float] = ..., process_memory_ratio: _Optional[float] = ..., throttled_ratio: _Optional[float] = ..., group_memory_ratio: _Optional[float] = ..., gpu_memory_ratio: _Optional[float] = ..., interface_errors_per_s: _Optional[float] = ...) -> None: ...

class Suggestion(_message.Message):
    __slots__ = ("topic", "severity", "subject", "reason", "advice", "measured", "threshold")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    topic: Topic
    severity: Severity
    subject: str
    reason: str
    advice: str
    measured: float
    threshold: float
    def __init__(self, topic: _Optional[_Union[Topic, str]] = ..., severity: _Optional[_Union[Severity, str]] = ..., subject: _Optional[str] = ..., reason: _Optional[str] = ..., advice: _Optional[str] = ..., measured: _Optional[float] = ..., threshold: _Optional[float] = ...) -> None: ...

class WhatIfRequest(_message.Message):
    __slots__ = ("changes", "thresholds")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    thresholds: Thresholds
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., thresholds: _Optional[_Union[Thresholds, _Mapping]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("add_work", "end_process", "resize", "free_disk")
    ADD_WORK_FIELD_NUMBER: _ClassVar[int]
    END_PROCESS_FIELD_NUMBER: _ClassVar[int]
    RESIZE_FIELD_NUMBER: _ClassVar[int]
    FREE_DISK_FIELD_NUMBER: _ClassVar[int]
    add_work: AddWork
    end_process: EndProcess
    resize: Resize
    free_disk: FreeDisk
    def __init__(self, add_work: _Optional[_Union[AddWork, _Mapping]] = ..., end_process: _Optional[_Union[EndProcess, _Mapping]] = ..., resize: _Optional[_Union[Resize, _Mapping]] = ..., free_disk: _Optional[_Union[FreeDisk, _Mapping]] = ...) -> None: ...

class AddWork(_message.Message):
    __slots__ = ("copies", "cpu_cores", "memory_bytes", "disk_bytes", "mount", "gpu_memory_bytes", "gpu")
    COPIES_FIELD_NUMBER: _ClassVar[int]
    CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    MOUNT_FIELD_NUMBER: _ClassVar[int]
    GPU_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPU_FIELD_NUMBER: _ClassVar[int]
    copies: int
    cpu_cores: float
    memory_bytes: int
    disk_bytes: int
    mount: str
    gpu_memory_bytes: int
    gpu: int
    def __init__(self, copies: _Optional[int] = ..., cpu_cores: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., mount: _Optional[str] = ..., gpu_memory_bytes: _Optional[int] = ..., gpu: _Optional[int] = ...) -> None: ...

class EndProcess(_message.Message):
    __slots__ = ("process_id",)
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    process_id: int
    def __init__(self, process_id: _Optional[int] = ...) -> None: ...

class Resize(_message.Message):
    __slots__ = ("logical_cores", "memory_bytes", "cpu_limit_cores", "memory_limit_bytes")
    LOGICAL_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    logical_cores: int
    memory_bytes: int
    cpu_limit_cores: float
    memory_limit_bytes: int
    def __init__(self, logical_cores: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., cpu_limit_cores: _Optional[float] = ..., memory_limit_bytes: _Optional[int] = ...) -> None: ...

class FreeDisk(_message.Message):
    __slots__ = ("mount", "freed_bytes")
    MOUNT_FIELD_NUMBER: _ClassVar[int]
    FREED_BYTES_FIELD_NUMBER: _ClassVar[int]
    mount: str
    freed_bytes: int
    def __init__(self, mount: _Optional[str] = ..., freed_bytes: _Optional[int] = ...) -> None: ...

class WhatIfResponse(_message.Message):
    __slots__ = ("present", "predicted", "suggestions_now", "suggestions_then", "reasons", "fits", "speed_ratio")
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    SUGGESTIONS_NOW_FIELD_NUMBER: _ClassVar[int]
    SUGGESTIONS_THEN_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    FITS_FIELD_NUMBER: _ClassVar[int]
    SPEED_RATIO_FIELD_NUMBER: _ClassVar[int]
    present: Snapshot
    predicted: Snapshot
    suggestions_now: _containers.RepeatedCompositeFieldContainer[Suggestion]
    suggestions_then: _containers.RepeatedCompositeFieldContainer[Suggestion]
    reasons: _containers.RepeatedScalarFieldContainer[str]
    fits: bool
    speed_ratio: float
    def __init__(self, present: _Optional[_Union[Snapshot, _Mapping]] = ..., predicted: _Optional[_Union[Snapshot, _Mapping]] = ..., suggestions_now: _Optional[_Iterable[_Union[Suggestion, _Mapping]]] = ..., suggestions_then: _Optional[_Iterable[_Union[Suggestion, _Mapping]]] = ..., reasons: _Optional[_Iterable[str]] = ..., fits: bool = ..., speed_ratio: _Optional[float] = ...) -> None: ...

class AskWhatIfRequest(_message.Message):
    __slots__ = ("question", "changes", "thresholds", "snapshot_json", "model", "rules_only")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_JSON_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RULES_ONLY_FIELD_NUMBER: _ClassVar[int]
    question: str
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    thresholds: Thresholds
    snapshot_json: str
    model: str
    rules_only: bool
    def __init__(self, question: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., thresholds: _Optional[_Union[Thresholds, _Mapping]] = ..., snapshot_json: _Optional[str] = ..., model: _Optional[str] = ..., rules_only: bool = ...) -> None: ...

class AskWhatIfResponse(_message.Message):
    __slots__ = ("answer", "source", "model", "what_if", "changes", "notes")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WHAT_IF_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    answer: str
    source: AnswerSource
    model: str
    what_if: WhatIfResponse
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, answer: _Optional[str] = ..., source: _Optional[_Union[AnswerSource, str]] = ..., model: _Optional[str] = ..., what_if: _Optional[_Union[WhatIfResponse, _Mapping]] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class ListContainersRequest(_message.Message):
    __slots__ = ("all", "usage")
    ALL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    all: bool
    usage: bool
    def __init__(self, all: bool = ..., usage: bool = ...) -> None: ...

class ListContainersResponse(_message.Message):
    __slots__ = ("containers", "left_out")
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    containers: _containers.RepeatedCompositeFieldContainer[Container]
    left_out: int
    def __init__(self, containers: _Optional[_Iterable[_Union[Container, _Mapping]]] = ..., left_out: _Optional[int] = ...) -> None: ...

class Container(_message.Message):
    __slots__ = ("id", "name", "image", "state", "status", "created_at", "usage")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    image: str
    state: str
    status: str
    created_at: _timestamp_pb2.Timestamp
    usage: ContainerUsage
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., image: _Optional[str] = ..., state: _Optional[str] = ..., status: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., usage: _Optional[_Union[ContainerUsage, _Mapping]] = ...) -> None: ...

class ContainerUsage(_message.Message):
    __slots__ = ("cpu_cores", "memory_bytes", "memory_limit_bytes", "tasks")
    CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    cpu_cores: float
    memory_bytes: int
    memory_limit_bytes: int
    tasks: int
    def __init__(self, cpu_cores: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., memory_limit_bytes: _Optional[int] = ..., tasks: _Optional[int] = ...) -> None: ...

class ListPodsRequest(_message.Message):
    __slots__ = ("namespace", "node", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    node: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., node: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPodsResponse(_message.Message):
    __slots__ = ("pods", "next_page_token")
    PODS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    pods: _containers.RepeatedCompositeFieldContainer[Pod]
    next_page_token: str
    def __init__(self, pods: _Optional[_Iterable[_Union[Pod, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Pod(_message.Message):
    __slots__ = ("namespace", "name", "node", "phase", "reason", "started_at", "containers")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    node: str
    phase: str
    reason: str
    started_at: _timestamp_pb2.Timestamp
    containers: _containers.RepeatedCompositeFieldContainer[PodContainer]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., node: _Optional[str] = ..., phase: _Optional[str] = ..., reason: _Optional[str] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., containers: _Optional[_Iterable[_Union[PodContainer, _Mapping]]] = ...) -> None: ...

class PodContainer(_message.Message):
    __slots__ = ("name", "image", "ready", "restarts", "state", "reason", "cpu_limit", "memory_limit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    image: str
    ready: bool
    restarts: int
    state: str
    reason: str
    cpu_limit: str
    memory_limit: str
    def __init__(self, name: _Optional[str] = ..., image: _Optional[str] = ..., ready: bool = ..., restarts: _Optional[int] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., cpu_limit: _Optional[str] = ..., memory_limit: _Optional[str] = ...) -> None: ...
