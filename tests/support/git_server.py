"""A real git server for tests: git's own `http-backend` behind aiohttp, with basic auth, and with faults on demand.

async with GitServer(tmp_path) as server:
    server.create("acme/site", {"README.md": b"hello\n"})
    url = server.url("acme/site")
"""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from aiohttp import web

USER, PASSWORD = "bot", "s3cr3t-Xy99-of-the-bot"
_MOST_BYTES = 64 << 20


class GitServer:
    """The server of the repositories in a folder.

    Attributes:
        private: repositories that want USER and PASSWORD; pushes always do.
        status: answered to everything, unless 0.
        held: requests wait for it before they are answered, if it is set up.
        requests: method and path of each request.
        authorizations: the Authorization header of each request.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "served"
        self.folder.mkdir()
        self.private: set[str] = set()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.held: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.requests: list[str] = []
        self.authorizations: list[str] = []
        self._runner: web.AppRunner | None = None
        self.host = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.host = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.held is not None:
            self.held.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def url(self, name: str) -> str:
        return f"http://{self.host}/{name}.git"

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.git"

    def create(self, name: str, files: Mapping[str, bytes] | None = None) -> Path:
        """A repository, with one commit on main if there are files."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        git(path.parent, "init", "--quiet", "--bare", "--initial-branch=main", path.name)
        git(path, "config", "http.receivepack", "true")
        if files:
            self.commit(name, files)
        return path

    def commit(
        self, name: str, files: Mapping[str, bytes], *, branch: str = "main", message: str = "files"
    ) -> str:
        """Add files by a commit, as somebody else would. Returns its id."""
        path = self.path(name)
        lines: list[bytes] = [f"commit refs/heads/{branch}\n".encode()]
        lines.append(b"committer Ada <ada@example.com> 1700000000 +0000\n")
        lines.append(f"data {len(message.encode())}\n{message}\n".encode())
        if git(path, "rev-parse", "--quiet", "--verify", f"refs/heads/{branch}", codes=(0, 1)):
            lines.append(f"from refs/heads/{branch}^0\n".encode())
        for name_of, content in files.items():
            mode = "120000" if name_of.endswith("@") else "100644"
            lines.append(
                f'M {mode} inline "{name_of.removesuffix("@")}"\ndata {len(content)}\n'.encode()
                + content
                + b"\n"
            )
        git(path, "fast-import", "--quiet", "--force", given=b"".join(lines))
        return git(path, "rev-parse", f"refs/heads/{branch}")

    def head(self, name: str, branch: str = "main") -> str:
        return git(self.path(name), "rev-parse", "--quiet", "--verify", f"refs/heads/{branch}", codes=(0, 1))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        self.authorizations.append(request.headers.get("Authorization", ""))
        self.arrived.set()
        if self.held is not None:
            await self.held.wait()
        if self.status:
            return web.Response(status=self.status, headers=self.headers)
        name = request.path.partition(".git/")[0].strip("/")
        pushes = "git-receive-pack" in request.path_qs
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if (pushes or name in self.private) and request.headers.get("Authorization") != wanted:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        return await self._backend(request)

    async def _backend(self, request: web.Request) -> web.StreamResponse:
        """By CGI."""
        body = await request.read()
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": os.fspath(self.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": request.method,
                "PATH_INFO": request.path,
                "QUERY_STRING": request.query_string,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", "")
                if not body.startswith(b"0")
                else "",
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
                "REMOTE_USER": USER,
                "GIT_COMMITTER_NAME": "server",
                "GIT_COMMITTER_EMAIL": "server@localhost",
            },
        )
        out, _ = await process.communicate(body)
        head, _, content = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=content)


def git(folder: Path, *words: str, given: bytes = b"", codes: tuple[int, ...] = (0,)) -> str:
    """Git of a test itself: without anything of the user's."""
    env = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": "/nonexistent",
    }
    done = subprocess.run(["git", *words], cwd=folder, env=env, input=given, capture_output=True, check=False)
    assert done.returncode in codes, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace").strip()
