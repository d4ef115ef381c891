"""The TLS settings of a process: which files of certificates it uses. A plain value; `tls_files` reads the files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument

# In the place of a file: the authorities that the operating system trusts.
SYSTEM = "system"
VARIABLES: Mapping[str, str] = {
    "ca": "WEFT_TLS_CA",
    "cert": "WEFT_TLS_CERT",
    "key": "WEFT_TLS_KEY",
    "server_name": "WEFT_TLS_SERVER_NAME",
    "client_ca": "WEFT_TLS_CLIENT_CA",
    "pin": "WEFT_TLS_PIN",
    "join": "WEFT_TLS_JOIN",
}
_PIN = re.compile(r"sha256:(?P<digest>[0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates of a process, as paths of PEM files. They are read again when they have changed.

    Args:
        ca: the authorities that sign the certificates of servers; "system": those that the operating system trusts. With it,
            connections use TLS.
        cert: this process' own certificate, and those between it and its authority. Its ports use TLS with it, and it is
            shown to servers.
        key: the private key of `cert`.
        server_name: the name that the coordinator's certificate must have, if it is not the host of its address.
        client_ca: the authorities of callers: ports take only connections that show a certificate of one of them (mTLS).
        pin: "sha256:…", of the authority of a mesh that makes certificates by itself (`weft coordinator --ca auto`). Instead of files:
            the process joins with its token, and gets and renews its certificate by itself.
        join: where it joins: "host:port", or several, with commas. Default: the hosts of its coordinators, at the port after theirs.

    Raises:
        InvalidArgument: settings do not fit together.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""
    client_ca: str = ""
    pin: str = ""
    join: str = ""

    def __post_init__(self) -> None:
        found = misfit(**{each.name: getattr(self, each.name) for each in fields(self)})
        if found is not None:
            raise _unfit(*found)

    @property
    def dials(self) -> bool:
        """Whether connections use TLS."""
        return bool(self.ca or self.pin)

    @property
    def serves(self) -> bool:
        """Whether ports use TLS."""
        return bool(self.cert)


def misfit(
    ca: str = "",
    cert: str = "",
    key: str = "",
    server_name: str = "",
    client_ca: str = "",
    pin: str = "",
    join: str = "",
) -> tuple[str, str] | None:
    """A setting that does not fit the others, and why; None: all fit."""
    if pin:
        return _misfit_of_pin(pin, any((ca, cert, key, client_ca, server_name)))
    if join:
        return "join", "a mesh is joined by its pin: set the pin, too"
    if bool(cert) != bool(key):
        there, missing = ("cert", "key") if cert else ("key", "cert")
        return there, f"there is no {missing}: a certificate and its private key go together"
    if client_ca and not cert:
        return (
            "client_ca",
            "a port that wants its callers' certificates needs one of its own: set cert and key",
        )
    if server_name and not ca:
        return "server_name", "a server's name is checked only with TLS: set ca"
    return None


def _misfit_of_pin(pin: str, has_files: bool) -> tuple[str, str] | None:
    if not _PIN.fullmatch(pin):
        return "pin", 'a pin is "sha256:" and 64 hex digits: `weft certs pin` prints it'
    if has_files:
        return (
            "pin",
            "with a pin the mesh makes the certificates: leave ca, cert, key, client_ca and server_name out",
        )
    return None


def pinned(pin: str) -> bytes:
    """The SHA-256 in a pin.

    Raises:
        InvalidArgument: it is none.
    """
    found = _PIN.fullmatch(pin)
    if found is None:
        raise _unfit("pin", 'a pin is "sha256:" and 64 hex digits')
    return bytes.fromhex(found["digest"])


def from_environment(environment: Mapping[str, str] = os.environ) -> Tls | None:
    """The settings in the variables WEFT_TLS_*; None: none is set."""
    return tls_of(**{name: environment.get(variable, "") for name, variable in VARIABLES.items()})


def tls_of(**settings: str) -> Tls | None:
    """The settings as one value; None: all are empty.

    Raises:
        InvalidArgument: they do not fit together.
    """
    return Tls(**settings) if any(settings.values()) else None


def chosen(tls: Tls | bool | None) -> Tls | None:
    """The settings of a client that a program gives: True: the system's authorities; None: by the environment.

    Raises:
        InvalidArgument: they have no authorities, so that nothing can be verified.
    """
    if tls is None:
        found = from_environment()
    elif isinstance(tls, bool):
        found = Tls(ca=SYSTEM) if tls else None
    else:
        found = tls
    if found is not None and not found.dials:
        raise _unfit("ca", f'set the file of the authorities that sign servers\' certificates, or "{SYSTEM}"')
    return found


def _unfit(setting: str, why: str) -> InvalidArgument:
    return refusals.invalid_field(f"tls_{setting} ({VARIABLES[setting]}): {why}", field=f"tls_{setting}")
