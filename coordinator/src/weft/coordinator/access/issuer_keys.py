"""The keys of an issuer: read from a file, or fetched from a URL, kept, and read again when the issuer has changed them.

    a token names a key ─┬─ known, and the set is young ─────────► the key
                         ├─ known, and the set is old ───────────► the key; a new set is fetched meanwhile
                         └─ not known ── fetched, at most once in ten seconds ──► the key, or a refusal

An issuer that cannot be reached leaves its last keys in force for a day.
"""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

from weft.coordinator.access.jwt_issuer import JwtIssuer
from weft.coordinator.access.jwt_signature import JwtFault, SigningKey, SigningKeys, read_keys
from weft.rpc import refusals
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# A set is fetched again when it is so old.
OLD_S = 300.0
# A set that could not be fetched again is used for so long: an issuer's outage is not the mesh's.
KEPT_S = 86400.0
# For keys that are not known, a set is fetched at most so often, whatever callers show.
PAUSE_S = 10.0
MAX_FILE_BYTES = 1024 * 1024


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(self, issuer: JwtIssuer) -> None:
        self._issuer = issuer
        self._keys = SigningKeys()
        self._read_at_s = -math.inf
        self._tried_at_s = -math.inf
        self._file_state: tuple[int, ...] = ()
        self._fetching: asyncio.Task[None] | None = None
        # Why they cannot be read now; empty: they can.
        self.fault = ""

    async def find(self, key_id: str) -> SigningKey:
        """The key with an id, or the only one if the token names none.

        Raises:
            JwtFault: the issuer has no such key.
            Unavailable: its keys cannot be read.
        """
        if self._is_file:
            self._read_file(Path(self._issuer.keys))
        else:
            await self._refresh(known=self._keys.find(key_id) is not None)
        if not self._keys:
            raise refusals.issuer_unavailable(self._issuer.name)
        found = self._keys.find(key_id)
        if found is None:
            named = "its key (kid)" if key_id else "it names no key (kid), and more than one"
            raise JwtFault(f"{named} is not among the keys of issuer {self._issuer.name}")
        return found

    @property
    def _is_file(self) -> bool:
        return bool(self._issuer.keys) and "://" not in self._issuer.keys

    def _read_file(self, path: Path) -> None:
        try:
            found = path.stat()
            state = found.st_mtime_ns, found.st_size, found.st_ino
            if state == self._file_state:
                return
            # Before it is read: a wrong file is mentioned once for each of its states.
            self._file_state = state
            with path.open("rb") as file:
                self._take(read_keys(file.read(MAX_FILE_BYTES)))
        except OSError as error:
            self._failed(f"cannot read {path}: {error.strerror}")
        except JwtFault as error:
            self._failed(f"{path}: {error}")

    async def _refresh(self, *, known: bool) -> None:
        now_s = time.monotonic()
        if now_s - self._read_at_s >= KEPT_S:
            self._keys = SigningKeys()
            known = False
        if known and now_s - self._read_at_s < OLD_S:
            return
        if self._fetching is None and now_s - self._tried_at_s >= PAUSE_S:
            self._tried_at_s = now_s
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        if not known and self._fetching is not None:
            # A caller that goes away must not end it for the others.
            await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        # Most coordinators fetch nothing.
        from weft.coordinator.access.key_fetch import FetchFault, fetched_keys

        try:
            self._take(await fetched_keys(self._issuer))
        except FetchFault as fault:
            self._failed(str(fault))
        except Exception as error:
            log.exception("issuer.fetch_failed", issuer=self._issuer.name)
            self._failed(type(error).__name__)
        finally:
            self._fetching = None

    def _take(self, keys: SigningKeys) -> None:
        if self.fault or {each.key_id for each in keys} != {each.key_id for each in self._keys}:
            log.info("issuer.keys_read", issuer=self._issuer.name, keys=len(keys))
        self._keys, self._read_at_s, self.fault = keys, time.monotonic(), ""

    def _failed(self, why: str) -> None:
        if why != self.fault:
            effect = "the last keys stay in force" if self._keys else "its tokens are refused"
            log.warning("issuer.keys_not_read", issuer=self._issuer.name, error=why, effect=effect)
        self.fault = why

    def close(self) -> None:
        """Give up a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
