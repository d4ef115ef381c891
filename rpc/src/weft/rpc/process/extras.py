"""Extras: parts of weft that need more packages than a client. Says which packages are missing, and how to install them."""

from __future__ import annotations

import re
from importlib.util import find_spec

_OF_EXTRA = re.compile(r"""(?P<package>[^;]+?)\s*;.*extra\s*==\s*['"](?P<extra>[\w-]+)['"]""")

# Extra (named like its package or room of weft) -> the modules that this must be able to import.
REQUIRED: dict[str, tuple[str, ...]] = {
    "agent": ("grpc_health", "grpc_reflection", "opentelemetry", "psutil", "pydantic_settings"),
    "amqp": ("aio_pika",),
    "arbiter": (),
    "assigner": (),
    "celery": ("celery",),
    "coordinator": ("grpc_health", "grpc_reflection", "pydantic_settings"),
    "http": ("aiohttp",),
    "cli": ("grpc_reflection", "pydantic_settings", "rich", "typer"),
    "cloudevents": ("cloudevents",),
    "discovery": ("dns", "httpx"),
    "e2b": ("e2b",),
    # Its views of containers and pods need more, and say so.
    "hardware": ("psutil", "pynvml"),
    "planner": ("cel_expr_python", "protovalidate", "yaml"),
    "models": ("httpx", "httpx2", "ollama", "openai"),
    "payloads": ("cryptography", "fsspec"),
    "repositories": ("githubkit", "hishel"),
    "research": (),
    # bubblewrap is a program.
    "sandboxes": ("aiodocker", "psutil"),
    "security": ("cryptography", "jwt"),
}


class MissingExtra(ImportError):
    """A part of weft cannot be imported, because packages of its extra are not installed."""


def require(extra: str, part: str = "") -> None:
    """Check that the packages of an extra are installed.

    Args:
        part: what needs them, such as "weft.services.hardware"; unless given, the package of weft with the extra's name.

    Raises:
        MissingExtra: some are not installed. The message has the command that installs them.
    """
    if absent := missing(extra):
        raise MissingExtra(
            f"{part or f'weft.{extra}'} needs packages that are not installed ({', '.join(absent)}): {install_command(extra)}"
        )


def missing(extra: str) -> list[str]:
    """The modules of an extra that are not installed."""
    return [module for module in REQUIRED[extra] if find_spec(module) is None]


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra. It works for a weft from a checkout and from a wheel."""
    from importlib import metadata

    found = [_OF_EXTRA.fullmatch(text) for text in metadata.requires("weft") or ()]
    packages = [each["package"] for each in found if each is not None and each["extra"] == extra]
    return " ".join(["pip install", *(f"'{package}'" for package in packages)])
