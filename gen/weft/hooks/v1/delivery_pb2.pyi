from weft.v1 import access_pb2 as _access_pb2
from weft.v1 import hook_pb2 as _hook_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
