"""A coordinator that asks for another one's place, gets it, and then hangs: `python -m tests.support.hanging_successor LISTEN STORE`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from weft.coordinator.handover.handover_wire import PROTOCOL, Wire, door_name


async def main(listen: str, store: str) -> None:
    one = socket.socket(socket.AF_UNIX)
    one.setblocking(False)
    one.connect(door_name(listen))
    wire = await Wire.over(one)
    await wire.tell("replace", protocol=PROTOCOL, store=os.path.realpath(store), version="test")
    await wire.hear()
    await wire.tell("bound")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
