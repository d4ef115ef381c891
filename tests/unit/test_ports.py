"""Unix sockets of servers are in folders for their user alone; who is at the other end of a connection."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from weft.rpc.network.agent_ports import tls_problem
from weft.rpc.network.channel import make_server
from weft.rpc.network.ports import PortRefused, open_port
from weft.rpc.security.peer_identity import subject_of


async def test_a_unix_sockets_folder_is_made_private_or_refused(tmp_path: Path):
    server = make_server()
    made = tmp_path / "made"
    open_port(server, f"unix:{made}/weft.sock")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o750)
    with pytest.raises(PortRefused, match=r"others may enter .*wide \(mode 750\)"):
        open_port(server, f"unix:{wide}/weft.sock")
    with pytest.raises(PortRefused, match="no does not exist: make it first"):
        open_port(server, f"unix:{tmp_path}/no/such/weft.sock")
    with pytest.raises(PortRefused, match="not an address of this machine"):
        open_port(server, "192.0.2.1:0")
    await server.stop(None)


@pytest.mark.parametrize(
    ("names", "subject"),
    [
        ([], ""),
        (["coordinator.example", "10.0.0.1"], "coordinator.example"),
        (["worker-1", "spiffe://mesh/agent/worker-1"], "spiffe://mesh/agent/worker-1"),
        (["https://example.org"], "https://example.org"),
        # A certificate with several SPIFFE ids has none, by their standard.
        (["worker-1", "spiffe://mesh/a", "spiffe://mesh/b"], ""),
    ],
)
def test_the_subject_of_a_certificate(names: list[str], subject: str):
    shown = {"x509_subject_alternative_name": [name.encode() for name in names], "x509_common_name": [b"cn"]}
    assert subject_of(shown) == subject


@pytest.mark.parametrize(
    ("address", "tls_name", "secured", "problem"),
    [
        ("10.0.0.1:1", "", False, ""),
        ("10.0.0.1:1", "a1", True, ""),
        ("10.0.0.1:1", "a1", False, "no authority here to verify it"),
        ("10.0.0.1:1", "", True, "has no TLS"),
        ("worker:1", "", True, "has no TLS"),
        ("127.0.0.1:1", "", True, ""),
        ("[::1]:1", "", True, ""),
        ("localhost:1", "", True, ""),
        ("unix:/run/a.sock", "", True, ""),
    ],
)
def test_whether_an_agents_port_may_be_dialled(address: str, tls_name: str, secured: bool, problem: str):
    found = tls_problem(address, tls_name, secured=secured)
    assert problem in found
    assert bool(found) == bool(problem)
