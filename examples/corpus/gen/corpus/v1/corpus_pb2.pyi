from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AnalyzeRequest(_message.Message):
    __slots__ = ("file_name", "source")
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    source: bytes
    def __init__(self, file_name: _Optional[str] = ..., source: _Optional[bytes] = ...) -> None: ...

class AnalyzeResponse(_message.Message):
    __slots__ = ("file_name", "encoding", "lines", "tokens", "imports", "functions", "classes", "max_nesting", "fault")
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    IMPORTS_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MAX_NESTING_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    encoding: str
    lines: LineCounts
    tokens: int
    imports: _containers.RepeatedScalarFieldContainer[str]
    functions: _containers.RepeatedCompositeFieldContainer[Function]
    classes: _containers.RepeatedScalarFieldContainer[str]
    max_nesting: int
    fault: str
    def __init__(self, file_name: _Optional[str] = ..., encoding: _Optional[str] = ..., lines: _Optional[_Union[LineCounts, _Mapping]] = ..., tokens: _Optional[int] = ..., imports: _Optional[_Iterable[str]] = ..., functions: _Optional[_Iterable[_Union[Function, _Mapping]]] = ..., classes: _Optional[_Iterable[str]] = ..., max_nesting: _Optional[int] = ..., fault: _Optional[str] = ...) -> None: ...

class LineCounts(_message.Message):
    __slots__ = ("total", "code", "comment", "blank")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    BLANK_FIELD_NUMBER: _ClassVar[int]
    total: int
    code: int
    comment: int
    blank: int
    def __init__(self, total: _Optional[int] = ..., code: _Optional[int] = ..., comment: _Optional[int] = ..., blank: _Optional[int] = ...) -> None: ...

class Function(_message.Message):
    __slots__ = ("name", "line", "end_line", "complexity")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    END_LINE_FIELD_NUMBER: _ClassVar[int]
    COMPLEXITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    line: int
    end_line: int
    complexity: int
    def __init__(self, name: _Optional[str] = ..., line: _Optional[int] = ..., end_line: _Optional[int] = ..., complexity: _Optional[int] = ...) -> None: ...

class ListFunctionsRequest(_message.Message):
    __slots__ = ("file_name", "source")
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    source: bytes
    def __init__(self, file_name: _Optional[str] = ..., source: _Optional[bytes] = ...) -> None: ...

class ListFunctionsResponse(_message.Message):
    __slots__ = ("function",)
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    function: Function
    def __init__(self, function: _Optional[_Union[Function, _Mapping]] = ...) -> None: ...
