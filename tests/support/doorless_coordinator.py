"""A coordinator that nobody can replace, as before hand-overs and on other systems: `python -m tests.support.doorless_coordinator LISTEN STORE`."""

from __future__ import annotations

import asyncio
import sys

from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.process import logs
from weft.rpc.process.signals import handle_stop_signals


async def main(listen: str, store: str) -> None:
    logs.configure("info")
    stop = asyncio.Event()
    handle_stop_signals(asyncio.get_running_loop(), lambda _: stop.set())
    coordinator = Coordinator(CoordinatorSettings(listen=listen, store=store))
    await coordinator.start()
    await stop.wait()
    await coordinator.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
