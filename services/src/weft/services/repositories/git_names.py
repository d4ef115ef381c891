"""Names of branches, revisions and paths: which ones are taken. Pure.

Git decides the rest: what is taken here is a part of what git takes, and is never an option, a range, or a path of git's own.
"""

from __future__ import annotations

import re
import unicodedata

from weft.services.repositories.problems import RepositoryError

_MOST_REF_CHARS = 200
# Git's own rules (git check-ref-format), and no "-" in front.
_NOT_IN_REFS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-./@]|[./]$")
COMMIT_ID = re.compile(r"[0-9a-f]{7,64}")
_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_COMPONENT_BYTES = 255
# Names that mean ".git" on some file system: short names of Windows, and characters that are ignored there or on a Mac.
_GIT_FOLDER = re.compile(r"(\.git|git~[0-9]+)[ .]*(:.*)?", re.IGNORECASE)


def check_branch(name: str) -> str:
    """A branch's name as it came.

    Raises:
        RepositoryError: NAME_REFUSED.
    """
    if (
        not name
        or len(name) > _MOST_REF_CHARS
        or _NOT_IN_REFS.search(name)
        or not name.isprintable()
        or name.upper() in {"HEAD", "FETCH_HEAD", "ORIG_HEAD", "MERGE_HEAD"}
        or name.startswith(("refs/", "origin/"))
        or _FULL_ID.fullmatch(name)
    ):
        raise RepositoryError("NAME_REFUSED", f"{name[:80]!r} is not the name of a branch")
    return name


def revision_refs(name: str) -> tuple[str, ...]:
    """What a revision of a caller may mean, in git's words, the first one that exists counts.

    Raises:
        RepositoryError: NAME_REFUSED: it is neither a branch, nor "origin/BRANCH", nor the id of a commit.
    """
    if not name:
        return ("HEAD",)
    if name.startswith("origin/"):
        return (f"refs/remotes/origin/{check_branch(name.removeprefix('origin/'))}",)
    if COMMIT_ID.fullmatch(name):
        return (name,) if _FULL_ID.fullmatch(name) else (f"refs/heads/{name}", name)
    return (f"refs/heads/{check_branch(name)}",)


def check_path(path: str) -> tuple[str, ...]:
    """The components of a path in a workspace.

    Raises:
        RepositoryError: PATH_REFUSED: it leads out of the workspace, is git's own, or is no path.
    """
    components = tuple(path.split("/"))
    for each in components:
        if not each or each in {".", ".."} or len(each.encode(errors="replace")) > _MOST_COMPONENT_BYTES:
            raise _refused(path, "it must be relative, without empty parts, `.` and `..`")
        if "\\" in each or any(ord(char) < 0x20 or ord(char) == 0x7F for char in each):
            raise _refused(path, "it has a character that paths must not have")
        try:
            each.encode()
        except UnicodeEncodeError:
            raise _refused(path, "it has a character that paths must not have") from None
        if is_git_folder(each):
            raise _refused(path, "it is one of git's own")
    return components


def is_git_folder(component: str) -> bool:
    """Whether a name is ".git" for some file system."""
    ignored = "".join(char for char in component if unicodedata.category(char) != "Cf")
    return _GIT_FOLDER.fullmatch(unicodedata.normalize("NFKC", ignored)) is not None


def _refused(path: str, why: str) -> RepositoryError:
    return RepositoryError("PATH_REFUSED", f"the path {path[:120]!r} is not taken: {why}")
