"""Checks of the fields that requests of several services have."""

from __future__ import annotations

from weft.rpc import refusals

MAX_PAGE = 1000
MAX_REASON_CHARS = 1024


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
