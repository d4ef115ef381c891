"""Export and import of a mesh's state by its RPCs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from tests.support.namespaced import Sites
from weft.v1 import state_pb2, state_pb2_grpc

Records = list[state_pb2.StateRecord]


async def exported(sites: Sites, namespace: str = "", **asked: Any) -> Records:
    stub = state_pb2_grpc.StateServiceStub(sites.channel(namespace))
    request = state_pb2.ExportStateRequest(**asked)
    return [each async for answer in stub.ExportState(request, timeout=20) for each in answer.records]


async def imported(
    sites: Sites, records: Iterable[state_pb2.StateRecord], namespace: str = ""
) -> state_pb2.ImportStateResponse:
    async def requests() -> AsyncIterator[state_pb2.ImportStateRequest]:
        # In small portions: kinds and topics go over several of them.
        rest = list(records)
        while rest:
            yield state_pb2.ImportStateRequest(records=rest[:7])
            del rest[:7]

    stub = state_pb2_grpc.StateServiceStub(sites.channel(namespace))
    return await stub.ImportState(requests(), timeout=20)


def counted(answer: state_pb2.ImportStateResponse) -> dict[str, tuple[int, int, int]]:
    return {
        state_pb2.StateKind.Name(each.kind).removeprefix("STATE_KIND_").lower(): (
            each.records,
            each.existed,
            each.refused,
        )
        for each in answer.counts
    }
