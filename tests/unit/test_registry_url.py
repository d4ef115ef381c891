"""URLs of registries: what they say, and what is refused."""

from __future__ import annotations

import pytest

from weft.rpc.errors import InvalidArgument
from weft.rpc.network.registry_url import registrar_url, source_url
from weft.rpc.network.targets import is_source, parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "dns+srv://_weft._tcp.example.com",
            {"service": "_weft._tcp.example.com", "tls_name": "example.com"},
        ),
        ("dns+srv://weft.service.consul?server=127.0.0.1:8600", {"server": "127.0.0.1:8600"}),
        (
            "k8s://mesh/weft:grpc",
            {"namespace": "mesh", "service": "weft", "port": "grpc", "tls_name": "weft.mesh.svc"},
        ),
        ("k8s://mesh/weft", {"port": ""}),
        ("consul://10.0.0.9", {"server": "10.0.0.9:8500", "service": "", "tls_name": "weft.service.consul"}),
        (
            "consul://[fd00::9]:8500/mesh?tag=eu&tag=b&dc=x",
            {"tags": ("eu", "b"), "tls_name": "mesh.service.x.consul"},
        ),
        ("consul+https://consul.example/weft", {"server": "consul.example:8501"}),
        ("file:///etc/weft/a%2Cb?service=mesh", {"path": "/etc/weft/a,b", "service": "mesh", "tls_name": ""}),
    ],
)
def test_sources(text: str, wanted: dict[str, object]) -> None:
    found = source_url(text)
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert parse(text) == (text,)
    assert is_source(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dns+srv://", r"write dns\+srv"),
        ("dns+srv://a/b", r"write dns\+srv"),
        ("dns+srv://a?server=dns.example", "must be an IP address"),
        ("k8s://mesh", "names no service"),
        ("k8s://Mesh/weft", "names of Kubernetes"),
        ("k8s://mesh/weft:", "no port's number"),
        ("consul://", "HOST:PORT"),
        ("consul://host:0", "HOST:PORT"),
        ("consul://host:99999/weft", "HOST:PORT"),
        ("consul://[1]/weft", "IPv6"),
        ("consul://host/a/b", "a service's name"),
        ("consul://host/weft?tag=a%2Cb", "a tag is"),
        ("consul://host/weft?check=no", "ttl or grpc"),
        ("consul://host/weft?ttl_s=1e9", "from 5 to 3600"),
        ("consul://host/weft?ttl_s=nan", "from 5 to 3600"),
        ("consul://host/weft?dc=a&dc=b", "too often"),
        ("consul://host/weft#x", "behind #"),
        ("consul://host/we ft", "blanks"),
        ("file://etc/weft", "three slashes"),
        ("file:///", "three slashes"),
        ("file:///a/", "three slashes"),
        ("consul://" + "a" * 3000, "more than 2048"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why) as refused:
        parse([text])
    assert len(refused.value.message) < 2500


@pytest.mark.parametrize("text", ["consul://user:hunter2@host/weft", "consul://host/weft?token=hunter2"])
def test_secrets_are_not_shown(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse(text)
    assert "hunter2" not in refused.value.message


def test_a_source_stands_alone() -> None:
    with pytest.raises(InvalidArgument, match="cannot be one of several"):
        parse("consul://host/weft,10.0.0.1:7700")


def test_where_one_address_is_wanted() -> None:
    with pytest.raises(InvalidArgument, match="write HOST:PORT"):
        parse("consul://host/weft", sources=False)
    assert parse("10.0.0.1", sources=False) == ("10.0.0.1:7700",)


def test_registrars() -> None:
    assert registrar_url("consul://127.0.0.1:8500?ttl_s=10&check=grpc&tag=eu").ttl_s == 10
    assert registrar_url("k8s://mesh").namespace == "mesh"
    assert registrar_url("consul://127.0.0.1/mesh", of_coordinator=True).service == "mesh"
    assert registrar_url("file:///a?address=10.0.0.1:7700", of_coordinator=True).address == "10.0.0.1:7700"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dns+srv://a.b", "only read"),
        ("consul://host/weft", "under its own name"),
        ("10.0.0.1:8500", "write dns"),
        ("file:///a?address=10.0.0.1", "HOST:PORT"),
    ],
)
def test_refused_registrars(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        registrar_url(text)
