"""Branches of a workspace."""

from __future__ import annotations

from weft.services.repositories.git_caller import GitCaller
from weft.services.repositories.git_names import check_branch
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.remotes import check_size
from weft.services.repositories.v1 import repositories_pb2 as pb

MOST = 1000


async def switch(git: GitCaller, branch: str, start: str, *, create: bool) -> pb.SwitchBranchResponse:
    """Check out a branch.

    Raises:
        RepositoryError: NAME_REFUSED, BRANCH_NOT_FOUND, REVISION_NOT_FOUND, LOCAL_CHANGES.
    """
    check_branch(branch)
    head = await git.commit_at(f"refs/heads/{branch}")
    made = False
    if await git.branch() == branch:
        return pb.SwitchBranchResponse(head=head)
    if not head:
        head = await git.commit_at(f"refs/remotes/origin/{branch}")
        if not head:
            if not create:
                raise RepositoryError(
                    "BRANCH_NOT_FOUND", f"neither the workspace nor its remote has a branch {branch!r}"
                )
            head, made = await git.resolve(start), True
        words: tuple[str, ...] = ("switch", "--quiet", "--no-guess", "--no-track", "--create", branch, head)
    else:
        words = ("switch", "--quiet", "--no-guess", branch)
    await check_size(git, head)
    moved = await git.local(*words, codes=(0, 1, 128))
    if moved.code:
        if "would be overwritten" in moved.error or "commit your changes" in moved.error:
            raise RepositoryError("LOCAL_CHANGES", f"changed files would be overwritten: {moved.error[:300]}")
        raise RepositoryError("GIT_FAILED", f"git switch failed: {moved.error[-300:]}")
    return pb.SwitchBranchResponse(head=head, created=made)


async def list_branches(git: GitCaller) -> pb.ListBranchesResponse:
    """The branches, by name."""
    told = await git.local(
        "for-each-ref",
        f"--count={MOST + 1}",
        "--format=%(objectname) %(refname)",
        "refs/heads",
        "refs/remotes/origin",
    )
    current = await git.branch()
    found = []
    for line in told.out.decode(errors="replace").splitlines():
        head, _, ref = line.partition(" ")
        remote = ref.startswith("refs/remotes/")
        name = ref.removeprefix("refs/remotes/").removeprefix("refs/heads/")
        found.append(
            pb.Branch(name=name, head=head, remote=remote, checked_out=not remote and name == current)
        )
    return pb.ListBranchesResponse(branches=found[:MOST], truncated=len(found) > MOST)
