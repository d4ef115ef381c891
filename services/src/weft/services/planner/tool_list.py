"""The methods of a mesh that can be steps, as tools."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from google.protobuf.descriptor import MethodDescriptor

from weft.rpc.contracts.descriptors import may_run_twice, method_name
from weft.services.planner.mesh_contracts import MeshContracts, is_stream
from weft.services.planner.message_schemas import message_schema
from weft.services.planner.v1 import planner_pb2

MAX_TOOLS = 500
MAX_BYTES = 2 * 1024 * 1024
# A plan is made of neither, unless somebody names them.
_NOT_STEPS = ("weft.services.planner.v1.", "weft.services.models.v1.")


def step_methods(contracts: MeshContracts, match: Collection[str] = ()) -> Iterator[MethodDescriptor]:
    """The methods that can be steps, by name.

    Args:
        match: only those whose names have one of these texts; empty: all but those of the planner and of models.
    """
    for name in contracts.method_names():
        wanted = any(each in name for each in match) if match else not name.startswith(_NOT_STEPS)
        method = contracts.find(name) if wanted else None
        if method is not None and not is_stream(method):
            yield method


def tool_of(method: MethodDescriptor) -> planner_pb2.Tool:
    """A method as a tool."""
    return planner_pb2.Tool(
        method=method_name(method),
        description=comment_of(method),
        request_schema_json=json.dumps(message_schema(method.input_type)),
        response_schema_json=json.dumps(message_schema(method.output_type)),
        may_run_twice=may_run_twice(method),
    )


def listed_tools(contracts: MeshContracts, match: str) -> planner_pb2.ListToolsResponse:
    """The tools whose names have a text, as many as fit."""
    response = planner_pb2.ListToolsResponse()
    size_bytes = 0
    for method in step_methods(contracts, [match]):
        tool = tool_of(method)
        size_bytes += tool.ByteSize()
        if len(response.tools) >= MAX_TOOLS or size_bytes > MAX_BYTES:
            response.left_out += 1
        else:
            response.tools.append(tool)
    return response


def comment_of(method: MethodDescriptor) -> str:
    """The comment of a method, if its file has comments; most descriptors have none."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    file = FileDescriptorProto.FromString(method.containing_service.file.serialized_pb)
    path = [6, method.containing_service.index, 2, method.index]
    for location in file.source_code_info.location:
        if list(location.path) == path:
            return " ".join(location.leading_comments.split())[:1000]
    return ""
