"""What a workspace has: its status, differences, commits and files."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Sequence

from weft.services.repositories.git_caller import GitCaller
from weft.services.repositories.git_names import check_path
from weft.services.repositories.v1 import repositories_pb2 as pb

MOST_CHANGED = 1000
DEFAULT_DIFF_BYTES = 256 << 10
DEFAULT_COMMITS = 20
DEFAULT_FILES = 1000
_MOST_MESSAGE_CHARS = 8192
# Of the list of files before the part that is asked for: a bound of the work.
_LIST_BYTES = 64 << 20
_FIELDS = ("%H", "%P", "%an", "%ae", "%at", "%B")
# Fields before the path, by the kind of an entry of `git status --porcelain=v2`: changed, in conflict, new.
_FIELDS_OF_STATUS = {b"1": 7, b"u": 9, b"?": 0}


async def status(git: GitCaller) -> pb.GetStatusResponse:
    """The status, without the workspace."""
    told = await git.local(
        *(
            "status",
            "--porcelain=v2",
            "--branch",
            "-z",
            "--untracked-files=all",
            "--ignore-submodules=all",
            "--no-renames",
        ),
        output_bytes=2 << 20,
        cut=True,
    )
    found = parse_status(told.out)
    if found.branch and found.head:
        ends = f"{found.head}...refs/remotes/origin/{found.branch}"
        counted = await git.local(
            "rev-list", "--left-right", "--count", "--end-of-options", ends, codes=(0, 128)
        )
        found.has_remote = not counted.code
        if found.has_remote:
            found.ahead, found.behind = map(int, counted.out.split())
    found.truncated = told.truncated or len(found.files) > MOST_CHANGED
    del found.files[MOST_CHANGED:]
    return found


def parse_status(output: bytes) -> pb.GetStatusResponse:
    """What `git status --porcelain=v2 --branch -z --no-renames` says: the branch, its commit, and all changed files. A last entry that is cut is left out."""
    found = pb.GetStatusResponse()
    for entry in output.split(b"\0")[:-1]:
        kind, _, rest = entry.partition(b" ")
        if kind == b"#":
            key, _, value = rest.partition(b" ")
            if key == b"branch.oid" and value != b"(initial)":
                found.head = shown(value)
            elif key == b"branch.head" and value != b"(detached)":
                found.branch = shown(value)
        elif kind in _FIELDS_OF_STATUS:
            fields = rest.split(b" ", _FIELDS_OF_STATUS[kind])
            found.files.append(pb.ChangedFile(path=shown(fields[-1]), change=_change(kind, fields[0])))
    return found


def _change(kind: bytes, letters: bytes) -> pb.FileChange:
    if kind == b"u":
        return pb.FILE_CHANGE_CONFLICTED
    if b"D" in letters:
        return pb.FILE_CHANGE_DELETED
    return pb.FILE_CHANGE_ADDED if kind == b"?" or b"A" in letters else pb.FILE_CHANGE_MODIFIED


async def diff(git: GitCaller, request: pb.GetDiffRequest) -> pb.GetDiffResponse:
    """A diff; new files are in it.

    Raises:
        RepositoryError: NAME_REFUSED, PATH_REFUSED, REVISION_NOT_FOUND.
    """
    paths = checked(request.paths)
    older = await git.resolve(getattr(request, "from"))
    options = (
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        f"--unified={request.context_lines or 3}",
        "--ignore-submodules=all",
        "--no-renames",
    )
    most = request.max_bytes or DEFAULT_DIFF_BYTES
    if request.to:
        newer = await git.resolve(request.to)
        told = await git.local("diff", *options, older, newer, "--", *paths, output_bytes=most, cut=True)
    else:
        # New files are known to an index of this call alone.
        index = git.space.git / f"weft-index-{secrets.token_hex(8)}"
        try:
            if (git.space.git / "index").exists():
                shutil.copyfile(git.space.git / "index", index)
            more = {"GIT_INDEX_FILE": os.fspath(index)}
            await git.local("add", "--all", "--intent-to-add", more=more)
            told = await git.local(
                "diff", *options, older, "--", *paths, output_bytes=most, cut=True, more=more
            )
        finally:
            index.unlink(missing_ok=True)
    return pb.GetDiffResponse(diff=shown(told.out), truncated=told.truncated)


async def list_commits(git: GitCaller, request: pb.ListCommitsRequest) -> pb.ListCommitsResponse:
    """Commits, the newest first.

    Raises:
        RepositoryError: NAME_REFUSED, PATH_REFUSED, REVISION_NOT_FOUND.
    """
    paths = checked(request.paths)
    most = request.max_commits or DEFAULT_COMMITS
    ends = [await git.resolve(request.revision)]
    if request.without:
        ends.append(f"^{await git.resolve(request.without)}")
    told = await git.local(
        *(
            "log",
            "-z",
            f"--max-count={most + 1}",
            "--no-mailmap",
            "--no-color",
            f"--format=tformat:{'%x00'.join(_FIELDS)}",
        ),
        *ends,
        "--",
        *paths,
        output_bytes=8 << 20,
        cut=True,
    )
    found = list(commits_of(told.out))
    return pb.ListCommitsResponse(commits=found[:most], truncated=told.truncated or len(found) > most)


def commits_of(output: bytes) -> Iterable[pb.CommitInfo]:
    """The commits of `git log -z`: as many fields each as the format has. A last one that is cut is left out."""
    fields = output.split(b"\0")
    for start in range(0, len(fields) - len(_FIELDS), len(_FIELDS)):
        commit, parents, name, email, at, message = fields[start : start + len(_FIELDS)]
        made = pb.CommitInfo(
            id=shown(commit),
            parents=shown(parents).split(),
            author=pb.Person(name=shown(name), email=shown(email)),
            message=shown(message).rstrip("\n")[:_MOST_MESSAGE_CHARS],
        )
        # A hostile commit may be of any time.
        if at.isdigit() and int(at) < 1 << 37:
            made.authored_at.FromSeconds(int(at))
        yield made


async def list_files(git: GitCaller, request: pb.ListFilesRequest) -> pb.ListFilesResponse:
    """Files, by path.

    Raises:
        RepositoryError: PATH_REFUSED.
    """
    folder = checked([request.folder]) if request.folder else []
    most = request.max_files or DEFAULT_FILES
    told = await git.local(
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
        "--",
        *folder,
        output_bytes=_LIST_BYTES,
        cut=True,
    )
    gone = await git.local("ls-files", "-z", "--deleted", "--", *folder, output_bytes=_LIST_BYTES, cut=True)
    after = request.after.encode(errors="replace")
    # The last one may be cut.
    found = set(told.out.split(b"\0")[:-1]) - set(gone.out.split(b"\0"))
    paths = sorted(each for each in found if each > after)
    return pb.ListFilesResponse(
        paths=[shown(each) for each in paths[:most]], truncated=told.truncated or len(paths) > most
    )


def checked(paths: Sequence[str]) -> list[str]:
    """Paths of a request as git gets them."""
    return ["/".join(check_path(each)) for each in paths]


def shown(text: bytes) -> str:
    return text.decode(errors="replace")
