"""Resolves a URL to the Redis that takes writes: a fixed one, or the primary that Sentinels or a Cluster's nodes name.

    redis://host:6379/0    rediss://…    unix:///run/redis.sock?db=0
    redis+sentinel://host:26379,host:26379/service[/db]
    redis+cluster://host:6379,host:6379

`rediss+sentinel` and `rediss+cluster` are the same with TLS. The credentials are those of the data servers; the Sentinels' own
are `?sentinel_username=…&sentinel_password=…`. A connection resolves the primary each time that it dials. It is closed when
its server is not the primary any more; the next request dials again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.connection import (
    AbstractConnection,
    BlockingConnectionPool,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, ReadOnlyError, RedisError

from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.store_config import without_credentials

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_SENTINEL_PORT = 26379
_REDIS_PORT = 6379
_CONNECTIONS = 16

Address = tuple[str, int]
# A redis.asyncio.Redis that decodes nothing. Its annotations say "bytes or str" of every answer.
Client = Any


class PrimaryFinder(Protocol):
    """Finds the primary."""

    async def find(self) -> Address:
        """Its address now.

        Raises:
            redis.exceptions.RedisError, OSError: no server names one.
        """
        ...


class SentinelFinder:
    """Asks the Sentinels of a service for the primary."""

    def __init__(self, sentinels: list[Address], service: str, options: Mapping[str, Any]) -> None:
        self._sentinels = sentinels
        self._service = service
        self._options = dict(options)

    async def find(self) -> Address:
        made: Any = Sentinel
        async with made(self._sentinels, sentinel_kwargs=self._options) as sentinels:
            host, port = await sentinels.discover_master(self._service)
        return str(host), int(port)


class ClusterFinder:
    """Asks the nodes of a Cluster for the node that serves the store's slot."""

    def __init__(self, nodes: list[Address], tag: str, options: Mapping[str, Any]) -> None:
        self._seeds = nodes
        self._slot = key_slot(tag.encode())
        self._options = dict(options)
        # The nodes of the last answer.
        self._nodes: set[Address] = set()

    async def find(self) -> Address:
        known = [*random.sample(sorted(self._nodes), len(self._nodes)), *self._seeds]
        failure: Exception = RedisConnectionError("the Cluster has no nodes")
        for host, port in known:
            try:
                node: Client
                async with Redis(host=host, port=port, **self._options) as node:
                    ranges = await node.execute_command("CLUSTER", "SLOTS")
            except (RedisError, OSError) as error:
                failure = error
                continue
            # A node that does not know its own name leaves it empty.
            owners = {
                (first, last): ((primary[0] or b"").decode() or host, int(primary[1]))
                for first, last, primary, *_ in ranges
            }
            self._nodes = set(owners.values())
            for (first, last), address in owners.items():
                if first <= self._slot <= last:
                    return address
            failure = RedisConnectionError(f"no node serves slot {self._slot}")
        raise failure


class PrimaryMoved(RedisConnectionError):
    """The command was not run: send it again, to the present primary."""


class _Following(Connection):
    """Dials the primary. Closed when its server is not the primary any more."""

    def __init__(self, *, finder: PrimaryFinder, **options: Any) -> None:
        super().__init__(**options)
        self._finder = finder

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        if not self.is_connected:
            self.host, self.port = await self._finder.find()
        await super().connect_check_health(check_health, retry_socket_connect)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except (ReadOnlyError, MovedError) as error:
            await self.disconnect(nowait=True)
            raise PrimaryMoved(f"no primary any more: {error}") from None


class _FollowingTls(_Following, SSLConnection):
    pass


