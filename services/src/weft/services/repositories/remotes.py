"""What goes to and comes from a remote: a clone, a fetch, a push.

    clone: an empty repository ─► branches of the remote ─► fetched ─► measured ─► checked out

A clone has no file of git's own beside the objects and the refs: its remote is named anew for every call, from what the service keeps.
"""

from __future__ import annotations

import re

from weft.services.repositories.git_caller import GitCaller, Remote
from weft.services.repositories.git_failures import of_remote
from weft.services.repositories.git_names import check_branch
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.workspace_folders import About

_SYMREF = re.compile(rb"ref: refs/heads/([^\t\n]+)\tHEAD")
_REJECTED = re.compile(r"^!\t\S+\t\[(?P<kind>[^\]]+)\]( \((?P<why>.*)\))?$", re.MULTILINE)
_TREE_LINE = re.compile(rb"(?P<kind>\w+) \S+\s+(?P<size>\d+|-)\t")
_UNBORN = "main"


async def clone(git: GitCaller, remote: Remote, about: About) -> str:
    """Fill an empty folder. Returns the checked out commit; empty: the repository is empty.

    Raises:
        RepositoryError: BRANCH_NOT_FOUND, TOO_LARGE, and what the remote answers.
    """
    await git.local("init", "--quiet", "--bare", "--template=")
    told = await git.remote(remote, "ls-remote", "--symref", "origin", "HEAD")
    named = _SYMREF.search(told.out)
    default = named[1].decode(errors="replace") if named else ""
    wanted = check_branch(about.branch or default or _UNBORN)
    await git.local("symbolic-ref", "HEAD", f"refs/heads/{wanted}")
    if not told.out and not about.branch:
        # There is no commit yet.
        return ""
    await fetch(git, remote, about, wanted)
    head = await git.commit_at(f"refs/remotes/origin/{wanted}")
    if not head:
        raise RepositoryError("BRANCH_NOT_FOUND", f"the remote has no branch {wanted!r}")
    await check_size(git, head)
    await git.local("update-ref", f"refs/heads/{wanted}", head)
    await git.local("reset", "--quiet", "--hard", "--no-recurse-submodules")
    return head


async def fetch(git: GitCaller, remote: Remote, about: About, branch: str) -> None:
    """Fetch the branches of the remote, or `branch` alone if the workspace has only one; those that the remote has no more are forgotten.

    Raises:
        RepositoryError: what the remote answers.
    """
    words = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--prune",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
    ]
    if about.depth:
        words.append(f"--depth={about.depth}")
    words.append("origin")
    if about.single_branch and branch:
        words.append(f"+refs/heads/{branch}:refs/remotes/origin/{branch}")
    try:
        await git.remote(remote, *words)
    except RepositoryError as error:
        if error.reason != "BRANCH_NOT_FOUND":
            raise
        await git.local("update-ref", "-d", f"refs/remotes/origin/{branch}")


async def follow(git: GitCaller, *, discard_changes: bool) -> str:
    """Move the checked out branch to the remote's, as it was fetched. Returns the commit.

    Raises:
        RepositoryError: BRANCH_NOT_FOUND, NOT_FAST_FORWARD, LOCAL_CHANGES, TOO_LARGE.
    """
    branch = await git.branch()
    theirs = await git.commit_at(f"refs/remotes/origin/{branch}")
    if not theirs:
        raise RepositoryError("BRANCH_NOT_FOUND", f"the remote has no branch {branch!r}")
    ours = await git.commit_at("HEAD")
    await check_size(git, theirs)
    if discard_changes or not ours:
        await git.local("reset", "--quiet", "--hard", "--no-recurse-submodules", theirs)
        return theirs
    if ours == theirs or await _contains(git, ours, theirs):
        return ours
    if not await _contains(git, theirs, ours):
        raise RepositoryError(
            "NOT_FAST_FORWARD",
            f"the branch {branch} has commits that the remote has not, and the other way round: push to another branch, or discard_changes",
        )
    moved = await git.local(
        "merge", "--quiet", "--ff-only", "--no-verify-signatures", theirs, codes=(0, 1, 2, 128)
    )
    if moved.code:
        raise RepositoryError("LOCAL_CHANGES", f"changed files would be overwritten: {moved.error[:300]}")
    return theirs


async def push(git: GitCaller, remote: Remote, branch: str, replace: str) -> bool:
    """Push a branch. Returns whether the remote had it already.

    Raises:
        RepositoryError: BRANCH_NOT_FOUND, NOT_FAST_FORWARD, PUSH_REJECTED, and what the remote answers.
    """
    if not await git.commit_at(f"refs/heads/{branch}"):
        raise RepositoryError("BRANCH_NOT_FOUND", f"the workspace has no branch {branch!r} with a commit")
    ref = f"refs/heads/{branch}"
    words = ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"]
    if replace:
        words.append(f"--force-with-lease={ref}:{replace}")
    output = await git.remote(remote, *words, "origin", f"{ref}:{ref}", codes=(0, 1, 128))
    text = output.out.decode(errors="replace")
    if output.code == 0:
        return "[up to date]" in text
    rejected = _REJECTED.search(text)
    if rejected is None:
        raise of_remote("push", output.error, output.code)
    why = rejected["why"] or rejected["kind"]
    if rejected["kind"] == "remote rejected":
        raise RepositoryError(
            "PUSH_REJECTED", f"the remote does not take {branch}: {why}. {output.error[-300:]}"
        )
    raise RepositoryError(
        "NOT_FAST_FORWARD",
        f"the remote's {branch} is not where the workspace expects it ({why}): update the workspace first",
    )


async def check_size(git: GitCaller, commit: str) -> None:
    """Check that the files of a commit may be checked out: what is small in a pack may be huge outside of it.

    Raises:
        RepositoryError: TOO_LARGE.
    """
    most_files, most_bytes = git.settings.max_files, git.settings.max_repository_bytes
    # The format has no paths: a line is short, so that the bound of the output is one of files.
    listed = await git.local(
        "ls-tree",
        "-r",
        "-z",
        "--format=%(objecttype) %(objectmode) %(objectsize)%x09",
        commit,
        output_bytes=most_files * 40,
        cut=True,
    )
    sizes = [int(found["size"]) for found in _TREE_LINE.finditer(listed.out) if found["kind"] == b"blob"]
    if listed.truncated or len(sizes) > most_files:
        raise RepositoryError(
            "TOO_LARGE", f"the commit has more than {most_files} files (WEFT_REPOSITORIES_MAX_FILES)"
        )
    if sum(sizes) > most_bytes:
        raise RepositoryError(
            "TOO_LARGE",
            f"the files have {sum(sizes)} bytes, more than {most_bytes} (WEFT_REPOSITORIES_MAX_REPOSITORY_BYTES)",
        )


async def _contains(git: GitCaller, newer: str, older: str) -> bool:
    return (await git.local("merge-base", "--is-ancestor", older, newer, codes=(0, 1))).code == 0
