"""The files of certificates: what cannot be used is named with a reason, and changed files are read again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.certificates import TestAuthority, signed_by_sha1, written
from tests.support.logged import captured
from weft.rpc.errors import InvalidArgument
from weft.rpc.security import tls_files
from weft.rpc.security.certificates import new_authority
from weft.rpc.security.tls import SYSTEM, VARIABLES, Tls, chosen, from_environment
from weft.rpc.security.tls_files import TlsFiles, read

Files = Callable[[], tuple[object, object]]
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("pki"))


def test_a_good_certificate_says_its_names(authority: TestAuthority):
    tls = authority.tls("worker-1", ips=("127.0.0.1", "::1"), spiffe="spiffe://mesh/agent/worker-1")
    own = read(tls, time.time()).own
    assert own is not None
    assert (own.subject, own.dns, own.ips, own.uris) == (
        "worker-1",
        ("worker-1",),
        ("127.0.0.1", "::1"),
        ("spiffe://mesh/agent/worker-1",),
    )
    assert own.server_name == "worker-1"
    assert own.ends_s - own.begins_s == pytest.approx(90 * 86400 + 3600)


def bad_certificates(authority: TestAuthority) -> dict[str, tuple[tuple[Path, Path], str]]:
    folder = authority.folder

    def made(name: str, **how: object) -> tuple[Path, Path]:
        return written(folder / name, authority.issue(name, **how))  # type: ignore[arg-type]

    good, other = made("good"), made("other")
    empty, text, cut = folder / "empty", folder / "text", folder / "cut.pem"
    empty.write_bytes(b"")
    text.write_text("this is no certificate")
    cut.write_bytes(good[0].read_bytes()[:300])
    locked = folder / "locked-key.pem"
    weak = signed_by_sha1(authority, "weak") if shutil.which("openssl") else None
    found = {
        "expired": (made("expired", ago=100 * DAY), "the certificate has ended on"),
        "not yet valid": (made("early", ago=-10 * DAY), "is this machine's clock right?"),
        "key of another": ((good[0], other[1]), "the key is that of another certificate"),
        "certificate missing": ((folder / "none.pem", good[1]), "none.pem: No such file or directory"),
        "key missing": ((good[0], folder / "none.pem"), "none.pem: No such file or directory"),
        "a folder": ((folder, good[1]), "Is a directory"),
        "empty": ((empty, good[1]), "the file is empty"),
        "empty key": ((good[0], empty), "the file is empty"),
        "no certificate": ((text, good[1]), "not a certificate in PEM form"),
        "cut off": ((cut, good[1]), "not a certificate in PEM form"),
        "key in the place of the certificate": ((good[1], good[1]), "not a certificate in PEM form"),
        "key with a password": ((good[0], locked), "the key has a password"),
    }
    if weak is not None:
        found["SHA-1"] = (weak, "it is signed by SHA-1 or MD5")
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(good[1].read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"x"))
    )
    return found


def test_each_bad_certificate_is_refused_with_its_file_and_a_reason(authority: TestAuthority):
    for kind, ((cert, key), why) in bad_certificates(authority).items():
        with pytest.raises(InvalidArgument) as caught:
            TlsFiles(Tls(cert=str(cert), key=str(key)))
        assert why in caught.value.message, kind
        assert "WEFT_TLS_" in caught.value.message, kind
        assert str(cert) in caught.value.message or str(key) in caught.value.message, kind


def test_authorities_are_checked_too(authority: TestAuthority, tmp_path: Path):
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "empty").touch()
    for name, why in (("text", "no certificate in PEM form"), ("empty", "empty"), ("none", "No such file")):
        with pytest.raises(InvalidArgument, match=why):
            read(Tls(ca=str(tmp_path / name)), time.time())
    # One of several may have ended: another is in force.
    ended = new_authority("old", datetime.now(UTC) - 20 * DAY, days=10).certificate
    (tmp_path / "ended").write_bytes(ended)
    with pytest.raises(InvalidArgument, match="the authority has ended on"):
        read(Tls(ca=str(tmp_path / "ended")), time.time())
    (tmp_path / "both").write_bytes(ended + authority.pair.certificate)
    read(Tls(ca=str(tmp_path / "both")), time.time())
    assert read(Tls(ca=str(authority.ca)), time.time()).ca == authority.pair.certificate
    read(Tls(ca=SYSTEM), time.time())


def test_settings_that_do_not_fit_together_are_refused():
    for settings, why in (
        ({"cert": "a"}, "no key"),
        ({"key": "a"}, "no cert"),
        ({"client_ca": "a"}, "needs one of its own"),
        ({"server_name": "a"}, "set ca"),
    ):
        with pytest.raises(InvalidArgument, match=why):
            Tls(**settings)
    with pytest.raises(InvalidArgument, match="authorities"):
        chosen(Tls(cert="a", key="b"))


def test_a_client_is_set_up_by_the_program_or_by_the_environment(monkeypatch: pytest.MonkeyPatch):
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    assert from_environment() is None
    assert chosen(None) is None
    assert chosen(True) == Tls(ca=SYSTEM)
    monkeypatch.setenv("WEFT_TLS_CA", "ca.pem")
    assert chosen(None) == Tls(ca="ca.pem")
    assert chosen(False) is None
    assert chosen(Tls(ca="own.pem")) == Tls(ca="own.pem")


def test_changed_files_are_read_again_and_wrong_ones_are_not_used(
    authority: TestAuthority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(tls_files, "LOOK_S", 0.0)
    tls = authority.tls("renewed")
    files = TlsFiles(tls)
    first = files.material
    assert files.look() == 1

    written(authority.folder / "renewed", authority.issue("renewed"))
    assert files.look() == 2
    second = files.material
    assert second.cert != first.cert

    # The certificate first, its key later, as some tools write them.
    pair = authority.issue("renewed")
    Path(tls.cert).write_bytes(pair.certificate)
    assert files.look() == 2
    assert files.material == second
    Path(tls.key).write_bytes(pair.key)
    assert files.look() == 3
    assert files.material.cert == pair.certificate

    Path(tls.cert).unlink()
    assert files.look() == files.look() == 3


def test_warnings_of_a_key_that_others_may_read_and_of_a_near_end(authority: TestAuthority):
    tls = authority.tls("careless", ago=timedelta(days=88))
    with captured() as told:
        TlsFiles(tls)
        Path(tls.key).chmod(0o644)
        TlsFiles(tls)
    events = [each["event"] for each in told]
    assert events == ["tls.ends_soon", "tls.key_readable", "tls.ends_soon"]
