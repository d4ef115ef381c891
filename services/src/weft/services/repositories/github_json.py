"""GitHub's JSON as messages: pure. What is missing, or of another type, is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from weft.services.repositories.v1 import pull_requests_pb2 as pb

_MOST_BYTES = 64 << 10
_VERDICTS = {
    "APPROVED": pb.VERDICT_APPROVE,
    "CHANGES_REQUESTED": pb.VERDICT_REQUEST_CHANGES,
    "COMMENTED": pb.VERDICT_COMMENT,
}
EVENTS = {
    pb.VERDICT_APPROVE: "APPROVE",
    pb.VERDICT_REQUEST_CHANGES: "REQUEST_CHANGES",
    pb.VERDICT_COMMENT: "COMMENT",
}


def pull_request_of(told: Any, *, whole: bool = True) -> pb.PullRequest:
    """A pull request.

    Args:
        whole: with its text.
    """
    merged = bool(_part(told, "merged_at")) or _part(told, "merged") is True
    closed = _part(told, "state") == "closed"
    made = pb.PullRequest(
        number=_number(told, "number"),
        url=_text(told, "html_url"),
        title=_text(told, "title"),
        body=_text(told, "body") if whole else "",
        state=pb.PULL_REQUEST_STATE_MERGED
        if merged
        else pb.PULL_REQUEST_STATE_CLOSED
        if closed
        else pb.PULL_REQUEST_STATE_OPEN,
        draft=_part(told, "draft") is True,
        head_branch=_text(told, "head", "ref"),
        head=_text(told, "head", "sha"),
        base_branch=_text(told, "base", "ref"),
        author=_text(told, "user", "login"),
    )
    _put_time(made.created_at, told, "created_at")
    _put_time(made.updated_at, told, "updated_at")
    return made


def review_of(told: Any) -> pb.Review:
    """A review."""
    made = pb.Review(
        id=_number(told, "id"),
        url=_text(told, "html_url"),
        author=_text(told, "user", "login"),
        verdict=_VERDICTS.get(_text(told, "state"), pb.VERDICT_UNSPECIFIED),
        body=_text(told, "body"),
        commit=_text(told, "commit_id"),
    )
    _put_time(made.submitted_at, told, "submitted_at")
    return made


def comment_of(told: Any) -> pb.Comment:
    """A comment."""
    made = pb.Comment(
        id=_number(told, "id"),
        url=_text(told, "html_url"),
        author=_text(told, "user", "login"),
        body=_text(told, "body"),
    )
    _put_time(made.created_at, told, "created_at")
    return made


def mark_of(key: str) -> str:
    """The mark of a key, which Markdown does not show: by it a repeat finds what it has written."""
    return f"<!-- weft:{hashlib.sha256(key.encode()).hexdigest()[:32]} -->"


def _part(told: Any, *path: str) -> Any:
    for each in path:
        told = told.get(each) if isinstance(told, Mapping) else None
    return told


def _text(told: Any, *path: str) -> str:
    value = _part(told, *path)
    if not isinstance(value, str):
        return ""
    return value.encode(errors="replace")[:_MOST_BYTES].decode(errors="ignore")


def _number(told: Any, *path: str) -> int:
    value = _part(told, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64 else 0


def _put_time(field: Timestamp, told: Any, *path: str) -> None:
    try:
        field.FromJsonString(_text(told, *path))
    except ValueError:
        field.Clear()
