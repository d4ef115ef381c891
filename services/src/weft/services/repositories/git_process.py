"""Runs git: a process group with a deadline, bounded output and bounded files.

A process of git holds the lock of its workspace by an inherited file, so that nobody else has the workspace while it lives, also if the agent is killed. On Linux it is
killed with the agent; where it has children of its own, which talk to remotes, a shell is between, which is told of the agent's end and kills them all. If the call is cancelled or out of time, the whole group is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from weft.services.repositories.credentials import Secret
from weft.services.repositories.problems import RepositoryError

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_CHUNK_BYTES = 1 << 16
_MOST_ERROR_BYTES = 4096
DEFAULT_OUTPUT_BYTES = 4 << 20
# The leader of the group: told of the agent's end, it ends the group, itself included.
_GUARD = ("/bin/sh", "-c", 'trap "kill -KILL 0" TERM; git "$@" & wait "$!"', "sh")
# Between SIGTERM, at which git removes its temporary files, and SIGKILL.
_END_GRACE_S = 2.0
_MEASURE_EVERY_S = 0.3


class Output(NamedTuple):
    """What a process of git has answered.

    Args:
        code: its exit status; negative: the signal that has ended it.
        out: its output.
        error: the end of what it said as errors.
        truncated: the output was longer.
    """

    code: int
    out: bytes
    error: str
    truncated: bool


class RunBounds(NamedTuple):
    """What a process may take.

    Args:
        timeout_s: its time.
        output_bytes: its output. What is more is cut if `cut`, else an error.
        measure: the size of what it makes, in bytes; asked again and again. None: not asked.
        most_bytes: of that.
    """

    timeout_s: float
    output_bytes: int = DEFAULT_OUTPUT_BYTES
    cut: bool = False
    measure: Callable[[], int] | None = None
    most_bytes: int = 0


class GitRunner:
    """Starts processes of git, so many at a time."""

    def __init__(self, most: int) -> None:
        self._turns = asyncio.Semaphore(most)

    async def run(
        self,
        words: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        bounds: RunBounds,
        given: bytes = b"",
        files: Sequence[int] = (),
        guarded: bool = False,
    ) -> Output:
        """Run git.

        Args:
            words: its arguments; never with a secret.
            folder: where it runs.
            given: its input.
            files: open files that it inherits.
            guarded: its children end with the agent, too. It gets no input.

        Raises:
            RepositoryError: GIT_MISSING, GIT_TOO_SLOW, TOO_LARGE. What git itself says is in the output.
        """
        async with self._turns:
            process = await _start([*_GUARD, *words] if guarded else ["git", *words], env, folder, files)
            work = asyncio.ensure_future(_talk(process, given, bounds))
            watch = asyncio.ensure_future(_watch(bounds))
            try:
                async with asyncio.timeout(bounds.timeout_s):
                    await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
                    if watch.done():
                        watch.result()
                    return await work
            except TimeoutError:
                raise RepositoryError(
                    "GIT_TOO_SLOW", f"git {_verb(words)} took longer than {bounds.timeout_s:g} s"
                ) from None
            finally:
                watch.cancel()
                work.cancel()
                # Whatever else happens to this task.
                await asyncio.shield(_end(process))


async def _start(
    words: Sequence[str], env: Mapping[str, str], folder: Path, files: Sequence[int]
) -> asyncio.subprocess.Process:
    parent = os.getpid()

    def die_with_agent() -> None:
        # Between fork and exec: nothing but system calls.
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        return await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=folder,
            pass_fds=tuple(files),
            start_new_session=True,
            preexec_fn=die_with_agent,
            limit=_CHUNK_BYTES,
        )
    except FileNotFoundError:
        if shutil.which("git") is None:
            raise RepositoryError(
                "GIT_MISSING", "there is no git at this agent: install git 2.36 or newer"
            ) from None
        raise


async def _talk(process: asyncio.subprocess.Process, given: bytes, bounds: RunBounds) -> Output:
    """Give and take until it ends, or its output is long enough."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    told: asyncio.Future[bytes] = asyncio.ensure_future(_tail(process.stderr))
    fed = asyncio.ensure_future(_feed(process.stdin, given))
    try:
        out, truncated = await _head(process.stdout, bounds.output_bytes)
        if truncated:
            if not bounds.cut:
                raise RepositoryError("TOO_LARGE", f"git answers with more than {bounds.output_bytes} bytes")
            return Output(0, out, "", truncated=True)
        error = await told
        code = await process.wait()
    finally:
        told.cancel()
        fed.cancel()
    return Output(code, out, error.decode(errors="replace").strip(), truncated=False)


async def _feed(stdin: asyncio.StreamWriter, given: bytes) -> None:
    # It may end before it has read all.
    with contextlib.suppress(ConnectionError):
        stdin.write(given)
        await stdin.drain()
        stdin.close()


async def _head(stream: asyncio.StreamReader, most: int) -> tuple[bytes, bool]:
    chunks = bytearray()
    while chunk := await stream.read(_CHUNK_BYTES):
        chunks += chunk
        if len(chunks) > most:
            return bytes(chunks[:most]), True
    return bytes(chunks), False


async def _tail(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        kept = (kept + chunk)[-_MOST_ERROR_BYTES:]
    return kept


async def _watch(bounds: RunBounds) -> None:
    """Wait until what git makes is too large; else for ever."""
    while True:
        await asyncio.sleep(_MEASURE_EVERY_S)
        if bounds.measure is None:
            continue
        size = await asyncio.to_thread(bounds.measure)
        if size > bounds.most_bytes:
            raise RepositoryError(
                "TOO_LARGE",
                f"the repository has more than {bounds.most_bytes} bytes (WEFT_REPOSITORIES_MAX_REPOSITORY_BYTES); a smaller `depth` may help",
            )


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process and all that it has started."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(_END_GRACE_S):
                await process.wait()
        except TimeoutError:
            pass
        # Its children, too: the group lives as long as one of them.
        _signal(process, signal.SIGKILL)
        await process.wait()
    # Pipes that nobody has read to their ends keep the transport open.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _verb(words: Sequence[str]) -> str:
    return next((each for each in words if not each.startswith("-")), "")


@contextlib.contextmanager
def secret_file(secret: Secret | None, url_base: str) -> Iterator[tuple[Mapping[str, str], tuple[int, ...]]]:
    """A secret in an open file that has no name, and the configuration by which git reads it there, for one host.

    Args:
        url_base: the host, such as "https://github.com".

    Yields:
        The configuration, and the files that git must inherit. Without a secret: nothing.
    """
    if secret is None:
        yield {}, ()
        return
    text = f"username={secret.user}\npassword={secret.password}\n".encode()
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("weft", 0)
        os.write(number, text)
    else:
        # Read once: git asks once a process.
        number, end = os.pipe()
        os.write(end, text)
        os.close(end)
    try:
        command = f'!f() {{ cat >/dev/null; test "$1" = get && cat /dev/fd/{number}; }}; f'
        yield {f"credential.{url_base}.helper": command}, (number,)
    finally:
        os.close(number)
