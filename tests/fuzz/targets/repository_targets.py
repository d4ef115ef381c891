"""What the repositories service reads: names and URLs of callers, settings, its own notes, and what git prints of repositories of strangers."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path

from tests.fuzz.target import DAMAGED, target, text_of
from weft.services.repositories import commits
from weft.services.repositories.changes import commits_of, parse_status
from weft.services.repositories.git_failures import of_remote
from weft.services.repositories.git_names import check_branch, check_path, revision_refs
from weft.services.repositories.github_json import comment_of, pull_request_of, review_of
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.remote_urls import check_url
from weft.services.repositories.settings import RepositoriesSettings
from weft.services.repositories.workspace_folders import Space


@target(
    "weft/services/repositories/remote_urls",
    "weft/services/repositories/git_names",
    seeds=lambda: [
        b"https://github.com/acme/site.git",
        b"origin/main",
        b"src/.git/config",
        b"ext::sh -c x",
        b"a" * 40,
    ],
)
def repository_names(data: bytes) -> None:
    text = text_of(data)
    with contextlib.suppress(RepositoryError):
        made = check_url(text, ("github.com", "*.example.com"), ())
        assert made.text.startswith("https://")
        assert check_url(made.text, ("github.com", "*.example.com"), ()) == made
    with contextlib.suppress(RepositoryError):
        assert not check_branch(text).startswith("-")
    with contextlib.suppress(RepositoryError):
        assert not any(each.startswith("-") for each in revision_refs(text))
    with contextlib.suppress(RepositoryError):
        root = Path("/workspace")
        assert os.path.normpath(root.joinpath(*check_path(text))).startswith("/workspace/")


@target(
    "weft/services/repositories/changes",
    "weft/services/repositories/git_failures",
    seeds=lambda: [
        b"# branch.oid "
        + b"a" * 40
        + b"\0# branch.head main\x001 .M N... 1 1 1 a b path\0u UU N... 1 2 3 4 a b c d\0? new\0",
        b"\0".join([b"c" * 40, b"p q", b"Ada", b"a@b", b"12", b"subject\n"]) + b"\0",
        b"fatal: unable to access 'x': The requested URL returned error: 503",
    ],
)
def git_output(data: bytes) -> None:
    parse_status(data)
    list(commits_of(data))
    assert len(of_remote("fetch", text_of(data), 128).status().SerializeToString()) < 8192


@target(
    "weft/services/repositories/github_json",
    seeds=lambda: [
        b'{"number": 1, "head": {"ref": "x"}, "user": {"login": "a"}, "created_at": "2026-11-30T12:00:00Z"}'
    ],
    raises=(ValueError, RecursionError),
)
def github_answer(data: bytes) -> None:
    told = json.loads(data)
    assert len(pull_request_of(told).SerializeToString()) < 1 << 20
    review_of(told)
    comment_of(told)


@target(
    "weft/services/repositories/settings",
    seeds=lambda: [b"bot=env:A@github.com/acme/*", b'{"bot": "file:/x@h"}', b'{"a":' * 500],
    raises=(ValueError,),
)
def repository_credentials(data: bytes) -> None:
    split = RepositoriesSettings._split_pairs(text_of(data))
    if isinstance(split, dict):
        RepositoriesSettings._check_credentials({str(key): str(value) for key, value in split.items()})


@target(
    "weft/services/repositories/commits",
    "weft/services/repositories/workspace_folders",
    seeds=lambda: [b'{"key": "k", "commit": "c"}', b'{"url": "u", "credential": ""}'],
    raises=DAMAGED,
)
def repository_notes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "about.json"
        file.write_bytes(data)
        commits._read(file)
        Space("w", Path(folder)).about()
