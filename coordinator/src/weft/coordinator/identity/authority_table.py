"""The authority of a mesh: made once, and kept as a row of the store, so that all coordinators share it. And its change to another one.

begin:        both are trusted, the present one signs; members learn of the next one as they renew their certificates
sign_time:    the next one signs; with its certificate signed by the present one, it is verified by either
end_time:     the next one is the only one

Each step takes as long as certificates are valid: no valid certificate is without what its holder needs. Which step it is depends on the time
alone, so coordinators need not agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from weft.coordinator.store.base import Store
from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.table_store import RowPut
from weft.rpc.process.extras import require
from weft.rpc.security.secret_text import SecretText
from weft.rpc.times import seconds, timestamp
from weft.v1 import certificate_pb2

if TYPE_CHECKING:
    from weft.rpc.security.certificates import KeyPair, Names

KIND = "authority"
_KEY = "mesh"
_NAME = "weft"


class AuthorityError(StoreError):
    """The authority in the store cannot be used; the message says why, and what to do."""


class Authority:
    """A certificate and its private key as PEM. Does not print the key."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        from weft.rpc.security.certificates import KeyPair, facts

        self.certificate = certificate
        found = facts(certificate)
        self.ends = found.ends
        self.pin = f"sha256:{found.fingerprint}"
        self._pair = KeyPair(certificate, key)

    def sign(
        self, request: bytes, names: Names, now: datetime, lifetime: timedelta, *, serves: bool
    ) -> bytes:
        """A certificate for the key of a signing request, as PEM.

        Raises:
            CertificateFault: the request cannot be signed.
        """
        from weft.rpc.security.certificates import sign_request

        return sign_request(self._pair, request, names, now, lifetime, serves=serves)

    def crossed(self, other: bytes) -> bytes:
        """The certificate of another authority, signed by this one, as PEM."""
        from weft.rpc.security.certificates import crossed

        return crossed(self._pair, other)


class Authorities(NamedTuple):
    """The authorities at one moment.

    Attributes:
        signer: signs certificates, and its pin is told.
        trusted: by which certificates are verified, as PEM.
        chain: what coordinators send behind their own certificate, as PEM: by that, each good pin finds its authority.
        change: what is under way. None: nothing is.
        until: when that is other, by the store's clock.
    """

    signer: Authority
    trusted: bytes
    chain: bytes
    change: certificate_pb2.AuthorityChange | None = None
    until: float = math.inf


