"""An outside issuer of tokens (OIDC) with keys of its own, and the HTTP server of its discovery document and key set."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "weft"


class OutsideIssuer:
    """Signs tokens; serves its keys while it is entered."""

    def __init__(self) -> None:
        self.private: dict[str, Any] = {}
        self.published: list[dict[str, Any]] = []
        # Requests so far, and what is answered instead of the truth.
        self.asked = 0
        self.status = 200
        self.body: bytes | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.keys_url = f"{self.url}/keys"

    def add_key(self, key_id: str, kind: str = "EC", *, publish: bool = True) -> None:
        """Make a key, and publish its public part."""
        if kind == "EC":
            key: Any = ec.generate_private_key(ec.SECP256R1())
            public: Any = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        else:
            key = rsa.generate_private_key(65537, int(kind.removeprefix("RSA")))
            public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self.private[key_id] = key
        if publish:
            self.published.append({**public, "kid": key_id, "use": "sig"})

    def sign(
        self, key_id: str = "one", algorithm: str = "ES256", head: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """A token. Claims that are None are left out."""
        now = time.time()
        given = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600, **claims}
        parts = (
            {"alg": algorithm, "kid": key_id, **(head or {})},
            {name: value for name, value in given.items() if value is not None},
        )
        # By hand: PyJWT makes no token that it would refuse.
        text = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
        algorithms = jwt.algorithms.get_default_algorithms()
        return f"{text}.{_encoded(algorithms[algorithm].sign(text.encode(), self.private[key_id]))}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                document: Any = {"keys": issuer.published}
                if self.path.endswith("openid-configuration"):
                    document = {"issuer": issuer.url, "jwks_uri": issuer.keys_url}
                body = json.dumps(document).encode() if issuer.body is None else issuer.body
                self.send_response(issuer.status)
                if issuer.status == 302:
                    self.send_header("Location", f"{issuer.url}/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Its requests are no output of the tests."""

        return Handler

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
