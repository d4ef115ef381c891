"""Where a secret can stand in a log line: by its name, and in texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

# Names whose values are secret, in the ways in which names are written.
NAMES = (
    "password", "Password", "store_password", "redisPassword", "DB_PASSWD", "pwd", "passphrase", "authorization",
    "Authorization", "proxy-authorization", "cookie", "Set-Cookie", "token", "access_token", "x-auth-token", "refreshToken",
    "id.token", "api_key", "x-api-key", "apiKey", "APIKey", "secret", "client_secret", "AWS_SECRET_ACCESS_KEY", "credentials",
    "private_key", "session-key", "x-credentials-bin", "anything-bin",
)  # fmt: skip
# Names that look alike, and must stay readable.
HARMLESS = (
    "key",
    "keys",
    "monkey",
    "author",
    "task_id",
    "method",
    "passed",
    "keyboard",
    "tokenizer_name",
    "count",
)


class Metadatum(NamedTuple):
    """As grpc has metadata."""

    key: str
    value: str


class Shown:
    """An object that tells a secret when it is shown."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<Client url={self.text}>"


def texts(secret: str) -> Iterator[str]:
    """Texts with the secret in them."""
    yield f"cannot reach redis://:{secret}@10.0.0.1:6379/0"
    yield f"rediss://user:{secret}@host, postgresql+asyncpg://u:{secret}@h/db and amqp://u:a@{secret}@h"
    yield f"GET https://host/path?user=x&access_token={secret}&y=1"
    yield f"Authorization: Bearer {secret}"
    yield f"authorization=Basic {secret} next"
    yield f"sent Bearer {secret}"
    yield f"Cookie: session={secret}; theme={secret}"
    yield f"Set-Cookie: id={secret}; HttpOnly"
    yield f"password={secret} user=me"
    yield f"PASSWORD = '{secret} and more'"
    yield f'{{"user": "me", "api_key": "{secret}", "n": 1}}'
    yield f"{{'client_secret': '{secret}'}}"
    yield f"(('x-trace', '1'), ('authorization', 'Bearer {secret}'))"
    yield f'password="{secret} cut off'
    yield f"(_Metadatum(key='x-api-key', value='{secret}'),)"
    yield f'key: "authorization" text: "{secret}"'
    yield f'metadata {{\n  key: "cookie"\n  value: "{secret}"\n}}'
    yield f"-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----"
    yield f"-----BEGIN PRIVATE KEY-----\n{secret}\ncut off"
    yield f"eyJhbGciOiJIUzI1NiJ9.{secret}.{secret}"
    yield f"ghp_{secret}{secret}"
    yield f"AWS_SECRET_ACCESS_KEY={secret}"
    yield f"export TOKEN={secret};"
    yield "x" * 1000 + f" token={secret} " + "y" * 1000


def fields(secret: str) -> Iterator[dict[str, Any]]:
    """Fields with the secret in them."""
    for name in NAMES:
        yield {name: secret}
        yield {"headers": {"accept": "x", name: [secret]}}
        yield {"metadata": (("accept", "x"), (name, secret))}
        yield {"metadata": [Metadatum(name, secret), Metadatum("accept", "x")]}
        yield {"deep": [{"deeper": ({name: secret.encode()},)}]}
    for text in texts(secret):
        yield {"error": text}
        yield {"error": text.encode()}
        yield {"list": [text]}
        yield {"object": Shown(text)}
        yield {"exception_object": ValueError(text)}
    yield {f"password={secret}": 1}
