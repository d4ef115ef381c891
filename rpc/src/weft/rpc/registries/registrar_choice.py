"""The registrar at a URL. Only the chosen one is imported."""

from __future__ import annotations

from weft.rpc.network.registry_url import RegistryUrl
from weft.rpc.process import extras
from weft.rpc.registries.registrar import Registrar


async def registrar_of(url: RegistryUrl) -> Registrar:
    """The registrar at a URL. Its library is imported now.

    Raises:
        RegistryError: what it needs cannot be used.
    """
    if url.kind == "file":
        from weft.rpc.registries.file_registrar import FileRegistrar

        return FileRegistrar(url)
    if url.kind == "k8s":
        from weft.rpc.registries.kubernetes_registrar import KubernetesRegistrar

        return await KubernetesRegistrar.open(url)
    from weft.rpc.registries.consul_registrar import ConsulRegistrar

    return ConsulRegistrar(url)


def check_installed(url: RegistryUrl) -> None:
    """
    Raises:
        MissingExtra: what the registrar needs is not installed.
    """
    if url.kind != "file" and "httpx" in extras.missing("discovery"):
        raise extras.MissingExtra(
            f"{url.kind}:// needs a package that is not installed (httpx): {extras.install_command('discovery')}"
        )