class EndpointResolver:
    """The servers behind a URL.

    Args:
        url: as above.
        tag: the hash tag of all keys, which gives the slot in a Cluster.
        timeout_s: for dialling, and for one answer.
        credentials: "username", "password" and files of certificates ("ssl_…"), each where the URL has none.

    Raises:
        StoreError: the URL is malformed.
    """

    def __init__(
        self, url: str, *, tag: str, timeout_s: float, credentials: Mapping[str, str] | None = None
    ) -> None:
        self.shown = without_credentials(url)
        scheme = url.partition("://")[0]
        if scheme not in SCHEMES:
            raise StoreError(
                f"{self.shown!r} is no store: there are {', '.join(f'{each}://' for each in SCHEMES)}"
            )
        options: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            # No other error: a change may have been made although its answer was lost.
            "retry": Retry(NoBackoff(), 1, supported_errors=(PrimaryMoved,)),
        }
        try:
            if "+" in scheme:
                self._class, found = _several(url, tag, options, credentials or {})
            else:
                self._class, found = _one(url, credentials or {})
        except ValueError as error:
            raise StoreError(f"{self.shown} is no Redis URL: {error}") from None
        self._options = {**found, **options}
        self._timeout_s = timeout_s
        try:
            self.connection()
        except TypeError as error:
            raise StoreError(f"{self.shown} has an option that no connection has: {error}") from None

    def client(self) -> Client:
        """A client with connections of its own; nothing is dialled yet."""
        pool = BlockingConnectionPool(
            connection_class=self._class,
            max_connections=_CONNECTIONS,
            timeout=self._timeout_s,
            **self._options,
        )
        # Of a pool that is only passed on, the client would leave the connections open.
        return Redis.from_pool(pool)

    def connection(self) -> AbstractConnection:
        """One connection, not dialled yet, without a timeout for answers: the caller sets its own."""
        return self._class(**{**self._options, "socket_timeout": None})


def _one(url: str, credentials: Mapping[str, str]) -> tuple[type[AbstractConnection], dict[str, Any]]:
    options: dict[str, Any] = {**credentials, **parse_url(url)}
    database = urlsplit(url).path.strip("/")
    if "path" not in options and database and not database.isdigit():
        raise ValueError(f"{database!r} is not the number of a database")
    kind: type[AbstractConnection] = options.pop(
        "connection_class", UnixDomainSocketConnection if "path" in options else Connection
    )
    return kind, options


def _several(
    url: str, tag: str, options: Mapping[str, Any], credentials: Mapping[str, str]
) -> tuple[type[AbstractConnection], dict[str, Any]]:
    parts = urlsplit(url)
    safe, _, kind = parts.scheme.partition("+")
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    addresses = [
        _address(host, _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT) for host in hosts.split(",")
    ]
    path = [unquote(part) for part in parts.path.split("/") if part]
    query = {
        name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()
    }
    found: dict[str, Any] = dict(credentials)
    if username:
        found["username"] = unquote(username)
    if password:
        found["password"] = unquote(password)
    tls = {name: query.pop(name) for name in sorted(query) if name.startswith("ssl_")}
    encrypted = {"ssl": True, **tls} if safe == "rediss" else {}
    found.update(tls)
    finder: PrimaryFinder
    if kind == "sentinel":
        if not 1 <= len(path) <= 2:
            raise ValueError(
                "it must name the service that the Sentinels watch, as …/service or …/service/db"
            )
        if len(path) == 2:
            found["db"] = int(path[1])
        own = {
            name.removeprefix("sentinel_"): query.pop(name)
            for name in ("sentinel_username", "sentinel_password")
            if name in query
        }
        finder = SentinelFinder(addresses, path[0], {**options, **own, **encrypted})
    else:
        if path:
            raise ValueError("a Cluster has one database only: nothing may follow the hosts")
        finder = ClusterFinder(addresses, tag, {**options, **found, **encrypted})
    if query:
        raise ValueError(f"unknown option {min(query)!r}")
    found["finder"] = finder
    return (_FollowingTls if encrypted else _Following), found


def _address(text: str, default_port: int) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return parts.hostname, parts.port or default_port
