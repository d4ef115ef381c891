"""Shares as short text, for tables."""

from __future__ import annotations

from weft.cli.terminal.output import Styled, StyledText


def share_text(share: float) -> StyledText:
    """A share of failures as per cent; empty: nothing failed."""
    if not share:
        return ""
    text = f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"
    return Styled("<0.1%" if text == "0.0%" else text, "red" if share >= 0.01 else "yellow")
