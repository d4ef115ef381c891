"""Checks of the process' own surroundings: versions, open files, proxies, and the variables of weft. Pure, but for `facts`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata

from weft.cli.doctor.diagnosis import Diagnosis, ok, warning
from weft.rpc.process import open_files
from weft.rpc.process.version import VERSION

_PACKAGES = ("grpcio", "protobuf")
# gRPC's names, in its order: it takes the first that is set.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
# A connected agent is a connection or two; the store, logs and the rest need some dozen.
_FEW_FILES = 4096


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process runs in.

    Args:
        files: how many files it may open; None: not known, or no limit.
        uses_proxy: weft's connections go through the environment's proxy.
        unread: warnings about variables that no setting reads.
    """

    versions: Mapping[str, str]
    files: int | None
    variables: Mapping[str, str]
    uses_proxy: bool
    unread: tuple[str, ...] = ()


def facts(*, uses_proxy: bool, unread: tuple[str, ...]) -> Surroundings:
    """The surroundings of this process."""
    versions = {"weft": VERSION, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PACKAGES}
    return Surroundings(versions, open_files.limit(), dict(os.environ), uses_proxy, unread)


def findings(around: Surroundings) -> Iterator[Diagnosis]:
    """What the surroundings mean for weft."""
    yield ok("versions", ", ".join(f"{name} {version}" for name, version in around.versions.items()))
    yield from _files(around.files)
    yield from _proxies(around)
    for text in around.unread:
        yield warning("environment", text, "correct or unset the variable")


def _files(limit: int | None) -> Iterator[Diagnosis]:
    if limit is not None and limit < _FEW_FILES:
        yield warning(
            "open files",
            f"a process may open {limit} files: each connected agent and caller takes one",
            f"raise the limit where the coordinator runs: ulimit -n {_FEW_FILES * 4}, or LimitNOFILE= of systemd",
        )
    else:
        yield ok("open files", "no limit" if limit is None else f"a process may open {limit}")


def _proxies(around: Surroundings) -> Iterator[Diagnosis]:
    named = [name for name in _PROXIES if around.variables.get(name)]
    if not named:
        yield ok("proxy", "the environment names none")
    elif around.uses_proxy:
        yield warning(
            "proxy",
            f"connections to coordinators go through the proxy of {named[0]}",
            "this must be a proxy that passes HTTP/2 by CONNECT; unset WEFT_USE_PROXY if there is none between",
        )
    else:
        yield ok(
            "proxy",
            f"{named[0]} is set, and weft does not use it; other gRPC programs do, unless no_proxy excepts",
        )
