"""The providers that a coordinator may use: weft's own, and those of installed packages (entry points of the group
`weft.pool_providers`). Each is made when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import NamedTuple

from weft.coordinator.pools.provider import AgentProvider, ProviderSetting
from weft.rpc.process.logs import get_logger
from weft.rpc.raised import line_of

log = get_logger(__name__)

GROUP = "weft.pool_providers"
OWN_PACKAGE = "weft"
_ROOM = "weft.coordinator.pools"
# By name: module and class. They are imported when they may be used.
_OWN = {
    "docker": f"{_ROOM}.outside.docker_provider:DockerProvider",
    "kubernetes": f"{_ROOM}.outside.kubernetes_provider:KubernetesProvider",
    "process": f"{_ROOM}.processes.process_provider:ProcessProvider",
    "systemd-run": f"{_ROOM}.outside.systemd_provider:SystemdProvider",
}

Factory = Callable[[ProviderSetting], AgentProvider]


class KnownProvider(NamedTuple):
    """A provider that the coordinator may use, or why there is none.

    Attributes:
        package: whose it is.
        problem: why it cannot be used. Empty: it can.
    """

    name: str
    provider: AgentProvider | None
    package: str = OWN_PACKAGE
    problem: str = ""


def known_providers(allowed: Sequence[str], setting: ProviderSetting) -> dict[str, KnownProvider]:
    """The allowed providers, by name."""
    entries = {each.name: each for each in metadata.entry_points(group=GROUP)} if allowed else {}
    return {name: _known(name, entries.get(name), setting) for name in sorted(set(allowed))}


def _known(name: str, entry: metadata.EntryPoint | None, setting: ProviderSetting) -> KnownProvider:
    own = _OWN.get(name)
    if own is None and entry is None:
        return KnownProvider(name, None, "", "no installed package has it")
    package = OWN_PACKAGE if own or entry is None or entry.dist is None else entry.dist.name
    try:
        if own:
            module, _, attribute = own.partition(":")
            factory: Factory = getattr(import_module(module), attribute)
        else:
            assert entry is not None
            factory = entry.load()
        provider = factory(setting)
        if provider.name != name:
            raise ValueError(f"its name is {provider.name!r}")
        for needed in (provider.description, provider.place, provider.check, provider.list, provider.start):
            del needed
    except Exception as error:
        # A package of somebody else must not end the coordinator.
        log.warning("pool.provider_broken", provider=name, package=package, exc_info=True)
        return KnownProvider(name, None, package, line_of(error))
    return KnownProvider(name, provider, package)
