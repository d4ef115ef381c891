"""A coordinator that agrees to give its place away, and then hangs: `python -m tests.support.hanging_predecessor LISTEN STORE`."""

from __future__ import annotations

import asyncio
import os
import sys

from weft.coordinator.handover.handover_door import HandoverDoor


async def main(listen: str, store: str) -> None:
    door = HandoverDoor(listen, os.path.realpath(store))
    print("has the door", flush=True)
    await door.successor()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
