"""An agent that hosts the servicer: `weft agent examples.corpus.agent:agent`."""

from corpus.v1 import corpus_pb2_grpc
from examples.corpus.corpus_service import CorpusService
from weft.agent import Agent

agent = Agent()
agent.add_servicer(corpus_pb2_grpc.add_CorpusServiceServicer_to_server, CorpusService())
