"""URLs of remotes: which ones are taken. Pure.

A URL of a caller is never given to git as it came: what is taken is made anew of its parts. So there is no `ext::`, no `file://`, no path, no option that begins
with "-", no ssh, no user and no password in one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

from weft.services.repositories.problems import RepositoryError

# A name or an address, and a port: lower case.
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST = re.compile(rf"({_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\])(:[1-9][0-9]{{0,4}})?")
# Of a path: what hosts of repositories use. No "%": nothing is hidden.
_PATH = re.compile(r"/[A-Za-z0-9~_][A-Za-z0-9._~+-]*(/[A-Za-z0-9~_.+-]+)*/?")
_PORTS = {"https": ":443", "http": ":80"}


class RemoteUrl(NamedTuple):
    """A URL that is taken.

    Args:
        scheme: "https" or "http".
        host: with its port, unless that is the scheme's own.
        path: of the repository, without "/" at its ends, such as "acme/site.git".
    """

    scheme: str
    host: str
    path: str

    @property
    def text(self) -> str:
        return f"{self.scheme}://{self.host}/{self.path}"

    @property
    def repository(self) -> str:
        """The path without ".git": "acme/site"."""
        return self.path.removesuffix(".git")

    def same_as(self, other: RemoteUrl) -> bool:
        """Whether both are one repository."""
        return (self.host, self.repository) == (other.host, other.repository)


def check_url(url: str, hosts: Collection[str], plain_hosts: Collection[str]) -> RemoteUrl:
    """A URL of a caller as it is used.

    Args:
        hosts: those that may be used by https.
        plain_hosts: those that may be used by https and http.

    Raises:
        RepositoryError: NAME_REFUSED: it is no URL of a repository; REMOTE_REFUSED: the host is not allowed.
    """
    made = _parse(url)
    allowed = plain_hosts if made.scheme == "http" else (*hosts, *plain_hosts)
    if not any(matches(made.host, pattern) for pattern in allowed):
        if made.scheme == "http" and any(matches(made.host, pattern) for pattern in hosts):
            raise RepositoryError("REMOTE_REFUSED", f"{made.host} may be used by https:// alone")
        raise RepositoryError(
            "REMOTE_REFUSED",
            f"the host {made.host} is not allowed; allowed are {', '.join(sorted({*hosts, *plain_hosts})) or 'none'} (WEFT_REPOSITORIES_HOSTS)",
        )
    return made


def matches(host: str, pattern: str) -> bool:
    """Whether a host is the one of a setting, or below its "*."."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def _parse(url: str) -> RemoteUrl:
    refused = RepositoryError(
        "NAME_REFUSED", "the URL must be https://HOST/PATH, with letters, digits and ._~+- in the path"
    )
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise refused
    try:
        parts = urlsplit(url)
    except ValueError:
        raise refused from None
    if parts.scheme not in _PORTS:
        raise refused
    if "@" in parts.netloc:
        # Its text is not told: there may be a password in it.
        raise RepositoryError(
            "NAME_REFUSED",
            "a URL must have no user and no password: credentials are settings of the agent, and calls name them",
        )
    host = parts.netloc.lower().removesuffix(_PORTS[parts.scheme])
    components = parts.path.strip("/").split("/")
    if (
        parts.query
        or parts.fragment
        or "?" in url
        or "#" in url
        or not HOST.fullmatch(host)
        or not _PATH.fullmatch(parts.path)
        or any(each.startswith((".", "-")) for each in components)
    ):
        raise refused
    return RemoteUrl(parts.scheme, host, parts.path.strip("/"))
