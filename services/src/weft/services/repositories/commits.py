"""Commits: made by git's plumbing, so that nothing of a repository is run, and a repeat gives the same commit.

    files ─► index ─► tree ─► commit, which no branch has ─► noted: key, commit ─► the branch, if it is still where it was

A call that is killed before the branch moves has changed nothing that counts: the next one makes another commit. A call that is killed afterwards is known by its note.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from weft.services.repositories.git_caller import GitCaller
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.v1 import repositories_pb2 as pb

_NO_COMMIT = "0" * 40


class _Note(NamedTuple):
    key: str
    commit: str


async def commit(
    git: GitCaller, request: pb.CommitRequest, key: str, paths: Sequence[str]
) -> pb.CommitResponse:
    """Commit.

    Args:
        key: by which a repeat is known.
        paths: checked ones. Empty: all.

    Raises:
        RepositoryError: NOTHING_TO_COMMIT, HEAD_MOVED.
    """
    head = await git.commit_at("HEAD")
    note = _read(_note_file(git))
    if note is not None and note.key == key and note.commit == head:
        return pb.CommitResponse(commit=head, existed=True)
    if request.expected_head and request.expected_head != head:
        raise RepositoryError(
            "HEAD_MOVED", f"the branch is at {head or 'no commit'}, not at {request.expected_head}"
        )
    branch = await git.branch()
    if not branch:
        raise RepositoryError("HEAD_MOVED", "no branch is checked out: switch to one")
    await git.local("add", "--all", "--", *(paths or ["."]))
    tree = (await git.local("write-tree")).out.decode().strip()
    if head and tree == (await git.local("rev-parse", f"{head}^{{tree}}")).out.decode().strip():
        raise RepositoryError("NOTHING_TO_COMMIT", "no file is changed")
    words = ["commit-tree", tree, *(["-p", head] if head else []), "-F", "-"]
    message = request.message.rstrip() + "\n"
    told = await git.local(*words, given=message.encode(), more=_people(git, request))
    made = told.out.decode().strip()
    _write(_note_file(git), _Note(key, made))
    await git.local("update-ref", "--no-deref", f"refs/heads/{branch}", made, head or _NO_COMMIT)
    return pb.CommitResponse(commit=made)


def _people(git: GitCaller, request: pb.CommitRequest) -> dict[str, str]:
    name, email = git.settings.author_name, git.settings.author_email
    when = f"{int(time.time())} +0000"
    return {
        "GIT_AUTHOR_NAME": request.author.name or name,
        "GIT_AUTHOR_EMAIL": request.author.email or email,
        "GIT_AUTHOR_DATE": when,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": email,
        "GIT_COMMITTER_DATE": when,
    }


def _note_file(git: GitCaller) -> Path:
    return git.space.git / "weft-commit.json"


def _read(path: Path) -> _Note | None:
    try:
        return _Note(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, note: _Note) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(note._asdict()))
    part.replace(path)
