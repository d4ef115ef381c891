"""`weft certs`: makes an authority and certificates that TLS takes, overwrites nothing, and renews."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from weft.cli.main import app
from weft.cli.terminal.failure import Failure
from weft.rpc.security.tls import Tls
from weft.rpc.security.tls_files import read


def certs(*words: object) -> str:
    done = CliRunner().invoke(app, ["certs", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def shown(place: Path) -> dict[str, dict[str, object]]:
    return {Path(each["file"]).stem: each for each in json.loads(certs("show", place, "--json"))}


def test_an_authority_signs_certificates_that_are_used_and_renewed(tmp_path: Path):
    pki = tmp_path / "pki"
    certs("init", pki, "--name", "ACME mesh")
    certs("issue", pki, "coordinator", "--dns", "c.example", "--ip", "10.0.0.1", "--ip", "::1")
    certs("issue", pki, "worker-1", "--spiffe", "spiffe://mesh/agent/worker-1", "--days", "5")
    assert stat.S_IMODE(pki.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in pki.glob("*-key.pem")} == {0o600}

    before = shown(pki)
    assert [*before] == ["ca", "coordinator", "worker-1"]
    assert before["ca"]["authority"]
    assert before["coordinator"]["issuer"] == "ACME mesh"
    assert (before["coordinator"]["dns"], before["coordinator"]["ips"]) == (
        ["c.example"],
        ["10.0.0.1", "::1"],
    )
    assert (before["worker-1"]["dns"], before["worker-1"]["uris"]) == (
        ["worker-1"],
        ["spiffe://mesh/agent/worker-1"],
    )
    assert before["worker-1"]["days_left"] == pytest.approx(5, abs=0.1)
    tls = Tls(str(pki / "ca.pem"), str(pki / "worker-1.pem"), str(pki / "worker-1-key.pem"))
    assert read(tls, time.time()).own

    assert "days left" in certs("renew", pki, "--within", "30")
    after = shown(pki)
    assert after["coordinator"] == before["coordinator"]
    changed = {key for key in after["worker-1"] if after["worker-1"][key] != before["worker-1"][key]}
    assert "fingerprint_sha256" in changed
    assert changed <= {"fingerprint_sha256", "begins", "ends", "days_left"}
    assert after["worker-1"]["days_left"] == pytest.approx(5, abs=0.1)
    assert read(tls, time.time()).own
    assert "worker-1, spiffe://mesh/agent/worker-1" in certs("show", pki)


def test_what_cannot_be_done_says_why(tmp_path: Path):
    pki = tmp_path / "pki"
    with pytest.raises(Failure, match="no authority"):
        certs("issue", tmp_path, "a")
    certs("init", pki)
    certs("issue", pki, "a")
    content = {path: path.read_bytes() for path in pki.iterdir()}
    for words, why in (
        (("init", pki), "not overwritten"),
        (("issue", pki, "a"), "not overwritten"),
        (("issue", pki, "ca"), "is not a name"),
        (("issue", pki, "../a"), "is not a name"),
        (("issue", pki, "b", "--ip", "host"), "cannot have a name"),
        (("renew", pki, "ca"), "an authority is not renewed"),
        (("renew", pki, "b"), "cannot read"),
        (("show", tmp_path / "none"), "no folder"),
        (("show", pki / "a-key.pem"), "no certificate in PEM form"),
    ):
        with pytest.raises(Failure, match=why):
            certs(*words)
    assert {path: path.read_bytes() for path in pki.iterdir()} == content
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o777)
    with pytest.raises(Failure, match="others may write"):
        certs("init", wide)
