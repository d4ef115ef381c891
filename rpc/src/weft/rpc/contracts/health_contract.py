"""The contract of grpc.health.v1, including the method `List`, which the installed package may lack."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from grpc_health.v1 import health_pb2


def health_file() -> FileDescriptorProto:
    """The file of grpc.health.v1. `List` is added if the installed package is older than that method."""
    file = FileDescriptorProto.FromString(health_pb2.DESCRIPTOR.serialized_pb)
    (service,) = file.service
    if all(method.name != "List" for method in service.method):
        file.message_type.add(name="HealthListRequest")
        answer = file.message_type.add(name="HealthListResponse")
        entry = answer.nested_type.add(name="StatusesEntry")
        entry.options.map_entry = True
        optional, repeated = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
        entry.field.add(name="key", number=1, type=FieldDescriptorProto.TYPE_STRING, label=optional)
        for parent, name, number, label, kind in (
            (entry, "value", 2, optional, "HealthCheckResponse"),
            (answer, "statuses", 1, repeated, "HealthListResponse.StatusesEntry"),
        ):
            parent.field.add(
                name=name,
                number=number,
                type=FieldDescriptorProto.TYPE_MESSAGE,
                label=label,
                type_name=f".grpc.health.v1.{kind}",
            )
        service.method.add(
            name="List",
            input_type=".grpc.health.v1.HealthListRequest",
            output_type=".grpc.health.v1.HealthListResponse",
        )
    return file
