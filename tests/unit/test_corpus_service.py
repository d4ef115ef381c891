"""The example on a plain gRPC server: its servicer knows nothing of weft."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from corpus.v1 import corpus_pb2, corpus_pb2_grpc
from examples.corpus.corpus_service import CorpusService

SOURCE = b"import os\n\n\nclass A:\n    def f(self, x):\n        if x:\n            return 1\n"


@pytest.fixture(scope="module")
def stub() -> Iterator[corpus_pb2_grpc.CorpusServiceStub]:
    server = grpc.server(ThreadPoolExecutor(2))
    corpus_pb2_grpc.add_CorpusServiceServicer_to_server(CorpusService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield corpus_pb2_grpc.CorpusServiceStub(channel)
    server.stop(None)


def test_analyze(stub: corpus_pb2_grpc.CorpusServiceStub) -> None:
    answer = stub.Analyze(corpus_pb2.AnalyzeRequest(file_name="a.py", source=SOURCE), timeout=10)
    assert answer == corpus_pb2.AnalyzeResponse(
        file_name="a.py",
        encoding="utf-8",
        lines=corpus_pb2.LineCounts(total=7, code=5, comment=0, blank=2),
        tokens=32,
        imports=["os"],
        functions=[corpus_pb2.Function(name="A.f", line=5, end_line=7, complexity=2)],
        classes=["A"],
        max_nesting=3,
    )


def test_a_file_that_does_not_parse_is_a_finding(stub: corpus_pb2_grpc.CorpusServiceStub) -> None:
    answer = stub.Analyze(corpus_pb2.AnalyzeRequest(file_name="a.py", source=b"def\n"), timeout=10)
    assert answer == corpus_pb2.AnalyzeResponse(file_name="a.py", fault="line 1: invalid syntax")


def test_list_functions(stub: corpus_pb2_grpc.CorpusServiceStub) -> None:
    answers = list(
        stub.ListFunctions(corpus_pb2.ListFunctionsRequest(file_name="a.py", source=SOURCE), timeout=10)
    )
    assert [answer.function.name for answer in answers] == ["A.f"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (corpus_pb2.ListFunctionsRequest(source=b""), "file_name"),
        (corpus_pb2.ListFunctionsRequest(file_name="a.py", source=b"\xff"), "source"),
    ],
)
def test_refusals_name_the_field(
    stub: corpus_pb2_grpc.CorpusServiceStub, request_: corpus_pb2.ListFunctionsRequest, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ListFunctions(request_, timeout=10))
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(details)
    assert details.field_violations[0].field == field
