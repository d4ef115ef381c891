"""A stock client of gRPC in a process of its own, which finds agents by xDS: GRPC_XDS_BOOTSTRAP names its bootstrap file. It knows nothing of weft.

    python -m tests.support.xds_caller            calls without TLS
    python -m tests.support.xds_caller TOKEN      calls by the credentials that the mesh tells, and shows the token

It calls the probe service without end, a few calls at a time, and prints a line of JSON for each lot: which agents have answered how many, and how
calls have failed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

import grpc
import grpc.aio

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest

TARGET = "xds:///probe.v1.ProbeService"
LOT, AT_A_TIME = 40, 4
SHOWN = [("weft-token", token) for token in sys.argv[1:]]


async def call(
    stub: probe_pb2_grpc.ProbeServiceAsyncStub, answers: Counter[str], failures: Counter[str]
) -> None:
    for _ in range(LOT // AT_A_TIME):
        try:
            answers[(await stub.Call(ProbeRequest(text="x"), timeout=20, metadata=SHOWN)).agent_id] += 1
        except grpc.aio.AioRpcError as error:
            failures[f"{error.code().name}: {error.details()}"] += 1
            # An answer of the client itself comes at once.
            await asyncio.sleep(0.05)


async def main() -> None:
    options = [("grpc.max_reconnect_backoff_ms", 500)]
    if SHOWN:
        credentials = grpc.xds_channel_credentials(grpc.local_channel_credentials())
        channel = grpc.aio.secure_channel(TARGET, credentials, options)
    else:
        channel = grpc.aio.insecure_channel(TARGET, options)
    async with channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        while True:
            answers: Counter[str] = Counter()
            failures: Counter[str] = Counter()
            await asyncio.gather(*(call(stub, answers, failures) for _ in range(AT_A_TIME)))
            print(json.dumps({"answers": answers, "failures": failures}), flush=True)
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main())
