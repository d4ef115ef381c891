"""The kinds that this coordinator has: weft's own, and those of installed packages (entry points of the group `weft.providers`)."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import metadata
from typing import NamedTuple

from weft.coordinator.provisioning.kinds.compose_kind import ComposeKind
from weft.coordinator.provisioning.kinds.docker_kind import DockerKind
from weft.coordinator.provisioning.kinds.helm_kind import HelmKind
from weft.coordinator.provisioning.kinds.kubernetes_kind import KubernetesKind
from weft.coordinator.provisioning.kinds.linux_kind import LinuxKind
from weft.coordinator.provisioning.kinds.macos_kind import MacosKind
from weft.coordinator.provisioning.kinds.process_kind import ProcessKind
from weft.coordinator.provisioning.kinds.windows_kind import WindowsKind
from weft.coordinator.provisioning.provision_kind import ProvisionKind
from weft.rpc.process.logs import get_logger
from weft.rpc.raised import line_of

log = get_logger(__name__)

GROUP = "weft.providers"
OWN_PACKAGE = "weft"
_OWN = (ComposeKind, DockerKind, HelmKind, KubernetesKind, LinuxKind, MacosKind, ProcessKind, WindowsKind)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


class KnownKind(NamedTuple):
    """A kind, or why there is none.

    Attributes:
        package: whose it is.
        problem: why it cannot be used. Empty: it can.
    """

    name: str
    kind: ProvisionKind | None
    package: str = OWN_PACKAGE
    problem: str = ""


@functools.cache
def known_kinds() -> Mapping[str, KnownKind]:
    """The kinds by name. Packages are imported at the first call."""
    kinds: list[ProvisionKind] = [make() for make in _OWN]
    found = {each.name: KnownKind(each.name, each) for each in kinds}
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda each: each.name):
        each = _loaded(entry)
        if entry.name in found:
            log.warning("provision.kind_hidden", kind=entry.name, package=each.package)
        elif _NAME.fullmatch(entry.name):
            found[entry.name] = each
    return dict(sorted(found.items()))


def _loaded(entry: metadata.EntryPoint) -> KnownKind:
    package = entry.dist.name if entry.dist is not None else "unknown"
    try:
        made = entry.load()
        kind: ProvisionKind = made() if isinstance(made, type) else made
        # What a listing and a check of settings read.
        if kind.name != entry.name:
            raise ValueError(f"its name is {kind.name!r}")
        for needed in (kind.description, kind.settings, kind.most_replicas, kind.render):
            del needed
    except Exception as error:
        # A package of somebody else must not end the coordinator.
        log.warning("provision.kind_broken", kind=entry.name, package=package, exc_info=True)
        return KnownKind(entry.name, None, package, line_of(error))
    return KnownKind(entry.name, kind, package)
