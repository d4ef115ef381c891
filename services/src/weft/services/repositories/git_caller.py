"""Git in one workspace: every process with its lock, its bounds and its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from weft.services.repositories import git_failures
from weft.services.repositories.credentials import Credential
from weft.services.repositories.git_names import revision_refs
from weft.services.repositories.git_process import (
    DEFAULT_OUTPUT_BYTES,
    GitRunner,
    Output,
    RunBounds,
    secret_file,
)
from weft.services.repositories.git_settings import environment
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.remote_urls import RemoteUrl
from weft.services.repositories.settings import RepositoriesSettings
from weft.services.repositories.workspace_folders import Space


class Remote(NamedTuple):
    """A remote, and who this agent is there."""

    url: RemoteUrl
    credential: Credential | None


class GitCaller:
    """Runs git in a workspace whose lock is held.

    Args:
        lock: the open file that holds the lock.
    """

    def __init__(self, runner: GitRunner, settings: RepositoriesSettings, space: Space, lock: int) -> None:
        self.space = space
        self.settings = settings
        self._runner = runner
        self._lock = lock

    async def local(
        self,
        *words: str,
        given: bytes = b"",
        output_bytes: int = DEFAULT_OUTPUT_BYTES,
        cut: bool = False,
        codes: tuple[int, ...] = (0,),
        more: Mapping[str, str] | None = None,
    ) -> Output:
        """Run git, which talks to nobody.

        Args:
            codes: exit statuses that are answers.
            more: variables.

        Raises:
            RepositoryError: GIT_FAILED: another status; and those of the runner.
        """
        env = environment(os.environ, symlinks=self.settings.symlinks) | self._places()
        env.update(more or {})
        if words[0] == "init":
            # Without files yet.
            del env["GIT_WORK_TREE"]
        bounds = RunBounds(self.settings.timeout_s, output_bytes, cut)
        output = await self._runner.run(
            words, env=env, folder=self.space.tree, bounds=bounds, given=given, files=(self._lock,)
        )
        if output.code not in codes:
            raise git_failures.of_local(words[0], output.error, output.code)
        return output

    async def remote(self, remote: Remote, *words: str, codes: tuple[int, ...] = (0,)) -> Output:
        """Run git, which talks to the remote by the name "origin".

        Raises:
            RepositoryError: what the remote answers; TOO_LARGE; GIT_TOO_SLOW; CREDENTIAL_MISSING.
        """
        secret = remote.credential.read() if remote.credential is not None else None
        most = self.settings.max_repository_bytes
        bounds = RunBounds(self.settings.network_timeout_s, measure=self.space.size_bytes, most_bytes=most)
        with secret_file(secret, f"{remote.url.scheme}://{remote.url.host}") as (helper, files):
            env = environment(
                os.environ,
                schemes=(remote.url.scheme,),
                url=remote.url.text,
                helper=helper,
                symlinks=self.settings.symlinks,
            )
            output = await self._runner.run(
                words,
                env=env | self._places(),
                folder=self.space.tree,
                bounds=bounds,
                files=(self._lock, *files),
                guarded=True,
            )
        if output.code not in codes:
            error = output.error
            if secret is not None:
                # A remote may say what it was told.
                error = error.replace(secret.password, "[secret]")
            raise git_failures.of_remote(words[0], error, output.code)
        if self.space.size_bytes() > most:
            raise RepositoryError(
                "TOO_LARGE",
                f"the repository has more than {most} bytes (WEFT_REPOSITORIES_MAX_REPOSITORY_BYTES)",
            )
        return output

    async def resolve(self, revision: str) -> str:
        """The id of the commit that a revision of a caller means; "" means the checked out one.

        Raises:
            RepositoryError: NAME_REFUSED, REVISION_NOT_FOUND.
        """
        for ref in revision_refs(revision):
            found = await self.commit_at(ref)
            if found:
                return found
        raise RepositoryError("REVISION_NOT_FOUND", f"there is no revision {revision or 'HEAD'!r}")

    async def commit_at(self, ref: str) -> str:
        """The id of the commit at a ref of git's own form; empty: there is none."""
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        return (await self.local(*words, codes=(0, 1, 128))).out.decode().strip()

    async def branch(self) -> str:
        """The checked out branch, which may have no commit; empty: none is."""
        told = await self.local("symbolic-ref", "--quiet", "HEAD", codes=(0, 1))
        return told.out.decode(errors="replace").strip().removeprefix("refs/heads/")

    def _places(self) -> dict[str, str]:
        return {"GIT_DIR": os.fspath(self.space.git), "GIT_WORK_TREE": os.fspath(self.space.tree)}
