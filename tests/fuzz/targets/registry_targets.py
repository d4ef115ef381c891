"""What registries answer, and the URLs that name them."""

from __future__ import annotations

import json

from tests.fuzz.target import target, text_of
from weft.rpc.errors import InvalidArgument
from weft.rpc.network import targets
from weft.rpc.registries import consul_source, kubernetes_source, target_groups
from weft.rpc.registries.address_source import RegistryError
from weft.rpc.registries.bounded_http import Answer

_INSTANCES = [{"Node": {"Address": "10.0.0.1"}, "Service": {"Address": "", "Port": 7700}}]
_SLICE = {
    "metadata": {"name": "weft-1"},
    "ports": [{"name": "grpc", "port": 7700}],
    "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
}


@target(
    "weft/rpc/network/registry_url",
    seeds=lambda: [
        b"consul://10.0.0.1:8500/weft?tag=eu&ttl_s=10",
        b"k8s://mesh/weft:grpc",
        b"dns+srv://_weft._tcp.example.com?server=127.0.0.1:53",
        b"file:///etc/weft/coordinators?service=weft",
    ],
    raises=(InvalidArgument,),
    max_bytes=4096,
)
def registry_url(data: bytes) -> None:
    text = text_of(data)
    found = targets.parse([text])
    assert targets.parse(found) == found


@target(
    "weft/rpc/registries/bounded_http",
    "weft/rpc/registries/consul_source",
    "weft/rpc/registries/kubernetes_source",
    seeds=lambda: [json.dumps(_INSTANCES).encode(), json.dumps({"type": "ADDED", "object": _SLICE}).encode()],
    raises=(RegistryError,),
    max_bytes=16 * 1024,
)
def registry_answer(data: bytes) -> None:
    import httpx

    found = Answer(200, httpx.Headers(), data).json("it")
    if isinstance(found, list):
        for each in found:
            _dialled(consul_source.address_of(each))
        return
    _, changed = kubernetes_source.read_event(found)
    for each in kubernetes_source.ready_addresses(changed, "grpc"):
        _dialled(each)


@target(
    "weft/rpc/registries/target_groups",
    seeds=lambda: [b'[{"targets": ["10.0.0.1:7700"], "labels": {"service": "weft", "ends_at_s": "1"}}]'],
    raises=(RegistryError,),
    max_bytes=16 * 1024,
)
def target_group_file(data: bytes) -> None:
    target_groups.is_json(data)
    for each in target_groups.addresses(target_groups.parse(data), "weft", 0.5):
        _dialled(each)


def _dialled(address: str) -> None:
    """What a registry names is an address of the network."""
    [found] = targets.parse([address])
    assert not targets.is_source(found)
    assert not found.startswith("unix")
