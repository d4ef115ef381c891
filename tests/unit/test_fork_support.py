"""gRPC starts no threads in forked children, where weft or the environment could say so before gRPC was loaded.

Where neither could, it starts some. Before grpcio 1.74 only at its first use it reads the variable, which is in time then.
"""

from __future__ import annotations

import subprocess
import sys

import grpc
import pytest

from tests.support.processes import environment
from weft.rpc.process.fork_support import VARIABLE

READS_EARLY = tuple(map(int, grpc.__version__.split(".")[:2])) >= (1, 74)
# A server of gRPC's, a fork while an agent runs in the process, and how many threads the child has.
FORKS = """
import asyncio, os
import grpc.aio
from weft.agent.process import forks
from weft.rpc.process import fork_support

async def main():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with forks.guarded(lambda: None):
        for _ in range(2):
            if not (child := os.fork()):
                os._exit(len(os.listdir("/proc/self/task")))
            threads = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(threads > 1, fork_support.is_enabled(), os.environ["GRPC_ENABLE_FORK_SUPPORT"], flush=True)
    os._exit(0)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize(
    ("first", "given", "enabled", "told_to_children"),
    [
        ("import weft.agent", None, False, "0"),
        ("import weft.client", None, False, "0"),
        ("import grpc", None, True, "0"),
        ("import grpc", "0", False, "0"),
        ("import weft.agent", "1", True, "1"),
    ],
)
def test_what_is_loaded_first_decides(
    first: str, given: str | None, enabled: bool, told_to_children: str
) -> None:
    env = environment({} if given is None else {VARIABLE: given})
    if given is None:
        env.pop(VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{FORKS}"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    starts_threads, is_enabled, told = done.stdout.split()
    assert (is_enabled, told) == (str(enabled), told_to_children)
    assert starts_threads == str(enabled and (given is not None or READS_EARLY))
    # Once, however many children.
    assert done.stderr.count("fork.unsafe") == int(enabled)
