"""Running the scripts: each is lib.lua and a file of its own, called by its digest and loaded again when Redis forgot it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from weft.coordinator.store.redis.records import pack, unpack

# A redis.asyncio.Redis or RedisCluster that decodes nothing. Their annotations say "bytes or str" of every answer.
Client = Any


class Reply(NamedTuple):
    """What a script answers, as lib.lua says. Strings are bytes."""

    result: Any
    # (id, record) of tasks that changed their state, or (id, False) of those that only got progress.
    changed: list[tuple[bytes, bytes | bool]]
    # (queue, ready tasks)
    depths: list[tuple[bytes, int]]
    unfinished: int
    woke: bool
    # (agent, epoch, id, attempt, reason, grace, lost)
    revoked: list[tuple[bytes, int, bytes, int, bytes, float, bool]]


@cache
def _source(name: str) -> tuple[str, str]:
    folder = files("weft.coordinator.store.redis") / "scripts"
    text = "".join((folder / f"{part}.lua").read_text() for part in ("lib", name))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """The scripts of a store.

    Args:
        clock: seconds since the epoch, for tests; None: Redis' own clock.
        replicas: that must have a change before it is answered.
        timeout_s: for them.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        clock: Callable[[], float] | None,
        *,
        replicas: int = 0,
        timeout_s: float = 5.0,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._replicas = replicas
        self._timeout_s = timeout_s
        # Given out by Redis; tells whose events are one's own.
        self.coordinator = 0

    async def run(self, name: str, request: Any) -> Reply:
        """Run a script.

        Raises:
            redis.exceptions.RedisError: it could not be run, or what became of it is not known.
        """
        text, digest = _source(name)
        now = -1.0 if self._clock is None else self._clock()
        arguments = (self._prefix, repr(now), str(self.coordinator), pack(request))
        try:
            raw = await self._call("EVALSHA", digest, arguments)
        except NoScriptError:
            raw = await self._call("EVAL", text, arguments)
        return Reply(*unpack(raw))

    async def _call(self, command: str, script: str, arguments: tuple[Any, ...]) -> bytes:
        if not self._replicas:
            raw: bytes = await self._client.execute_command(command, script, 1, *arguments)
            return raw
        # On one connection: WAIT is about what this connection wrote.
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command(command, script, 1, *arguments)
        pipeline.execute_command("WAIT", self._replicas, int(self._timeout_s * 500))
        raw, replicas = await pipeline.execute()
        if replicas < self._replicas:
            raise TimeoutError(f"{replicas} of {self._replicas} replicas have the change")
        return raw
