"""The corpus as the agent knows it: a process reads it, in a sandbox if one can be made, and is asked by lines of JSON.

a question ─► the process, started if there is none ─► its answer
                                                   ├ it has ended: another one is asked, once
                                                   └ it was too slow, or talks nonsense: ended, and the question fails; the next one starts another
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from weft.agent import Sandbox, SandboxError
from weft.agent.handlers.isolated_children import with_readable
from weft.agent.sandboxing import sandbox_process
from weft.rpc import bounded_json
from weft.rpc.process.logs import get_logger
from weft.services.research import corpus_process
from weft.services.research.research_errors import ResearchError
from weft.services.research.settings import ResearchSettings

_log = get_logger("weft.services.research")
_ANSWER_S = 20.0
# The first answer waits for the index of the whole corpus.
_FIRST_ANSWER_S = 120.0
_END_S = 5.0
_MAX_LINE_BYTES = 4 * 1024 * 1024


class Passage(NamedTuple):
    """Lines of a file that a search has found."""

    path: str
    first: int
    last: int
    text: str


class _Running(NamedTuple):
    process: sandbox_process.SandboxProcess | subprocess.Popen[bytes]
    reads: asyncio.StreamReader
    writes: asyncio.StreamWriter


class CorpusReader:
    """Asks the process of a corpus, one question at a time."""

    def __init__(self, settings: ResearchSettings) -> None:
        self._settings = settings
        self._running: _Running | None = None
        self._turn = asyncio.Lock()

    async def search(self, query: str, limit: int) -> list[Passage]:
        """The best passages for a query."""
        return [Passage(**each) for each in await self._ask(op="search", query=query, limit=limit)]

    async def read(self, path: str, first: int, last: int) -> tuple[int, list[str], int]:
        """Lines of a file: the first one's number, the lines, and how many the file has.

        Raises:
            CorpusFault: there is no such file.
        """
        found = await self._ask(op="read", path=path, first=first, last=last)
        return found["first"], found["lines"], found["total"]

    async def locate(self, path: str, quote: str, first: int, last: int) -> Passage | None:
        """Where a file has a quote, and these lines. None: nowhere."""
        found = await self._ask(op="locate", path=path, quote=quote, first=first, last=last)
        return None if found is None else Passage(path=path, **found)

    async def files(self, match: str) -> tuple[list[str], bool]:
        """Paths that have a text, and whether there are more."""
        found = await self._ask(op="files", match=match)
        return found["paths"], found["more"]

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    async def _ask(self, **question: Any) -> Any:
        """The answer to a question.

        Raises:
            ResearchError: the process cannot be started, or does not answer.
            CorpusFault: what is asked for is not there.
        """
        async with self._turn:
            try:
                try:
                    answer = await self._answer(question)
                except ConnectionError:
                    # It was killed, perhaps long ago. Questions change nothing: another one answers, but not without end.
                    _log.warning("research.corpus_lost")
                    answer = await self._answer(question)
            except (OSError, ValueError, TimeoutError) as error:
                _log.warning("research.corpus_failed", error=type(error).__name__)
                raise ResearchError(
                    "CORPUS_FAILED", "the process that reads the corpus ended, or took too long: try again"
                ) from error
        if "error" in answer:
            raise corpus_process.CorpusFault(str(answer["error"]))
        return answer["ok"]

    async def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """What the process answers, which is started if there is none.

        Raises:
            ResearchError: it cannot be started.
            ConnectionError: it has ended.
            OSError, ValueError, TimeoutError: it cannot be asked, talks nonsense, or takes too long.
        """
        first = self._running is None
        running = self._running or await self._start()
        whole = False
        try:
            running.writes.write(json.dumps(question).encode() + b"\n")
            async with asyncio.timeout(_FIRST_ANSWER_S if first else _ANSWER_S):
                await running.writes.drain()
                line = await running.reads.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("the process has ended")
            answer = read_answer(line)
            whole = True
        finally:
            # Also if the caller has left: the next one would read this answer.
            if not whole:
                await self._end()
        return answer

    async def _start(self) -> _Running:
        folder = self._settings.folder
        if not folder or not await asyncio.to_thread(os.path.isdir, folder):
            why = f"{folder!r} is no folder" if folder else "it is not set"
            raise ResearchError(
                "NO_CORPUS", f"this agent has no corpus: set WEFT_RESEARCH_FOLDER to a folder ({why})"
            )
        mine, theirs = socket.socketpair()
        try:
            process = await asyncio.to_thread(_started, self._settings, theirs)
        except SandboxError as error:
            mine.close()
            raise ResearchError(
                "NO_SANDBOX", f"WEFT_RESEARCH_SANDBOX requires a sandbox: {error.message}"
            ) from error
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
        reads, writes = await asyncio.open_connection(sock=mine, limit=_MAX_LINE_BYTES)
        self._running = _Running(process, reads, writes)
        return self._running

    async def _end(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        running.writes.close()
        await asyncio.shield(asyncio.to_thread(_ended, running.process))


def read_answer(line: bytes) -> dict[str, Any]:
    """The answer in a line of the process.

    Raises:
        ValueError: it is none.
    """
    answer = bounded_json.loads(line)
    if not isinstance(answer, dict) or answer.keys() not in ({"ok"}, {"error"}):
        raise ValueError("the process of the corpus has not answered")
    return answer


def _started(
    settings: ResearchSettings, theirs: socket.socket
) -> sandbox_process.SandboxProcess | subprocess.Popen[bytes]:
    """The process, with the socket as its input and output. Blocks for milliseconds.

    Raises:
        SandboxError: the settings require a sandbox, and there is none.
    """
    folder = os.path.realpath(settings.folder)
    given = {
        "folder": folder,
        "suffixes": settings.suffixes,
        "max_files": settings.max_files,
        "max_file_bytes": settings.max_file_bytes,
        "max_corpus_bytes": settings.max_corpus_bytes,
    }
    text = Path(corpus_process.__file__).read_text(encoding="utf-8")
    python = str(Path(sys.executable).resolve())
    line = [python, "-I", "-S", "-c", text, json.dumps(given)]
    if settings.sandbox != "off":
        box = Sandbox(memory_mb=settings.memory_mb, max_processes=8, disk_mb=1, network=False)
        readable = with_readable(box, (folder, sys.base_prefix, str(Path(python).parent)))
        try:
            return sandbox_process.start(readable, line, stdin=theirs.fileno(), stdout=theirs.fileno())
        except SandboxError as error:
            if settings.sandbox == "require":
                raise
            _log.warning("research.no_sandbox", error=error.message)
    return subprocess.Popen(  # noqa: S603 - this Python, with our own text
        line, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL, cwd="/", env={}
    )


def _ended(process: sandbox_process.SandboxProcess | subprocess.Popen[bytes]) -> None:
    process.kill()
    if isinstance(process, sandbox_process.SandboxProcess):
        process.close()
    else:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
