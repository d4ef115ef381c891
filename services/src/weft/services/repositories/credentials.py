"""Credentials: names in the agent's settings, whose secrets are read when they are used.

A credential belongs to one host, and to the repositories there whose paths match its pattern. Its secret is in a variable or a file of the agent, and goes from
there to git, through an open file that no other process has, or to GitHub's API, in a header. It is in no argument, no log, no message and no file of a workspace.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.remote_urls import HOST, RemoteUrl

_TEXT = re.compile(r"(?P<kind>env|file):(?P<place>[^@]+)@(?P<host>[^/@]+)(/(?P<pattern>[^@]+))?")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What GitHub and others take as the user of a token.
TOKEN_USER = "x-access-token"  # noqa: S105 - no secret
_MOST_BYTES = 4096


class CredentialError(ValueError):
    """A credential's setting is not as it must be."""


class Secret(NamedTuple):
    """What a remote gets. Never shown."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Secret(…)"


class Credential(NamedTuple):
    """One of them.

    Args:
        name: by which calls name it.
        kind: "env" or "file".
        place: the variable, or the path.
        host: the only one that gets it.
        pattern: of the paths of repositories, such as "acme/*".
    """

    name: str
    kind: str
    place: str
    host: str
    pattern: str

    @classmethod
    def parse(cls, name: str, text: str) -> Credential:
        """A credential of the settings.

        Raises:
            CredentialError: it is none. The text is not told: a secret may be in it.
        """
        found = _TEXT.fullmatch(text)
        if not _NAME.fullmatch(name):
            raise CredentialError(
                f"{name!r} is not the name of a credential: lower-case letters, digits, ._-"
            )
        if found is None or not HOST.fullmatch(found["host"].lower()):
            raise CredentialError(
                f"the credential {name} must be env:VARIABLE@HOST/PATTERN or file:PATH@HOST/PATTERN"
            )
        if found["kind"] == "env" and not _VARIABLE.fullmatch(found["place"]):
            raise CredentialError(f"the credential {name} does not name a variable")
        return cls(name, found["kind"], found["place"], found["host"].lower(), found["pattern"] or "*")

    def is_for(self, url: RemoteUrl) -> bool:
        """Whether a repository may get it."""
        return self.host == url.host and fnmatchcase(url.repository, self.pattern)

    def read(self) -> Secret:
        """Its secret.

        Raises:
            RepositoryError: CREDENTIAL_MISSING.
        """
        if self.kind == "env":
            text = os.environ.get(self.place, "")
            where = f"the variable {self.place}"
        else:
            where = f"the file {self.place}"
            try:
                with Path(self.place).open("rb") as file:
                    text = file.read(_MOST_BYTES + 1).decode()
            except (OSError, ValueError) as error:
                raise RepositoryError(
                    "CREDENTIAL_MISSING",
                    f"the credential {self.name} cannot be read from {where}: {type(error).__name__}",
                ) from None
        text = text.strip()
        if not text or len(text) > _MOST_BYTES or not text.isprintable():
            raise RepositoryError(
                "CREDENTIAL_MISSING", f"the credential {self.name}: {where} has no token and no USER:PASSWORD"
            )
        user, colon, password = text.partition(":")
        return Secret(user, password) if colon else Secret(TOKEN_USER, text)


def choose(credentials: Sequence[Credential], name: str, url: RemoteUrl) -> Credential | None:
    """The credential for a repository.

    Args:
        name: the one that is asked for. Empty: the first one for this repository, or none.

    Raises:
        RepositoryError: CREDENTIAL_MISSING: there is none of the name; REMOTE_REFUSED: it is for other repositories.
    """
    if not name:
        return next((each for each in credentials if each.is_for(url)), None)
    found = next((each for each in credentials if each.name == name), None)
    if found is None:
        raise RepositoryError(
            "CREDENTIAL_MISSING", f"this agent has no credential {name!r} (WEFT_REPOSITORIES_CREDENTIALS)"
        )
    if not found.is_for(url):
        raise RepositoryError(
            "REMOTE_REFUSED", f"the credential {name} is not for {url.host}/{url.repository}"
        )
    return found
