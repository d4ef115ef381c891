"""The keeper's end of a fork server, with a server that answers at the worst moment."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from pathlib import Path

import pytest

from weft.coordinator.pools.processes.fork_server_link import ForkServerLink
from weft.coordinator.pools.processes.kept_process import KeptProcess
from weft.rpc.process.pool_member import MEMBER

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="members are ended with their keeper by Linux"
)

SERVER = f"""
import os, socket, time
asked = socket.socket(fileno=int(os.environ[{MEMBER!r}].strip(".")))
asked.send(b'{{"ready": 1}}')
asked.recv(4096)
while not os.path.exists("now"):
    time.sleep(0.002)
asked.send(b'{{"member": "m", "started": 4194303}}')
time.sleep(60)
"""


async def test_a_member_that_starts_as_its_time_ends_is_known(tmp_path: Path) -> None:
    env = {MEMBER: "m" * 10}
    link = ForkServerLink([sys.executable, "-I", "-S", "-c", SERVER], env, str(tmp_path))
    server, member = link.pid, KeptProcess("m", tmp_path / "m.log")
    try:
        starting = asyncio.create_task(link.fork(member, env, str(tmp_path)))
        while link._asked is None:
            await asyncio.sleep(0.001)
        # The answer is there, and not read.
        (tmp_path / "now").touch()
        assert select.select([link._socket], [], [], 20)[0]
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert member.pid == 4194303
        assert link.closed
    finally:
        link.close()
        os.waitpid(server, 0)
