"""What git's words mean: pure. Git says why something failed by its text alone, in English (LC_ALL=C)."""

from __future__ import annotations

import re

from weft.services.repositories.problems import RepositoryError

_UNAVAILABLE = (
    r"Could not resolve|Failed to connect|Couldn't connect|Connection (refused|reset|timed out)|timed out|Operation too slow|early EOF|RPC failed"
    r"|unexpected disconnect|hung up|returned error: (429|5\d\d)|Empty reply|SSL_ERROR_SYSCALL|GnuTLS recv error|transfer closed"
)
_REMOTE: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), reason, says)
    for pattern, reason, says in (
        (
            r"couldn't find remote ref|Remote branch .* not found",
            "BRANCH_NOT_FOUND",
            "the remote has no such branch",
        ),
        (
            r"Authentication failed|could not read (Username|Password)|returned error: 40[13]|terminal prompts disabled|Invalid username or",
            "REMOTE_REFUSED",
            "the remote does not accept the credential, or needs one",
        ),
        (
            r"returned error: 30\d|unable to update url base|redirect",
            "REMOTE_REFUSED",
            "the remote is elsewhere now, and redirects are not followed: use its new URL",
        ),
        (r"transport .* not allowed|Unsupported protocol", "REMOTE_REFUSED", "the protocol is not allowed"),
        (
            r"repository .* not found|returned error: 404",
            "REPOSITORY_NOT_FOUND",
            "the remote has no such repository, or does not show it",
        ),
        (
            _UNAVAILABLE,
            "REMOTE_UNAVAILABLE",
            "the remote does not answer as it should",
        ),
        (
            r"SSL certificate|certificate verif|server certificate",
            "REMOTE_REFUSED",
            "the certificate of the remote is not trusted",
        ),
    )
)
_TOO_LARGE = re.compile(r"attempting to allocate|out of memory|No space left|File too large", re.IGNORECASE)
_RETRY_S = 5.0


def of_remote(verb: str, error: str, code: int) -> RepositoryError:
    """The error of a process of git that talks to a remote."""
    for pattern, reason, says in _REMOTE:
        if pattern.search(error):
            retry_after_s = _RETRY_S if reason == "REMOTE_UNAVAILABLE" else None
            return RepositoryError(reason, f"{says}: {_last(error)}", retry_after_s=retry_after_s)
    return of_local(verb, error, code)


def of_local(verb: str, error: str, code: int) -> RepositoryError:
    """The error of any other process of git."""
    if _TOO_LARGE.search(error):
        return RepositoryError("TOO_LARGE", f"git {verb} needs more than it may have: {_last(error)}")
    how = f"ended by signal {-code}" if code < 0 else f"failed with status {code}"
    return RepositoryError("GIT_FAILED", f"git {verb} {how}: {_last(error)}")


def _last(error: str) -> str:
    """The lines that say it: those of errors, or the last ones."""
    lines = [line.strip() for line in error.replace("\r", "\n").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "! ", "!\t"))]
    return " | ".join((told or lines)[-4:]) or "it says nothing"
