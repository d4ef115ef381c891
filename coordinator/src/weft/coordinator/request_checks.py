"""Checks of the fields that requests of several services have."""

from __future__ import annotations

import re
from collections.abc import Callable

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.task_policy.option_checks import RESERVED_IDS

MAX_PAGE = 1000
MAX_REASON_CHARS = 1024
_NAME = re.compile(r"[A-Za-z0-9._/-]{1,128}")
_RESERVED = "|".join(map(re.escape, RESERVED_IDS))
# Whether a caller may have a request id. Each submission asks, so it is the pattern's own.
is_callers_id = re.compile(rf"(?!{_RESERVED})[\x21-\x7e]{{1,128}}").fullmatch


def check_resource_name(name: str, field: str = "name") -> str:
    """Refuse a name that no schedule and no group can have; returns it.

    Raises:
        InvalidArgument
    """
    if not _NAME.fullmatch(name):
        raise refusals.invalid_field(
            f"{field} must be 1 to 128 letters, digits, '.', '_', '-' and '/'; this one has {len(name)} characters",
            field=field,
        )
    return name


def bad_request_id(field: str = "request_id") -> InvalidArgument:
    return refusals.invalid_field(
        f"{field} must be 1 to 128 printable ASCII characters without spaces, and not begin with"
        f" {', '.join(RESERVED_IDS)}: coordinators make such ids",
        field=field,
    )


def check_page_token(token: str, check_name: Callable[[str], object]) -> None:
    """Refuse a token that a listing by name has never given.

    Raises:
        InvalidArgument
    """
    if token:
        try:
            check_name(token)
        except InvalidArgument:
            raise refusals.invalid_field(
                "page_token is not one of this listing", field="page_token"
            ) from None


def check_page_size(size: int, most: int = MAX_PAGE) -> None:
    """Refuse a large page.

    Raises:
        InvalidArgument
    """
    if size > most:
        raise refusals.invalid_field(f"page_size is at most {most}", field="page_size")


def check_reason(reason: str, field: str = "reason") -> None:
    """Refuse a long reason.

    Raises:
        InvalidArgument
    """
    if len(reason) > MAX_REASON_CHARS:
        raise refusals.invalid_field(f"{field} is at most {MAX_REASON_CHARS} characters", field=field)
