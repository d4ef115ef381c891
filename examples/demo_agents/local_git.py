"""A git server of this machine: one repository, by git's own `http-backend` behind aiohttp."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from aiohttp import web

from weft.cli.terminal.failure import Failure

_NAME = "library.git"
_MOST_BYTES = 256 << 20
# Nothing of the user's configuration is read or changed.
_ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": os.devnull}


def missing() -> str:
    """What of git is not here; empty: nothing."""
    if shutil.which("git") is None:
        return "git is not installed"
    folder = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=False).stdout
    return "" if Path(folder.strip(), "git-http-backend").exists() else "git has no http-backend"


class LocalGit:
    """Serves one bare repository while its `async with` block runs.

    Args:
        folder: for the repository.
    """

    def __init__(self, folder: Path) -> None:
        self._served = folder / "served"
        self._runner: web.AppRunner | None = None
        self.host = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.host = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{self.host}/{_NAME}"

    async def create(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Make the repository, with one commit on main."""
        self._served.mkdir()
        await self._git(self._served, "init", "--quiet", "--bare", "--initial-branch=main", _NAME)
        await self._git(self._served / _NAME, "config", "http.receivepack", "true")
        words = [b"commit refs/heads/main\ncommitter demo <demo@localhost> 1700000000 +0000\ndata 5\nfiles\n"]
        for name, content in files:
            words.append(f'M 100644 inline "{name}"\ndata {len(content)}\n'.encode() + content + b"\n")
        await self._git(self._served / _NAME, "fast-import", "--quiet", given=b"".join(words))

    async def file(self, branch: str, name: str) -> bytes:
        """A file as the repository has it."""
        return await self._git(self._served / _NAME, "show", f"refs/heads/{branch}:{name}")

    async def _git(self, folder: Path, *words: str, given: bytes = b"") -> bytes:
        status, out, errors = await _run(["git", *words], _ALONE, given, folder)
        if status:
            raise Failure(f"git {words[0]} failed: {errors.decode(errors='replace').strip()}")
        return out

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        variables = {
            **_ALONE,
            "GIT_PROJECT_ROOT": os.fspath(self._served),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }
        if "Content-Encoding" in request.headers and body[:2] == b"\x1f\x8b":
            variables["HTTP_CONTENT_ENCODING"] = "gzip"
        _, out, _ = await _run(["git", "http-backend"], variables, body, self._served)
        head, _, content = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=content)


async def _run(
    words: list[str], variables: Mapping[str, str], given: bytes, folder: Path
) -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", os.defpath)} | dict(variables),
        stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate(given or None)
    return process.returncode or 0, out, errors
