"""Starts members: by a fork of a process that has loaded weft, where that is the same and saves time; else by themselves.

There is one fork server for each kind of member: those of the same words, folder and environment, but for what each has of its own. It is
started when a second member of its kind is asked for, and ends when the last one has ended. Whatever is wrong with it costs time alone.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from weft.coordinator.pools.processes.fork_server_link import ForkFault, ForkServerLink, StaleServer
from weft.coordinator.pools.processes.kept_process import KeptProcess, Kind, start_child
from weft.rpc.process.pool_member import OWN

# Each has 50 MB, most of which its members share.
MAX_SERVERS = 8
# Kinds of which a member was started.
_MAX_KINDS = 256
# The first one of a kind waits so long for another one: coordinators ask for several at a time.
_TOGETHER_S = 0.05
# A kind whose server has failed does without for so long.
_WITHOUT_S = 60.0
# Without members of its kind, a server ends so soon: one of them may have been killed.
_UNUSED_S = 10.0
# Tools that measure a process from its start to its end.
_WHOLE = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


class ForkedStarts:
    """The fork servers of a keeper."""

    def __init__(self) -> None:
        self._servers: dict[Kind, ForkServerLink] = {}
        self._used_at: dict[Kind, float] = {}
        # When a server of the kind may be started.
        self._from: dict[Kind, float] = {}

    async def start(
        self, member: KeptProcess, words: Sequence[str], env: Mapping[str, str], folder: str, *, fork: bool
    ) -> None:
        """Start a member.

        Args:
            fork: it may be forked: it runs `weft agent`.

        Raises:
            OSError: it cannot be started.
        """
        if fork and not any(name in env for name in _WHOLE):
            member.kind = _kind(words, env, folder)
            alone = await self._is_alone(member.kind)
            # Once more, if what was loaded has changed.
            for _ in range(0 if alone else 2):
                server = self._server(member.kind, words, env, folder)
                if server is None:
                    break
                try:
                    await server.fork(member, env, folder)
                except ForkFault as error:
                    self._end(member.kind, server)
                    if not isinstance(error, StaleServer):
                        self._from[member.kind] = time.monotonic() + _WITHOUT_S
                        sys.stderr.write(f"a member was not forked: {error}\n")
                else:
                    return
        with member.open_log() as output:
            member.pid = start_child(words, env, folder, output)

    async def _is_alone(self, kind: Kind) -> bool:
        """Whether a member is the first of its kind, and no other one is asked for."""
        if kind in self._from:
            return False
        while len(self._from) >= _MAX_KINDS:
            del self._from[next(iter(self._from))]
        self._from[kind] = 0.0
        await asyncio.sleep(_TOGETHER_S)
        return kind not in self._servers

    def _server(
        self, kind: Kind, words: Sequence[str], env: Mapping[str, str], folder: str
    ) -> ForkServerLink | None:
        """The server of a kind. None: there is to be none."""
        now = time.monotonic()
        found = self._servers.get(kind)
        if found is not None and not found.closed:
            self._used_at[kind] = now
            return found
        if now < self._from.get(kind, 0.0):
            return None
        if len(self._servers) >= MAX_SERVERS:
            oldest = min(self._servers, key=self._used_at.__getitem__)
            self._end(oldest, self._servers[oldest])
        try:
            made = self._servers[kind] = ForkServerLink(words, env, folder)
        except OSError:
            return None
        self._used_at[kind] = now
        return made

    def _end(self, kind: Kind, server: ForkServerLink) -> None:
        server.close()
        if self._servers.get(kind) is server:
            del self._servers[kind]
            self._used_at.pop(kind, None)

    def read(self) -> None:
        """Take in what servers have told: members that they have started."""
        for server in list(self._servers.values()):
            server.read()

    def ended(self, pid: int) -> None:
        """A child's end was waited for."""
        for server in self._servers.values():
            if server.pid == pid:
                server.pid = 0

    def keep(self, kinds: Iterable[Kind]) -> None:
        """End servers that are not needed.

        Args:
            kinds: of the members that run.
        """
        now = time.monotonic()
        for kind in self._servers.keys() & set(kinds):
            self._used_at[kind] = now
        for kind, server in list(self._servers.items()):
            if now - self._used_at[kind] > _UNUSED_S:
                self._end(kind, server)

    def close(self) -> None:
        """End all servers."""
        for kind, server in list(self._servers.items()):
            self._end(kind, server)


def _kind(words: Sequence[str], env: Mapping[str, str], folder: str) -> Kind:
    """What members have in common that the same server can fork."""
    own = {name: len(env[name].encode(errors="surrogateescape")) for name in OWN if name in env}
    return (tuple(words), folder, frozenset({**env, **own}.items()))
