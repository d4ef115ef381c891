"""Calls by gRPC alone, as a client makes them that does not know of weft."""

from __future__ import annotations

import itertools
import json
import time
import uuid

import grpc
import grpc.aio

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.ledger import Ledger

# What a stop of a server without a successor may cost: the call itself, or its connection.
_RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "waitForReady": True,
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ]
    }
)


class StockCaller:
    """One caller with a connection of its own.

    Args:
        retries: by gRPC's own retry policy, with a request id each, by which a retry finds the task of the try before. False: no retries, and no
            wait for the server.
    """

    def __init__(
        self, target: str, credentials: grpc.ChannelCredentials | None = None, *, retries: bool = False
    ) -> None:
        options: list[tuple[str, int | str]] = [("grpc.use_local_subchannel_pool", 1)]
        if retries:
            options.append(("grpc.service_config", _RETRIES))
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=options)
        self._stub = probe_pb2_grpc.ProbeServiceStub(self._channel)
        self._retries = retries
        self._name = uuid.uuid4().hex[:8]
        self.longest_s = 0.0
        # Those that were answered.
        self.texts: list[str] = []
        self._numbers = itertools.count()

    async def call(self, ledger: Ledger, sleep_s: float = 0.0) -> None:
        text = f"{'long' if sleep_s else 'short'}-{self._name}-{next(self._numbers)}"
        began_s = time.monotonic()
        request = ProbeRequest(text=text, ledger=ledger.path, sleep_s=sleep_s)
        metadata = (("weft-request-id", text),) if self._retries else ()
        reply = await self._stub.Call(request, timeout=30, metadata=metadata)
        self.longest_s = max(self.longest_s, time.monotonic() - began_s - sleep_s)
        assert reply.text == text
        self.texts.append(text)

    async def stream(self, count: int, sleep_s: float) -> list[int]:
        request = ProbeRequest(text="stream", stream_count=count, sleep_s=sleep_s)
        return [reply.index async for reply in self._stub.Stream(request, timeout=30)]

    async def close(self) -> None:
        await self._channel.close()
