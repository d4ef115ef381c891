"""Servicers of the selling service: their responses have the prices that the request asks for, good or bad.

weft agent tests.support.selling:agent
python -m tests.support.selling 127.0.0.1:50051     # a stock server, no weft in it
"""

from __future__ import annotations

import sys
from concurrent import futures
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from selling.v1 import selling_pb2, selling_pb2_grpc
from weft.agent import Agent, current_task

Receipt = selling_pb2.Receipt


def receipts(order: Any, attempt: int = 0) -> list[Any]:
    return [Receipt(price=price, attempt=attempt) for price in order.answers or [1]]


class Seller(selling_pb2_grpc.SellServiceServicer):
    async def Sell(self, request, context):
        return receipts(request, current_task().attempt)[0]

    SellUnchecked = SellUntested = Sell

    async def SellEach(self, request, context):
        for each in receipts(request):
            yield each

    async def SellAll(self, request_iterator, context):
        last = selling_pb2.Order()
        async for order in request_iterator:
            last = order
        return receipts(last)[0]


class SyncSeller:
    def Sell(self, request, context):
        return receipts(request)[0]

    def SellEach(self, request, context):
        yield from receipts(request)

    def SellAll(self, request_iterator, context):
        return receipts([selling_pb2.Order(), *request_iterator][-1])[0]


class ThreadSeller(SyncSeller, selling_pb2_grpc.SyncSellServiceServicer): ...


class IsolatedSeller(SyncSeller, selling_pb2_grpc.IsolatedSellServiceServicer): ...


class StockSeller(SyncSeller, selling_pb2_grpc.StockSellServiceServicer): ...


agent = Agent()
agent.add_servicer(
    selling_pb2_grpc.add_SellServiceServicer_to_server,
    Seller(),
    options={"SellUntested": {"check_rules": False}},
)
agent.add_servicer(selling_pb2_grpc.add_SyncSellServiceServicer_to_server, ThreadSeller())
agent.add_servicer(selling_pb2_grpc.add_IsolatedSellServiceServicer_to_server, IsolatedSeller(), isolate=True)


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(8))
    selling_pb2_grpc.add_StockSellServiceServicer_to_server(StockSeller(), server)
    reflection.enable_server_reflection(("selling.v1.StockSellService", reflection.SERVICE_NAME), server)
    server.add_insecure_port(sys.argv[1])
    server.start()
    print("serving", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
