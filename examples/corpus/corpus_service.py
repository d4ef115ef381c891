"""The servicer: what any gRPC server in Python would register. It does not know of weft."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from corpus.v1 import corpus_pb2, corpus_pb2_grpc
from examples.corpus import analysis


class CorpusService(corpus_pb2_grpc.CorpusServiceServicer):
    def Analyze(
        self, request: corpus_pb2.AnalyzeRequest, context: grpc.ServicerContext
    ) -> corpus_pb2.AnalyzeResponse:
        try:
            figures = analysis.analyze(request.source)
        except analysis.Unreadable as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{request.file_name}: {error}")
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
        try:
            for item in analysis.functions(request.source):
                yield corpus_pb2.ListFunctionsResponse(function=_function(item))
        except analysis.Unreadable as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{request.file_name}: {error}")


def _function(item: analysis.Function) -> corpus_pb2.Function:
    return corpus_pb2.Function(
        name=item.name, line=item.line, end_line=item.end_line, complexity=item.complexity
    )
