"""Where outgoing hooks may send: URLs, hosts and addresses. Each row is a way that others have used to reach what is not public."""

from __future__ import annotations

import ipaddress

import pytest

from weft.coordinator.hooks.outgoing_url import (
    UrlPlace,
    check_address,
    check_host,
    is_public,
    meant,
    networks_of,
    place_of,
)
from weft.rpc.errors import FailedPrecondition, InvalidArgument

PLACE = UrlPlace("example.com", 443, secure=True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",  # metadata of clouds
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:53aa:64c:0:0:80ff:fffe",  # Teredo
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",  # metadata by IPv6
        "ff02::1",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    with pytest.raises(FailedPrecondition, match="not a public address") as error:
        check_address(PLACE, address, ())
    assert error.value.reason_name == "HOOK_ADDRESS_REFUSED"


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_addresses_that_are(address: str) -> None:
    check_address(PLACE, address, ())
    assert is_public(meant(ipaddress.ip_address(address)))
    with pytest.raises(FailedPrecondition, match="https"):
        check_address(PLACE._replace(secure=False), address, ())


def test_networks_that_are_allowed() -> None:
    networks = networks_of(["10.1.0.0/16", "::1/128"])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "::1"):
        check_address(PLACE._replace(secure=False), address, networks)
    for address in ("10.2.0.1", "127.0.0.1"):
        with pytest.raises(FailedPrecondition):
            check_address(PLACE, address, networks)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/x",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://",
        "https:///x",
        "https://user:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com#@127.0.0.1/",
        "https://example.com/#x",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://example.com\\@127.0.0.1/",
        "https://[::1/",
        "https://ex\u00e4mple.com/",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_urls_that_no_hook_can_have(url: str) -> None:
    with pytest.raises(InvalidArgument):
        place_of(url)


def test_hosts() -> None:
    assert place_of("https://Hooks.Example.com.:8443/a?b=c") == UrlPlace(
        "hooks.example.com", 8443, secure=True
    )
    assert place_of("http://[::1]:80/") == UrlPlace("::1", 80, secure=False)
    check_host(place_of("https://a.example.com/"), ["*.example.com"])
    for host in ("example.com", "a.example.com.evil.org", "evil.org", "2130706433", "0x7f.1"):
        with pytest.raises(FailedPrecondition, match="hook_hosts"):
            check_host(place_of(f"https://{host}/"), ["*.example.com"])
    with pytest.raises(FailedPrecondition, match="no hosts"):
        check_host(PLACE, [])
