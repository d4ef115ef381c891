"""The authority of a mesh: made once, and kept as a row of the store, so that all coordinators share it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from weft.coordinator.store.base import Store
from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.table_store import RowPut
from weft.rpc.process.extras import require
from weft.rpc.security.secret_text import SecretText
from weft.v1 import certificate_pb2

if TYPE_CHECKING:
    from weft.rpc.security.certificates import Names

KIND = "authority"
_KEY = "mesh"


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


async def authority_of(store: Store, passphrase: SecretText, now: datetime) -> Authority:
    """The authority in the store. Made, if there is none.

    Args:
        passphrase: encrypts the key in the store; empty: it is stored as it is.

    Raises:
        AuthorityError: its passphrase is another one, or it has ended.
        MissingExtra: the packages that make certificates are not installed.
        Unavailable: the store cannot be read or written.
    """
    require("security")
    while True:
        (row,) = await store.get_rows(KIND, [_KEY])
        if row is not None:
            return _opened(certificate_pb2.StoredAuthority.FromString(row.value), passphrase, now)
        # Another coordinator may do the same at this moment: the first one counts.
        made = _made(passphrase, now).SerializeToString()
        await store.put_rows([RowPut(KIND, _KEY, made, expected=0)])


def _made(passphrase: SecretText, now: datetime) -> certificate_pb2.StoredAuthority:
    from weft.rpc.security.certificates import locked_key, new_authority

    pair = new_authority("weft", now)
    key = locked_key(pair.key, passphrase.reveal().encode()) if passphrase else pair.key
    return certificate_pb2.StoredAuthority(certificate=pair.certificate, key=key, locked=bool(passphrase))


def _opened(stored: certificate_pb2.StoredAuthority, passphrase: SecretText, now: datetime) -> Authority:
    from weft.rpc.security.certificates import CertificateFault, unlocked_key

    if stored.locked and not passphrase:
        raise AuthorityError(
            "the key of the mesh's authority is encrypted in the store: set WEFT_CA_PASSPHRASE to the passphrase with which it was made"
        )
    key = stored.key
    if stored.locked:
        try:
            key = unlocked_key(key, passphrase.reveal().encode())
        except CertificateFault as fault:
            raise AuthorityError(f"cannot read the mesh's authority: {fault} (WEFT_CA_PASSPHRASE)") from None
    found = Authority(stored.certificate, key)
    if found.ends <= now:
        raise AuthorityError(
            f"the mesh's authority has ended on {found.ends:%Y-%m-%d}. Is this machine's clock right? It is valid for"
            " ten years, and cannot be changed in a running mesh: begin with a new store, and give everybody the new pin"
        )
    return found
