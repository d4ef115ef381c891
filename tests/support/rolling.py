"""An agent of `rolling.v1.RollingService` in the version that ROLLING_VERSION names: for rolling upgrades.

1: Do(Request{text}) -> Request    2: Request has a field more    3: text is a number, which no 1 or 2 can read
"""

from __future__ import annotations

import os
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from weft.agent import Agent

METHOD = "rolling.v1.RollingService/Do"
_Field = descriptor_pb2.FieldDescriptorProto


def request_class(version: int) -> Any:
    """The message in this version, made in a pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file(version))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("rolling.v1.Request"))


def _file(version: int) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="rolling/v1/rolling.proto", package="rolling.v1", syntax="proto3"
    )
    request = file.message_type.add(name="Request")
    text_type = _Field.TYPE_INT64 if version == 3 else _Field.TYPE_STRING
    request.field.add(name="text", number=1, type=text_type, label=_Field.LABEL_OPTIONAL)
    if version == 2:
        request.field.add(name="more", number=2, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    service = file.service.add(name="RollingService")
    service.method.add(name="Do", input_type=".rolling.v1.Request", output_type=".rolling.v1.Request")
    return file


def make_agent(version: int) -> Agent:
    """An agent that answers with the request; version 2 also says in `more` that it was there."""
    descriptor_pool.Default().Add(_file(version))
    message = message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName("rolling.v1.Request")
    )

    async def do(request: Any) -> Any:
        if version == 2:
            request.more = "version 2"
        return request

    do.__annotations__ = {"request": message, "return": message}
    made = Agent()
    made.method(METHOD)(do)
    return made


if "ROLLING_VERSION" in os.environ:
    agent = make_agent(int(os.environ["ROLLING_VERSION"]))
