"""Secrets of hooks: made, checked, and kept in rows. A coordinator must have the secret itself to check a signature, so that it cannot keep
a digest: with a passphrase (setting `hook_passphrase`) it is encrypted in the store."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections import OrderedDict

from weft.coordinator.hooks.hook_signatures import STANDARD_PREFIX, standard_key
from weft.rpc import refusals
from weft.rpc.errors import Unavailable
from weft.rpc.process.extras import require
from weft.rpc.security.secret_text import SecretText
from weft.rpc.times import seconds, timestamp
from weft.v1 import hook_pb2

# Of one hook that are right at a time.
MOST_SECRETS = 4
STANDARD_KEY_BYTES = range(16, 65)
_GENERATED_BYTES = 32
_GIVEN = re.compile(r"[\x21-\x7e]{16,512}")
_SALT_BYTES = 32
# What is encrypted, so that it is taken for nothing else.
_HEAD = b"weft hook secret"
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
# Keys that are kept: each takes some 50 ms to make.
_MOST_KEYS = 1000


class HookSecrets:
    """Puts secrets into rows and takes them out.

    Args:
        passphrase: encrypts them; empty: they are stored as they are.

    Raises:
        MissingExtra: the package that encrypts is not installed.
    """

    def __init__(self, passphrase: SecretText) -> None:
        if passphrase:
            require("security")
        self._passphrase = passphrase
        self._keys: OrderedDict[bytes, bytes] = OrderedDict()

    def stored(self, text: str, now: float) -> hook_pb2.StoredHookSecret:
        """A secret for a row. Takes some 50 ms with a passphrase."""
        made = hook_pb2.StoredHookSecret(secret=hook_pb2.HookSecret(create_time=timestamp(now)))
        if not self._passphrase:
            made.plain = text.encode()
            return made
        from weft.rpc.payloads.sealing import seal

        made.salt = secrets.token_bytes(_SALT_BYTES)
        made.sealed = b"".join(seal(self._key(made.salt), made.salt, _HEAD, [text.encode()]))
        return made

    def opened(self, stored: hook_pb2.StoredHookSecret, name: str) -> str:
        """A secret of a row. Takes some 50 ms the first time, with a passphrase.

        Raises:
            Unavailable: HOOK_UNAVAILABLE: it is encrypted by another passphrase.
        """
        if not stored.sealed:
            return stored.plain.decode()
        if not self._passphrase:
            raise refusals.hook_unavailable(
                name,
                "has an encrypted secret, and this coordinator has no passphrase for it: set WEFT_HOOK_PASSPHRASE",
            )
        from weft.rpc.payloads.sealing import Tampered, unseal

        try:
            return b"".join(unseal(self._key(stored.salt), stored.salt, _HEAD, [stored.sealed])).decode()
        except (Tampered, ValueError):
            raise refusals.hook_unavailable(
                name,
                "has a secret that this coordinator cannot decrypt: WEFT_HOOK_PASSPHRASE is another one than when it was made;"
                " set it right, or rotate the secret",
            ) from None

    def _key(self, salt: bytes) -> bytes:
        found = self._keys.get(salt)
        if found is None:
            found = hashlib.scrypt(self._passphrase.reveal().encode(), salt=salt, **_SCRYPT)
            self._keys[salt] = found
            if len(self._keys) > _MOST_KEYS:
                self._keys.popitem(last=False)
        return found


def chosen_secret(kind: hook_pb2.HookKind, given: str) -> str:
    """The secret of a request, or a generated one.

    Raises:
        InvalidArgument: INVALID_FIELD.
    """
    if not given:
        return _generated(kind)
    if not _GIVEN.fullmatch(given):
        raise refusals.invalid_field(
            f"secret must be 16 to 512 printable ASCII characters without spaces; this one has {len(given)} characters",
            field="secret",
        )
    if kind == hook_pb2.HOOK_KIND_STANDARD or (
        kind == hook_pb2.HOOK_KIND_GITLAB and given.startswith(STANDARD_PREFIX)
    ):
        try:
            size = len(standard_key(given))
        except ValueError as error:
            raise refusals.invalid_field(
                f"secret must be {STANDARD_PREFIX} and base64 after it: {error}", field="secret"
            ) from None
        if size not in STANDARD_KEY_BYTES or not given.startswith(STANDARD_PREFIX):
            raise refusals.invalid_field(
                f"secret must be {STANDARD_PREFIX} and base64 of {STANDARD_KEY_BYTES[0]} to {STANDARD_KEY_BYTES[-1]} bytes;"
                f" this one has {size}",
                field="secret",
            )
    return given


def _generated(kind: hook_pb2.HookKind) -> str:
    if kind == hook_pb2.HOOK_KIND_STRIPE:
        raise refusals.invalid_field(
            "secret is required: Stripe makes it, and shows it with the endpoint", field="secret"
        )
    made = secrets.token_bytes(_GENERATED_BYTES)
    if kind == hook_pb2.HOOK_KIND_STANDARD:
        return STANDARD_PREFIX + base64.b64encode(made).decode()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def right_now(stored: hook_pb2.StoredHook, now: float) -> list[hook_pb2.StoredHookSecret]:
    """Those of its secrets that are right."""
    return [
        each
        for each in stored.secrets
        if not each.secret.HasField("expire_time") or seconds(each.secret.expire_time) > now
    ]


async def secrets_of(hook_secrets: HookSecrets, stored: hook_pb2.StoredHook, now: float) -> list[str]:
    """The secrets of a hook that are right, to check a stranger's signature.

    Raises:
        Unavailable: HOOK_UNAVAILABLE: one cannot be decrypted. Why is not for strangers: its cause says it.
    """
    name, known = stored.hook.name, right_now(stored, now)
    try:
        # A key that is made of a passphrase takes a while.
        return await asyncio.to_thread(lambda: [hook_secrets.opened(each, name) for each in known])
    except Unavailable as error:
        raise refusals.hook_unavailable(name, "cannot check signatures now", retry_after_s=60.0) from error


# Why an imported hook is paused: secrets are not exported.
PAUSED_BY_IMPORT = (
    "it was imported without its secret: give it one with `weft hooks rotate`, which resumes it"
)


def rotate(
    stored: hook_pb2.StoredHook, added: hook_pb2.StoredHookSecret, overlap_s: float, now: float
) -> None:
    """Put a secret in front. The others are right for the overlap, and no longer than they were to be. A hook that is paused because it had none
    is resumed."""
    if not stored.secrets and stored.hook.pause_reason == PAUSED_BY_IMPORT:
        stored.hook.paused, stored.hook.pause_reason = False, ""
    rest: list[hook_pb2.StoredHookSecret] = []
    for each in right_now(stored, now) if overlap_s > 0 else ():
        ends = now + overlap_s
        if not each.secret.HasField("expire_time") or seconds(each.secret.expire_time) > ends:
            each.secret.expire_time.CopyFrom(timestamp(ends))
        rest.append(each)
    made = [added, *rest[: MOST_SECRETS - 1]]
    del stored.secrets[:]
    stored.secrets.extend(made)
