"""Workspaces: found, locked, used, and forgotten when nobody uses them.

a call ─► lock of the workspace (shared: it reads) ─► what killed processes have left is removed ─► git ─► unlock
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from weft.agent import Agent
from weft.rpc.process.logs import get_logger
from weft.services.repositories import remotes
from weft.services.repositories.credentials import Credential, choose
from weft.services.repositories.git_caller import GitCaller, Remote
from weft.services.repositories.git_process import GitRunner
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.remote_urls import RemoteUrl, check_url
from weft.services.repositories.settings import RepositoriesSettings
from weft.services.repositories.v1 import repositories_pb2 as pb
from weft.services.repositories.workspace_folders import About, Folders, Space, clear_locks_of_git

_log = get_logger("weft.services.repositories")
_SWEEP_EVERY_S = 60.0
_THREADS = 4
T = TypeVar("T")


class Held(NamedTuple):
    """A workspace whose lock is held."""

    git: GitCaller
    space: Space
    about: About


class Workspaces:
    """All workspaces of an agent's folder.

    Args:
        agent: its id and its namespace are settled when it runs.
    """

    def __init__(self, settings: RepositoriesSettings, agent: Agent) -> None:
        self.settings = settings
        self.credentials: list[Credential] = settings.parsed_credentials()
        self._agent = agent
        self._runner = GitRunner(settings.max_git)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="repositories")

    @functools.cached_property
    def _folders(self) -> Folders:
        return Folders(self.settings.folder, self._agent.settings.namespace)

    async def sweep_in_background(self) -> None:
        """Remove what is not used, until the agent stops."""
        while True:
            with contextlib.suppress(OSError):
                removed = await self.in_thread(self._sweep)
                for name in removed:
                    _log.info("workspace.removed", workspace=name)
            await asyncio.sleep(min(_SWEEP_EVERY_S, self.settings.idle_ttl_s))

    def _sweep(self) -> list[str]:
        # A folder that nobody has used yet is not made.
        return (
            self._folders.sweep(self.settings.idle_ttl_s, time.time()) if self._folders.root.exists() else []
        )

    async def in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Run what blocks for a moment."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def url(self, text: str) -> RemoteUrl:
        """A URL, if this agent may use it.

        Raises:
            RepositoryError: NAME_REFUSED, REMOTE_REFUSED.
        """
        return check_url(text, self.settings.hosts, self.settings.plain_hosts)

    def remote_of(self, about: About) -> Remote:
        """The remote of a workspace, if this agent may use it still.

        Raises:
            RepositoryError: REMOTE_REFUSED, CREDENTIAL_MISSING.
        """
        url = self.url(about.url)
        return Remote(url, choose(self.credentials, about.credential, url))

    @contextlib.asynccontextmanager
    async def held(self, name: str, *, shared: bool = False) -> AsyncIterator[Held]:
        """Have a workspace, alone or with other readers.

        Raises:
            RepositoryError: WORKSPACE_NOT_FOUND, WORKSPACE_BUSY.
        """
        await self._open()
        if self._folders.find(name) is None:
            raise _missing(name)
        async with self._folders.locked(name, shared=shared, wait_s=self.settings.timeout_s) as lock:
            space = self._folders.find(name)
            if space is None:
                raise _missing(name)
            if not shared:
                await self.in_thread(clear_locks_of_git, space)
            os.utime(space.about_file)
            yield Held(GitCaller(self._runner, self.settings, space, lock), space, space.about())

    async def clone(self, request: pb.CloneRequest) -> pb.CloneResponse:
        """Make a workspace, or find the one that is there.

        Raises:
            RepositoryError: what the contract says.
        """
        url = self.url(request.url)
        credential = choose(self.credentials, request.credential, url)
        await self._open()
        async with self._folders.locked(
            request.workspace, shared=False, wait_s=self.settings.timeout_s
        ) as lock:
            there = self._folders.find(request.workspace)
            if there is not None:
                return await self._existing(there, url, lock)
            if len(self._folders.names()) >= self.settings.max_workspaces:
                raise RepositoryError(
                    "TOO_MANY_WORKSPACES",
                    f"this agent has {self.settings.max_workspaces} workspaces (WEFT_REPOSITORIES_MAX_WORKSPACES): delete one",
                )
            name = credential.name if credential is not None else ""
            with self._folders.making(request.workspace) as making:
                git = GitCaller(self._runner, self.settings, making, lock)
                about = About(
                    url.text, name, request.single_branch, request.branch, request.depth, time.time()
                )
                head = await remotes.clone(git, Remote(url, credential), about)
                made = await self.in_thread(self._folders.keep, making, about)
            return pb.CloneResponse(workspace=self.described(made), head=head)

    async def _existing(self, space: Space, url: RemoteUrl, lock: int) -> pb.CloneResponse:
        if not self.url(space.about().url).same_as(url):
            raise RepositoryError("WORKSPACE_EXISTS", f"the workspace {space.name} is of {space.about().url}")
        os.utime(space.about_file)
        head = await GitCaller(self._runner, self.settings, space, lock).commit_at("HEAD")
        return pb.CloneResponse(workspace=self.described(space), head=head, existed=True)

    async def delete(self, name: str) -> bool:
        """Delete a workspace. Returns whether there was one.

        Raises:
            RepositoryError: WORKSPACE_BUSY.
        """
        await self._open()
        async with self._folders.locked(name, shared=False, wait_s=self.settings.timeout_s):
            space = self._folders.find(name)
            if space is not None:
                await self.in_thread(self._folders.delete, space)
            return space is not None

    async def listed(self) -> list[pb.Workspace]:
        """All of them, by name."""
        await self._open()
        return await self.in_thread(self._describe_all)

    def _describe_all(self) -> list[pb.Workspace]:
        found = []
        for name in self._folders.names():
            space = self._folders.find(name)
            # It may be deleted meanwhile.
            with contextlib.suppress(OSError):
                if space is not None:
                    found.append(self.described(space))
        return found

    def described(self, space: Space) -> pb.Workspace:
        """A workspace as callers see it.

        Raises:
            OSError: it is gone.
        """
        about = space.about()
        made = pb.Workspace(
            name=space.name,
            url=about.url,
            credential=about.credential,
            agent_id=self._agent.id,
            folder=os.fspath(space.tree),
        )
        made.created_at.FromNanoseconds(int(about.created_at * 1e9))
        made.used_at.FromNanoseconds(int(space.used_at() * 1e9))
        return made

    async def _open(self) -> None:
        # Each time: it costs little, and somebody may have cleared the folder for temporary files.
        try:
            await self.in_thread(self._folders.open)
        except OSError as error:
            raise RepositoryError(
                "GIT_FAILED", f"the folder of workspaces cannot be used (WEFT_REPOSITORIES_FOLDER): {error}"
            ) from None


def _missing(name: str) -> RepositoryError:
    return RepositoryError(
        "WORKSPACE_NOT_FOUND",
        f"this agent has no workspace {name}: clone it, or give all calls of it the same session",
    )
