"""The source of each kind of URL."""

from __future__ import annotations

from weft.rpc.network.registry_url import RegistryUrl
from weft.rpc.process import extras
from weft.rpc.registries.address_source import AddressSource

_KNOWN = {"file": "", "consul": "httpx", "consul+https": "httpx", "k8s": "httpx", "dns+srv": "dns"}


def source_of(url: RegistryUrl) -> AddressSource:
    """The source at a URL. Its library is imported now.

    Raises:
        MissingExtra: it is not installed.
    """
    if (needed := _KNOWN[url.kind]) in extras.missing("discovery"):
        raise extras.MissingExtra(
            f"{url.kind}:// needs a package that is not installed ({needed}): {extras.install_command('discovery')}"
        )
    if url.kind == "file":
        from weft.rpc.registries.file_source import FileSource

        return FileSource(url)
    if url.kind == "dns+srv":
        from weft.rpc.registries.dns_source import DnsSource

        return DnsSource(url)
    if url.kind == "k8s":
        from weft.rpc.registries.kubernetes_source import KubernetesSource

        return KubernetesSource(url)
    from weft.rpc.registries.consul_source import ConsulSource

    return ConsulSource(url)
