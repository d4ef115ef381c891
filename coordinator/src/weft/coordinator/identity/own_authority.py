"""The certificates of a coordinator that makes them by itself (`--ca auto`): its own, and those of who joins.

    made ─► a placeholder, so that ports can be bound ─► the store is open: the authority, the own certificate ─► renewed by `keep_house`,
                                                                                                                also for another authority

The own certificate is in files, as any other's: ports and connections follow them.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from weft.coordinator.identity.authority_table import Authorities, Authority, AuthorityError, AuthorityTable
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.membership.identity_folder import IdentityFolder
from weft.rpc.process.extras import require
from weft.rpc.process.logs import get_logger
from weft.rpc.security import mesh_names
from weft.rpc.security.process_tls import files_of
from weft.rpc.security.secret_text import SecretText
from weft.v1 import certificate_pb2

if TYPE_CHECKING:
    from weft.rpc.security.certificates import Names

log = get_logger(__name__)

# A certificate is renewed after so much of its life.
RENEWED_AT = 2 / 3
# A change of the authority that cannot be followed is tried again after this time.
FOLLOW_AGAIN_S = 30.0
_ANY_ADDRESS = ("0.0.0.0", "::", "")


class MadeCertificate(NamedTuple):
    """A certificate as PEM, when it ends, and how much of its life there is before it should be renewed."""

    certificate: bytes
    ends: datetime
    renew_after_s: float


class OwnAuthority:
    """The authority at one coordinator.

    Args:
        now: seconds since 1970, by this machine's clock: others compare certificates with theirs.

    Raises:
        MissingExtra: the packages that make certificates are not installed.
    """

    def __init__(
        self, store: Store, settings: CoordinatorSettings, now: Callable[[], float] = time.time
    ) -> None:
        require("security")
        given = settings.ca_passphrase
        passphrase = SecretText(given.get_secret_value() if given is not None else "")
        self._store = store
        self._table = AuthorityTable(store, passphrase, self._date)
        self._settings = settings
        self._now = now
        self._folder = IdentityFolder()
        self._authorities: Authorities | None = None
        # Another coordinator has changed the row.
        self._changed = False
        self._follow_at_s = 0.0
        self._renew_at_s = 0.0
        # Called when another authority signs.
        self.pin_changed: Callable[[], None] = _nothing
        # The longest life of a certificate.
        self.lifetime_s = settings.certificate_ttl_s
        self._placeholder()
        # Its ports want certificates of this authority, and its connections verify agents by it.
        self.tls = self._folder.tls(serves=True)
        self._files = files_of(self.tls)

    @property
    def present(self) -> Authority:
        """The authority.

        Raises:
            FailedPrecondition: NO_AUTHORITY: it is not read yet.
        """
        return self.known.signer

    @property
    def known(self) -> Authorities:
        """The authority, and another one while it is changed.

        Raises:
            FailedPrecondition: NO_AUTHORITY: it is not read yet.
        """
        if self._authorities is None:
            raise refusals.no_authority()
        return self._authorities

    async def start(self) -> None:
        """Read or make the authority. The store is open, and the ports do not listen yet.

        Raises:
            AuthorityError: it cannot be used.
            Unavailable: the store cannot be read or written.
        """
        if not self._settings.shared_store:
            _protect(Path(self._settings.store))
        self._authorities = await self._table.load()
        self._renew()

    def row_changed(self) -> None:
        """Some coordinator has begun or ended a change of the authority."""
        self._changed = True

    async def keep_house(self) -> None:
        """Follow a change of the authority, and renew the own certificate when it is time.

        Raises:
            Unavailable: the store cannot be read or written.
        """
        if self._authorities is None:
            return
        due = self._changed or self._store.now() >= self._authorities.until
        if due and self._now() >= self._follow_at_s:
            self._changed = True
            try:
                self._take(await self._table.load())
                self._changed = False
            except AuthorityError as error:
                # What else is kept here must go on.
                self._follow_at_s = self._now() + FOLLOW_AGAIN_S
                log.error(  # noqa: TRY400  # its message says all
                    "tls.authority_not_followed", error=str(error), effect="the one that was known is used on"
                )
        if self._now() >= self._renew_at_s:
            self._renew()

    async def rotate(self, overlap_s: float | None) -> tuple[certificate_pb2.AuthorityChange, bool]:
        """Begin to change the authority. Returns the change, and whether it was under way already.

        Args:
            overlap_s: how long each of its steps takes. None: as long as certificates are valid.

        Raises:
            Unavailable: the store cannot be read or written.
        """
        found, change, existed = await self._table.rotate(self.lifetime_s if overlap_s is None else overlap_s)
        self._take(found)
        return change, existed

    def _take(self, found: Authorities) -> None:
        before, self._authorities = self.known, found
        if before.trusted == found.trusted and before.signer.pin == found.signer.pin:
            return
        log.info("tls.authority_changed", pin=found.signer.pin)
        self._renew()
        if before.signer.pin != found.signer.pin:
            self.pin_changed()

    def sign(
        self, request: bytes, names: Names, lifetime_s: float = math.inf, *, serves: bool
    ) -> MadeCertificate:
        """A certificate for the key of a signing request.

        Args:
            lifetime_s: at most as long as the settings say.

        Raises:
            InvalidArgument: the request cannot be signed.
            FailedPrecondition: NO_AUTHORITY.
        """
        from weft.rpc.security.certificates import CertificateFault

        now = self._date()
        ends = min(now + timedelta(seconds=min(lifetime_s, self.lifetime_s)), self.present.ends)
        try:
            made = self.present.sign(request, names, now, ends - now, serves=serves)
        except CertificateFault as fault:
            raise refusals.invalid_field(str(fault), field="signing_request") from None
        return MadeCertificate(made, ends, (ends - now).total_seconds() * RENEWED_AT)

    def close(self) -> None:
        """Remove the files."""
        self._folder.remove()

    def _renew(self) -> None:
        from weft.rpc.security.certificates import PrivateKey

        key = PrivateKey()
        made = self.sign(key.request(), _names(self._settings), serves=True)
        # With the authority in the chain, who joins gets to know it in the handshake.
        known = self.known
        self._folder.put(made.certificate + known.chain, key.pem, known.trusted)
        self._renew_at_s = self._now() + made.renew_after_s
        self._files.read_now()
        log.info("tls.certificate_issued", ends=f"{made.ends:%Y-%m-%d %H:%M} UTC", pin=self.present.pin)

    def _placeholder(self) -> None:
        """Files that nobody trusts: the port is bound before the store is open."""
        from weft.rpc.security.certificates import PrivateKey, new_authority, sign_request

        pair, key = new_authority("placeholder", self._date(), 1.0), PrivateKey()
        names = _names(self._settings)
        made = sign_request(pair, key.request(), names, self._date(), timedelta(days=1), serves=True)
        self._folder.put(made, key.pem, pair.certificate)

    def _date(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def _nothing() -> None:
    """Nobody wants to know."""


def _names(settings: CoordinatorSettings) -> Names:
    """The names in a coordinator's certificate. weft's own callers verify it by the first one; the rest is for other clients."""
    from weft.rpc.security.certificates import Names

    host = settings.listen.rpartition(":")[0].strip("[]")
    wanted = [socket.gethostname(), "localhost", "127.0.0.1", "::1", host, *settings.ca_names]
    hosts = [each for each in dict.fromkeys(wanted) if each not in _ANY_ADDRESS]
    ips = [each for each in hosts if _is_ip(each)]
    return Names(
        "coordinator",
        [mesh_names.COORDINATOR, *(each for each in hosts if each not in ips)],
        ips,
        [mesh_names.COORDINATOR_URI],
    )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _protect(store: Path) -> None:
    """Keep other users of this machine from reading the authority's key in the store's files."""
    for path in (store.with_name(f"{store.name}{end}") for end in ("", "-wal", "-shm")):
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
