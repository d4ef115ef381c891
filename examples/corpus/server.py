"""The servicer in a stock gRPC server, which does not know of weft: `python -m examples.corpus.server 127.0.0.1:50051`."""

from __future__ import annotations

import signal
import sys
import threading
from concurrent import futures

import grpc
from grpc_reflection.v1alpha import reflection

from corpus.v1 import corpus_pb2, corpus_pb2_grpc
from examples.corpus.corpus_service import CorpusService


def main(address: str) -> None:
    """Serve at the address until SIGTERM, then finish the calls under way."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    corpus_pb2_grpc.add_CorpusServiceServicer_to_server(CorpusService(), server)
    names = (corpus_pb2.DESCRIPTOR.services_by_name["CorpusService"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    server.add_insecure_port(address)
    server.start()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    server.stop(30).wait()


if __name__ == "__main__":
    main(sys.argv[1])
