"""The demo's agents: the example's servicer, with a line in the ledger before and after each call."""

from __future__ import annotations

import grpc

from corpus.v1 import corpus_pb2, corpus_pb2_grpc
from examples.corpus.corpus_service import CorpusService
from weft.agent import Agent, current_task
from weft.cli.demo.ledger import LedgerWriter

_ledger = LedgerWriter()


class NotedCorpusService(CorpusService):
    def Analyze(  # noqa: N802  # the contract's name
        self, request: corpus_pb2.AnalyzeRequest, context: grpc.ServicerContext
    ) -> corpus_pb2.AnalyzeResponse:
        agent_id = current_task().agent_id
        _ledger.note("start", agent_id, request.file_name)
        response = super().Analyze(request, context)
        _ledger.note("end", agent_id, request.file_name)
        return response


agent = Agent()
agent.add_servicer(corpus_pb2_grpc.add_CorpusServiceServicer_to_server, NotedCorpusService())
