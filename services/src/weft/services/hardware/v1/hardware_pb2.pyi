from weft.rules import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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
