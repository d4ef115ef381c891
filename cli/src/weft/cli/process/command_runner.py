"""Runs a command's coroutine with a connection to the coordinator."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from weft.cli.process.loading import loading
from weft.cli.terminal.failure import Failure

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.rpc.security.tls import Tls

T = TypeVar("T")

CONNECT_S = 3.0
PROXY_VARIABLE = "WEFT_USE_PROXY"
_PROXY_WORDS = {"": False, "0": False, "false": False, "no": False, "off": False} | dict.fromkeys(
    ("1", "true", "yes", "on"), True
)


def run(target: str, work: Callable[[Mesh], Awaitable[T]], tls: Tls | None = None) -> T:
    """Connect to the coordinator, run the coroutine, and close.

    Args:
        tls: None: as options and variables say.

    Raises:
        weft.client.Unreachable: no coordinator answers at the target.
    """
    use_proxy = by_proxy()
    with loading():
        from weft.client import connect
        from weft.rpc.process import event_loops

    async def connected() -> T:
        async with connect(target, use_proxy=use_proxy, tls=tls) as mesh:
            await mesh.ready(CONNECT_S)
            return await work(mesh)

    return event_loops.run(connected())


def by_proxy() -> bool:
    """Whether connections to the coordinator use the environment's HTTP proxy.

    Raises:
        Failure: the variable is neither true nor false.
    """
    word = os.environ.get(PROXY_VARIABLE, "")
    try:
        return _PROXY_WORDS[word.strip().lower()]
    except KeyError:
        raise Failure(f"{PROXY_VARIABLE} is {word!r}; it must be true or false", status=2) from None
