"""The servicer: what any gRPC server in Python would register. It does not know of weft."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from corpus.v1 import corpus_pb2, corpus_pb2_grpc
from examples.corpus import analysis


class CorpusService(corpus_pb2_grpc.CorpusServiceServicer):
    def Analyze(
        self, request: corpus_pb2.AnalyzeRequest, context: grpc.ServicerContext
    ) -> corpus_pb2.AnalyzeResponse:
        _require_name(request.file_name, context)
        try:
            figures = analysis.analyze(request.source)
        except analysis.Unreadable as fault:
            return corpus_pb2.AnalyzeResponse(file_name=request.file_name, fault=str(fault))
        return corpus_pb2.AnalyzeResponse(
            file_name=request.file_name,
            encoding=figures.encoding,
            lines=corpus_pb2.LineCounts(
                total=figures.lines.total,
                code=figures.lines.code,
                comment=figures.lines.comment,
                blank=figures.lines.blank,
            ),
            tokens=figures.tokens,
            imports=figures.imports,
            functions=[_function(item) for item in figures.functions],
            classes=figures.classes,
            max_nesting=figures.max_nesting,
        )

    def ListFunctions(
        self, request: corpus_pb2.ListFunctionsRequest, context: grpc.ServicerContext
    ) -> Iterator[corpus_pb2.ListFunctionsResponse]:
        _require_name(request.file_name, context)
        try:
            functions = analysis.functions(request.source)
        except analysis.Unreadable as fault:
            _refuse("source", f"{request.file_name}: {fault}", context)
        for item in functions:
            yield corpus_pb2.ListFunctionsResponse(function=_function(item))


def _require_name(file_name: str, context: grpc.ServicerContext) -> None:
    if not file_name:
        _refuse("file_name", "file_name is required", context)


def _refuse(field: str, message: str, context: grpc.ServicerContext) -> NoReturn:
    """End the call with INVALID_ARGUMENT and the standard details."""
    details = any_pb2.Any()
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
    details.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=message, details=[details])
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort raises")


def _function(item: analysis.Function) -> corpus_pb2.Function:
    return corpus_pb2.Function(
        name=item.name, line=item.line, end_line=item.end_line, complexity=item.complexity
    )