class AuthorityTable:
    """The row.

    Args:
        passphrase: encrypts the keys in the store; empty: they are stored as they are.
        date: this machine's time: others compare certificates with theirs.
    """

    def __init__(self, store: Store, passphrase: SecretText, date: Callable[[], datetime]) -> None:
        self._store = store
        self._passphrase = passphrase
        self._date = date

    async def load(self) -> Authorities:
        """The authorities now. The first one is made, if there is none; a change whose end has come is ended.

        Raises:
            AuthorityError: the passphrase is another one, or the authority has ended.
            MissingExtra: the packages that make certificates are not installed.
            Unavailable: the store cannot be read or written.
        """
        require("security")
        while True:
            stored, revision = await self._read()
            now = self._store.now()
            if stored is None:
                # Another coordinator may do the same at this moment: the first one counts.
                stored = self._stored(self._made())
            elif stored.HasField("next") and now >= seconds(stored.next.end_time):
                found = stored.next
                stored = certificate_pb2.StoredAuthority(
                    certificate=found.certificate, key=found.key, locked=found.locked
                )
            else:
                return self._opened(stored, now)
            await self._put(stored, revision)

    async def rotate(self, overlap_s: float) -> tuple[Authorities, certificate_pb2.AuthorityChange, bool]:
        """Begin to change the authority; returns what holds now, the change, and whether it was under way already.

        Raises:
            AuthorityError, Unavailable: as `load`.
        """
        while True:
            found = await self.load()
            if found.change is not None:
                return found, found.change, True
            stored, revision = await self._read()
            if stored is None or stored.HasField("next"):
                continue
            now, made = self._store.now(), self._made()
            change = certificate_pb2.AuthorityChange(
                pin=found.signer.pin,
                next_pin=Authority(made.certificate, made.key).pin,
                sign_time=timestamp(now + overlap_s),
                end_time=timestamp(now + 2 * overlap_s),
            )
            kept = self._stored(made)
            stored.next.CopyFrom(
                certificate_pb2.NextAuthority(
                    certificate=kept.certificate,
                    key=kept.key,
                    locked=kept.locked,
                    crossed=found.signer.crossed(made.certificate),
                    sign_time=change.sign_time,
                    end_time=change.end_time,
                )
            )
            if await self._put(stored, revision):
                return await self.load(), change, False

    async def _read(self) -> tuple[certificate_pb2.StoredAuthority | None, int]:
        (row,) = await self._store.get_rows(KIND, [_KEY])
        return (None, 0) if row is None else (_parsed(row.value), row.revision)

    async def _put(self, stored: certificate_pb2.StoredAuthority, expected: int) -> bool:
        """Whether nobody else has changed it meanwhile."""
        put = RowPut(KIND, _KEY, stored.SerializeToString(), expected=expected)
        return isinstance((await self._store.put_rows([put]))[0], int)

    def _made(self) -> KeyPair:
        from weft.rpc.security.certificates import new_authority

        return new_authority(_NAME, self._date())

    def _stored(self, pair: KeyPair) -> certificate_pb2.StoredAuthority:
        from weft.rpc.security.certificates import locked_key

        given = self._passphrase
        key = locked_key(pair.key, given.reveal().encode()) if given else pair.key
        return certificate_pb2.StoredAuthority(certificate=pair.certificate, key=key, locked=bool(given))

    def _opened(self, stored: certificate_pb2.StoredAuthority, now: float) -> Authorities:
        present = self._authority(stored)
        if not stored.HasField("next"):
            return self._checked(Authorities(present, present.certificate, present.certificate))
        found = stored.next
        coming = self._authority(found)
        change = certificate_pb2.AuthorityChange(
            pin=present.pin, next_pin=coming.pin, sign_time=found.sign_time, end_time=found.end_time
        )
        both = coming.certificate + present.certificate
        if now < (sign_at := seconds(found.sign_time)):
            return self._checked(Authorities(present, both, present.certificate, change, sign_at))
        # Its own certificate behind the one that the present authority has signed: verifiers take the first that fits.
        return self._checked(Authorities(coming, both, found.crossed + both, change, seconds(found.end_time)))

    def _authority(
        self, stored: certificate_pb2.StoredAuthority | certificate_pb2.NextAuthority
    ) -> Authority:
        from weft.rpc.security.certificates import CertificateFault, unlocked_key

        if not stored.locked:
            return Authority(stored.certificate, stored.key)
        if not self._passphrase:
            raise AuthorityError(
                "the key of the mesh's authority is encrypted in the store: set WEFT_CA_PASSPHRASE to the passphrase with which it was made"
            )
        try:
            key = unlocked_key(stored.key, self._passphrase.reveal().encode())
        except CertificateFault as fault:
            raise AuthorityError(f"cannot read the mesh's authority: {fault} (WEFT_CA_PASSPHRASE)") from None
        return Authority(stored.certificate, key)

    def _checked(self, found: Authorities) -> Authorities:
        if found.signer.ends <= self._date():
            raise AuthorityError(
                f"the mesh's authority has ended on {found.signer.ends:%Y-%m-%d}. Is this machine's clock right? It is valid for ten years, and"
                " is changed in time by `weft certs rotate`: begin with a new store, and give everybody the new pin"
            )
        return found


def _parsed(value: bytes) -> certificate_pb2.StoredAuthority:
    return certificate_pb2.StoredAuthority.FromString(value)
