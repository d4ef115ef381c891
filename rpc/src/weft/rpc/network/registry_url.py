"""URLs of registries, as people write them instead of addresses. Nothing is looked up here.

    dns+srv://_weft._tcp.example.com      SRV records; ?server=127.0.0.1:8600 asks this DNS server
    k8s://NAMESPACE/SERVICE:PORT          EndpointSlices of a Service of Kubernetes; the port by its number or name
    consul://HOST:8500/SERVICE?tag=eu     healthy instances of a service in Consul; by TLS: consul+https://
    file:///etc/weft/coordinators         a file of addresses, which is read again when it changes

As `--discovery` they say where own services are written: each under its own name, so that the URL of an agent names none.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument

# The service of coordinators, where a URL names none.
COORDINATORS = "weft"
DEFAULT_TTL_S = 30.0
LEAST_TTL_S, MOST_TTL_S = 5.0, 3600.0
MAX_LENGTH = 2048
MAX_TAGS = 16

_URL = re.compile(r"(dns\+srv|k8s|consul|consul\+https|file)://")
_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PORT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_WORD = re.compile(r"[A-Za-z0-9._-]{1,128}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253})(:(?P<port>[0-9]{1,5}))?")
_PARTS_OF_SRV = re.compile(r"\A_[^.]+\._[^.]+\.")

_FORMS = {
    "dns+srv": "dns+srv://_weft._tcp.example.com",
    "k8s": "k8s://NAMESPACE/SERVICE:PORT",
    "consul": "consul://HOST:8500/SERVICE?tag=TAG",
    "consul+https": "consul+https://HOST:8501/SERVICE?tag=TAG",
    "file": "file:///PATH",
}
_KEYS = {
    "dns+srv": {"server"},
    "k8s": {"ttl_s", "address"},
    "consul": {"tag", "dc", "ttl_s", "check", "address"},
    "consul+https": {"tag", "dc", "ttl_s", "check", "address"},
    "file": {"service", "ttl_s", "address"},
}


@dataclass(frozen=True)
class RegistryUrl:
    """A URL that has been checked.

    Attributes:
        text: as it was written.
        kind: its scheme.
        service: the service's name in the registry; empty: none is named. Of DNS the name of the records.
        server: of Consul and of a DNS server, `host:port`; empty: DNS servers of this machine.
        namespace: of Kubernetes.
        port: of Kubernetes, the number or the name; empty: the only one.
        path: of the file.
        tags: an instance in Consul has all of them.
        datacenter: of Consul; empty: the one of the server that is asked.
        ttl_s: what is written is fresh for so long.
        check: "ttl": this process tells Consul that it lives; "grpc": Consul asks it.
        address: written instead of the own one; empty: the own one.
    """

    text: str
    kind: str
    service: str = ""
    server: str = ""
    namespace: str = ""
    port: str = ""
    path: str = ""
    tags: tuple[str, ...] = ()
    datacenter: str = ""
    ttl_s: float = DEFAULT_TTL_S
    check: str = "ttl"
    address: str = ""

    @property
    def tls_name(self) -> str:
        """The name that certificates of its coordinators have, unless a setting says another: that of the service, since addresses come and go. Empty: that of
        each address."""
        if self.kind == "dns+srv":
            return _PARTS_OF_SRV.sub("", self.service).rstrip(".")
        if self.kind == "k8s":
            return f"{self.service}.{self.namespace}.svc"
        if self.kind.startswith("consul"):
            place = f"{self.datacenter}." if self.datacenter else ""
            return f"{self.service or COORDINATORS}.service.{place}consul"
        return ""


def is_url(text: str) -> bool:
    """Whether a text is the URL of a registry, and no address."""
    return _URL.match(text) is not None


def source_url(text: str) -> RegistryUrl:
    """The URL of a source of addresses.

    Raises:
        InvalidArgument: it is none; the message says why.
    """
    found = _parsed(text, "target")
    if found.kind in {"dns+srv", "k8s"} and not found.service:
        raise _refusal(text, "target", f"it names no service: write {_FORMS[found.kind]}")
    return found


def registrar_url(text: str, *, of_coordinator: bool = False) -> RegistryUrl:
    """The URL of a registry into which own services are written.

    Args:
        of_coordinator: the URL may name the service; each service of an agent has a name.

    Raises:
        InvalidArgument: it is none; the message says why.
    """
    found = _parsed(text, "discovery")
    if found.kind == "dns+srv":
        raise _refusal(text, "discovery", "DNS is only read: write into Consul, Kubernetes or a file")
    if found.service and not of_coordinator:
        raise _refusal(
            text,
            "discovery",
            f"each service of an agent is written under its own name: leave {found.service!r} out",
        )
    return found


def _parsed(text: str, field: str) -> RegistryUrl:
    if len(text) > MAX_LENGTH or not text.isprintable() or " " in text:
        raise _refusal(
            text[:80], field, f"it has blanks or control characters, or more than {MAX_LENGTH} characters"
        )
    match = _URL.match(text)
    if match is None:
        raise _refusal(text, field, f"write {', '.join(_FORMS.values())}")
    kind = match[1]
    try:
        parts = urlsplit(text)
        query = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=32
        )
    except ValueError as error:
        raise _refusal(text, field, f"{error}: write {_FORMS[kind]}") from None
    if "@" in parts.netloc:
        # Not shown: it may be a password.
        raise refusals.invalid_field(
            f"the URL of a registry ({kind}://) has no user and no password: Consul's token is in CONSUL_HTTP_TOKEN",
            field=field,
        )
    if parts.fragment:
        raise _refusal(text, field, "it has a part behind #")
    given = _queried(text, kind, field, query)
    return _READERS[kind](_Given(text, kind, field, parts.netloc, unquote(parts.path), given))


def _queried(text: str, kind: str, field: str, query: list[tuple[str, str]]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for key, value in query:
        if key not in _KEYS[kind]:
            # Values are not shown: one may be a token.
            raise refusals.invalid_field(
                f"{kind}:// takes no {key[:40]!r}; it takes {', '.join(sorted(_KEYS[kind]))}", field=field
            )
        given.setdefault(key, []).append(value)
    for key, values in given.items():
        if len(values) > (MAX_TAGS if key == "tag" else 1):
            raise _refusal(text, field, f"it has {key} too often")
    return given


@dataclass(frozen=True)
class _Given:
    """What a URL consists of."""

    text: str
    kind: str
    field: str
    authority: str
    path: str
    query: dict[str, list[str]]

    def refuse(self, why: str) -> InvalidArgument:
        return _refusal(self.text, self.field, why)

    def only(self, key: str) -> str:
        return self.query.get(key, [""])[0]

    def word(self, key: str) -> str:
        value = self.only(key)
        if key in self.query and not _WORD.fullmatch(value):
            raise self.refuse(f"{key} is no word of A-Z a-z 0-9 . _ -")
        return value

    def host(self, text: str, port: int) -> str:
        """`host:port`."""
        match = _HOST.fullmatch(text)
        if match is None or int(match["port"] or port) not in range(1, 65536):
            raise self.refuse(f"{text!r} is no HOST:PORT: write {_FORMS[self.kind]}")
        if text.startswith("["):
            try:
                ipaddress.IPv6Address(match[1][1:-1])
            except ValueError:
                raise self.refuse(f"{text!r} has no IPv6 address in its brackets") from None
        return text if match["port"] else f"{text}:{port}"

    @property
    def ttl_s(self) -> float:
        if "ttl_s" not in self.query:
            return DEFAULT_TTL_S
        try:
            value = float(self.only("ttl_s"))
        except ValueError:
            value = 0.0
        if not LEAST_TTL_S <= value <= MOST_TTL_S:
            raise self.refuse(f"ttl_s is no number from {LEAST_TTL_S:g} to {MOST_TTL_S:g}")
        return value

    @property
    def address(self) -> str:
        return self.host(self.only("address"), 0) if "address" in self.query else ""


def _dns(given: _Given) -> RegistryUrl:
    if not _DNS_NAME.fullmatch(given.authority) or given.path not in {"", "/"}:
        raise given.refuse(f"write {_FORMS['dns+srv']}")
    server = given.only("server")
    if "server" in given.query:
        server = given.host(server, 53)
        host = server.rpartition(":")[0].strip("[]")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise given.refuse(f"server is {server!r}; it must be an IP address and a port") from None
    return RegistryUrl(given.text, given.kind, given.authority, server)


def _kubernetes(given: _Given) -> RegistryUrl:
    service, colon, port = given.path.removeprefix("/").partition(":")
    if not _LABEL.fullmatch(given.authority) or (service and not _LABEL.fullmatch(service)):
        raise given.refuse(f"names of Kubernetes are of a-z 0-9 -: write {_FORMS['k8s']}")
    if colon and not (service and (_PORT_NAME.fullmatch(port))):
        raise given.refuse(f"{port!r} is no port's number or name: write {_FORMS['k8s']}")
    return RegistryUrl(
        given.text,
        given.kind,
        service,
        namespace=given.authority,
        port=port,
        ttl_s=given.ttl_s,
        address=given.address,
    )


def _consul(given: _Given) -> RegistryUrl:
    service = given.path.strip("/")
    if service and not _WORD.fullmatch(service):
        raise given.refuse("a service's name is of A-Z a-z 0-9 . _ -")
    tags = tuple(given.query.get("tag", ()))
    if not all(map(_WORD.fullmatch, tags)):
        raise given.refuse("a tag is of A-Z a-z 0-9 . _ -")
    check = given.only("check") or "ttl"
    if check not in {"ttl", "grpc"}:
        raise given.refuse("check is ttl or grpc")
    return RegistryUrl(
        given.text,
        given.kind,
        service,
        given.host(given.authority, 8501 if given.kind == "consul+https" else 8500),
        tags=tags,
        datacenter=given.word("dc"),
        ttl_s=given.ttl_s,
        check=check,
        address=given.address,
    )


def _file(given: _Given) -> RegistryUrl:
    if given.authority or len(given.path) < 2 or given.path.endswith("/") or "\0" in given.path:
        raise given.refuse("a file has an absolute path: write file:///PATH, with three slashes")
    return RegistryUrl(
        given.text,
        given.kind,
        given.word("service"),
        path=given.path,
        ttl_s=given.ttl_s,
        address=given.address,
    )


_READERS = {"dns+srv": _dns, "k8s": _kubernetes, "consul": _consul, "consul+https": _consul, "file": _file}


def _refusal(text: str, field: str, why: str) -> InvalidArgument:
    return refusals.invalid_field(f"{text!r} cannot be used as a registry: {why}", field=field)
