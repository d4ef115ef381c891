"""Tokens of outside issuers (JSON web tokens): taken apart, and their signatures verified. The only module that imports PyJWT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from weft.rpc import bounded_json

# Those with a pair of keys. With a shared secret, whoever can verify a token could make one; and "none" proves nothing.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# Keys of one issuer.
MAX_KEYS = 100
_LEAST_RSA_BITS = 2048
# All claims are checked by the caller, who knows the time.
_SIGNATURE_ALONE = {
    "verify_signature": True,
    **{f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")},
}


class JwtFault(Exception):
    """A token cannot be trusted, or keys cannot be used. The message says why, and has nothing of the token."""


class Unverified(NamedTuple):
    """What a token says of itself. Nobody has verified it."""

    algorithm: str
    key_id: str
    issuer: str


class SigningKey(NamedTuple):
    """A public key of an issuer. Empty: it has no id, or is for any algorithm of its kind."""

    key_id: str
    algorithm: str
    key: Any


class SigningKeys(tuple[SigningKey, ...]):
    """The public keys of an issuer."""

    __slots__ = ()

    def find(self, key_id: str) -> SigningKey | None:
        """The key with an id; if the token names none, the only key. None: there is no such key."""
        if not key_id:
            return self[0] if len(self) == 1 else None
        return next((each for each in self if each.key_id == key_id), None)


def read_keys(document: bytes) -> SigningKeys:
    """The keys for signatures in a JSON web key set. Keys of unknown kinds, weak ones, and those for other uses are left out.

    Raises:
        JwtFault: it is no key set, or has no usable key.
    """
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    try:
        entries = bounded_json.loads(document)["keys"]
    except (ValueError, KeyError, TypeError):
        raise JwtFault('it is no JSON web key set, which is an object with a list "keys"') from None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise JwtFault(f"its keys must be a list of at most {MAX_KEYS} keys")
    found = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        try:
            key = PyJWK(entry).key
        except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if entry.get("kty") != "RSA" or key.key_size >= _LEAST_RSA_BITS:
            found.append(SigningKey(str(entry.get("kid", "")), str(entry.get("alg", "")), key))
    if not found:
        raise JwtFault("it has no usable key: RSA of 2048 bits or more, EC, or Ed25519, for signatures")
    return SigningKeys(found)


def taken_apart(text: str) -> Unverified:
    """What a token says of itself, to find the issuer's key.

    Raises:
        JwtFault: it is no JSON web token.
    """
    import jwt

    try:
        parts = jwt.decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError, TypeError):
        raise JwtFault("it is no JSON web token, or is damaged") from None
    header, claims = parts["header"], parts["payload"]
    if "crit" in header or "b64" in header:
        raise JwtFault("its header has extensions that are not known here")
    values = header.get("alg"), header.get("kid", ""), claims.get("iss")
    if not all(isinstance(value, str) for value in values):
        raise JwtFault("its header must have an algorithm (alg), and its claims an issuer (iss), as texts")
    return Unverified(*map(str, values))


def verified_claims(text: str, key: SigningKey, algorithms: Sequence[str]) -> Mapping[str, Any]:
    """The claims of a token whose signature is the key's.

    Args:
        algorithms: those that the issuer uses.

    Raises:
        JwtFault: the signature is another's.
    """
    import jwt

    # A key that names its algorithm is for that one alone.
    allowed = [name for name in algorithms if key.algorithm in ("", name)]
    try:
        claims: Mapping[str, Any] = jwt.decode(
            text,
            key.key,
            algorithms=allowed or ["none allowed"],
            options=_SIGNATURE_ALONE,  # type: ignore[arg-type]
        )
    except (jwt.PyJWTError, ValueError, TypeError):
        raise JwtFault(
            "its signature is not that of the issuer's key, by an algorithm of the policy"
        ) from None
    return claims
