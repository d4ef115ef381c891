"""What callers may name: URLs, branches, revisions, paths, credentials; and what git's words mean."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.rpc.errors import error_info
from weft.services.repositories.changes import commits_of, parse_status
from weft.services.repositories.credentials import TOKEN_USER, Credential, CredentialError, Secret, choose
from weft.services.repositories.git_failures import of_local, of_remote
from weft.services.repositories.git_names import check_branch, check_path, is_git_folder, revision_refs
from weft.services.repositories.git_settings import environment
from weft.services.repositories.problems import DOMAIN, RepositoryError
from weft.services.repositories.remote_urls import RemoteUrl, check_url
from weft.services.repositories.settings import RepositoriesSettings
from weft.services.repositories.v1 import repositories_pb2 as pb

HOSTS = ("github.com", "*.example.com", "git.local:8443")
SITE = RemoteUrl("https", "github.com", "acme/site")


def reason_of(call, *args) -> str:
    with pytest.raises(RepositoryError) as refused:
        call(*args)
    return refused.value.reason


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://github.com/acme/site", "https://github.com/acme/site"),
        ("https://GitHub.com:443/acme/site.git/", "https://github.com/acme/site.git"),
        ("https://a.example.com/~ada/x+y/z", "https://a.example.com/~ada/x+y/z"),
        ("https://git.local:8443/x", "https://git.local:8443/x"),
        ("http://plain:80/x", "http://plain/x"),
        ("https://plain/x", "https://plain/x"),
    ],
)
def test_urls_that_are_taken(url: str, text: str) -> None:
    assert check_url(url, HOSTS, ("plain",)).text == text


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ext::sh -c 'touch /tmp/x'",
        "file:///etc",
        "/etc",
        "../x",
        "git://github.com/a/b",
        "ssh://github.com/a/b",
        "git@github.com:a/b",
        "https::https://github.com/a/b",
        "--upload-pack=touch x",
        "-oProxyCommand=x",
        "https://-oProxyCommand=x/a/b",
        "https://github.com",
        "https://github.com/",
        "https://github.com//x",
        "https://github.com/../x",
        "https://github.com/a/../x",
        "https://github.com/a/.git",
        "https://github.com/-x",
        "https://github.com/a/-x",
        "https://github.com/a%2f..%2fb",
        "https://github.com/a?x",
        "https://github.com/a?",
        "https://github.com/a#x",
        "https://github.com/a b",
        "https://github.com/a\nb",
        "https://github.com/a\\b",
        "https://github.com:0/a",
        "https://github.com:x/a",
        "https://[::1/a",
        "https://g\u0456thub.com/a/b",
        "https://user:secret-word@github.com/a/b",
        "https://github.com@evil.com/a/b",
    ],
)
def test_urls_that_are_not(url: str) -> None:
    with pytest.raises(RepositoryError) as refused:
        check_url(url, HOSTS, ())
    assert refused.value.reason == "NAME_REFUSED"
    assert "secret-word" not in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.com/a/b",
        "http://github.com/a/b",
        "https://example.com/a",
        "https://xexample.com/a",
        "https://github.com.evil.com/a",
        "https://github.com:8443/a",
        "https://127.0.0.1/a",
        "https://[::1]/a",
        "https://git.local/a",
    ],
)
def test_hosts_that_are_not_allowed(url: str) -> None:
    assert reason_of(check_url, url, HOSTS, ()) == "REMOTE_REFUSED"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-x",
        "--force",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a@{1}",
        "@",
        "a/",
        "/a",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a.",
        "HEAD",
        "head",
        "refs/heads/x",
        "origin/x",
        "a\x00b",
        "a\x7fb",
        "a\u202eb",
        "0" * 40,
        "a" * 201,
    ],
)
def test_branches_that_are_refused(name: str) -> None:
    assert reason_of(check_branch, name) == "NAME_REFUSED"
    if name and not name.startswith("origin/") and name != "0" * 40:
        assert reason_of(revision_refs, name) == "NAME_REFUSED"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.text(st.sampled_from("a1-._/@{}~^:?*[\\ \u00e9+#"), min_size=1, max_size=12),
        min_size=20,
        max_size=20,
    )
)
def test_git_takes_what_is_taken(names: list[str]) -> None:
    """One process of git for many names."""
    taken = []
    for name in names:
        try:
            taken.append(check_branch(name))
        except RepositoryError:
            continue
    if taken:
        script = 'for each; do git check-ref-format "refs/heads/$each" && git check-ref-format --branch "$each" || echo "no $each"; done'
        done = subprocess.run(["sh", "-c", script, "sh", *taken], capture_output=True, check=True, text=True)
        assert "no " not in done.stdout, done.stdout


def test_revisions() -> None:
    assert revision_refs("") == ("HEAD",)
    assert revision_refs("origin/main") == ("refs/remotes/origin/main",)
    assert revision_refs("a" * 40) == ("a" * 40,)
    assert revision_refs("abcdef1") == ("refs/heads/abcdef1", "abcdef1")
    for name in ("main..x", "HEAD~1", "main^{tree}", ":/x", "--all", "origin/--x", "refs/heads/x"):
        assert reason_of(revision_refs, name) == "NAME_REFUSED", name


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        "./a",
        "a\\..\\b",
        "a\x00",
        "a\nb",
        ".git/config",
        "a/.git/hooks/x",
        ".GIT",
        ".git ",
        ".git...",
        "git~1",
        ".gi\u200dt/x",
        ".git::$INDEX_ALLOCATION",
        "\ud800",
        "a" * 256,
    ],
)
def test_paths_that_are_refused(path: str) -> None:
    assert reason_of(check_path, path) == "PATH_REFUSED"


def test_paths_that_are_taken() -> None:
    assert check_path("a/.gitignore") == ("a", ".gitignore")
    assert check_path("-rf/\u00e9 b") == ("-rf", "\u00e9 b")
    assert not is_git_folder(".github")


def test_credentials_are_for_their_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("ada:pass:word\n")
    bot = Credential.parse("bot", "env:BOT_TOKEN@github.com/acme/*")
    ada = Credential.parse("ada", f"file:{file}@github.com")
    monkeypatch.setenv("BOT_TOKEN", "ghp_1")
    assert bot.read() == Secret(TOKEN_USER, "ghp_1")
    assert ada.read() == Secret("ada", "pass:word")
    assert "ghp_1" not in repr(bot.read())
    both = [bot, ada]
    assert choose(both, "", SITE) == bot
    assert choose(both, "", RemoteUrl("https", "github.com", "others/site")) == ada
    assert choose(both, "", RemoteUrl("https", "gitlab.com", "acme/site")) is None
    assert choose(both, "ada", SITE) == ada
    assert reason_of(choose, both, "bot", RemoteUrl("https", "github.com", "acme.evil/x")) == "REMOTE_REFUSED"
    assert reason_of(choose, both, "bot", RemoteUrl("https", "evil.com", "acme/x")) == "REMOTE_REFUSED"
    assert reason_of(choose, both, "nobody", SITE) == "CREDENTIAL_MISSING"
    for value in ("", "  ", "a\nb", "x" * 5000):
        monkeypatch.setenv("BOT_TOKEN", value)
        assert reason_of(bot.read) == "CREDENTIAL_MISSING"
    file.unlink()
    assert reason_of(ada.read) == "CREDENTIAL_MISSING"


def test_a_wrong_setting_does_not_tell_the_secret() -> None:
    for text in ("ghp_secret", "env:a b@github.com", "env:X@", "env:X@a@b", "env:ghp_secret!@github.com"):
        with pytest.raises(CredentialError) as refused:
            Credential.parse("bot", text)
        assert "secret" not in str(refused.value)
        with pytest.raises(ValueError) as wrong:
            RepositoriesSettings(credentials={"bot": text})
        assert "must be env:VARIABLE" in str(wrong.value) or "does not name" in str(wrong.value)
    assert RepositoriesSettings.model_validate(
        {"credentials": "bot=env:A@github.com/acme/*,x=file:/y@h"}
    ).credentials == {
        "bot": "env:A@github.com/acme/*",
        "x": "file:/y@h",
    }
    for hosts in ("http://x", "a b", "*", "-x"):
        with pytest.raises(ValueError, match="is not a host"):
            RepositoriesSettings.model_validate({"hosts": hosts})


def test_gits_environment_has_nothing_of_the_agents() -> None:
    made = environment(
        {"GITHUB_TOKEN": "x", "GIT_SSH_COMMAND": "x", "GIT_TRACE": "1", "HOME": "/root", "PATH": "/bin"}
    )
    assert {"GITHUB_TOKEN", "GIT_SSH_COMMAND", "GIT_TRACE"}.isdisjoint(made)
    assert (made["HOME"], made["PATH"], made["GIT_ALLOW_PROTOCOL"]) == ("/nonexistent", "/bin", "none")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("fatal: Authentication failed for 'https://github.com/a/b/'", "REMOTE_REFUSED"),
        (
            "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
            "REMOTE_REFUSED",
        ),
        ("fatal: unable to access 'x': The requested URL returned error: 403", "REMOTE_REFUSED"),
        ("fatal: unable to access 'x': The requested URL returned error: 301", "REMOTE_REFUSED"),
        ("remote: Repository not found.\nfatal: repository 'https://x/y/' not found", "REPOSITORY_NOT_FOUND"),
        ("fatal: unable to access 'x': Could not resolve host: x", "REMOTE_UNAVAILABLE"),
        (
            "fatal: unable to access 'x': Failed to connect to x port 1: Connection refused",
            "REMOTE_UNAVAILABLE",
        ),
        (
            "error: RPC failed; curl 18 transfer closed with outstanding read data remaining",
            "REMOTE_UNAVAILABLE",
        ),
        ("fatal: unable to access 'x': The requested URL returned error: 503", "REMOTE_UNAVAILABLE"),
        ("fatal: couldn't find remote ref refs/heads/x", "BRANCH_NOT_FOUND"),
        ("fatal: attempting to allocate 1099511627776 over limit 536870912", "TOO_LARGE"),
        ("fatal: fsck error in packed object", "GIT_FAILED"),
        ("", "GIT_FAILED"),
    ],
)
def test_what_gits_words_mean(error: str, reason: str) -> None:
    assert of_remote("fetch", error, 128).reason == reason
    assert "signal 9" in of_local("fetch", "", -9).message


def test_an_error_has_its_reason_and_shows_no_controls() -> None:
    error = RepositoryError("REMOTE_UNAVAILABLE", "remote: \x1b[2Jhello " + "x" * 5000, retry_after_s=2)
    assert error.code == grpc.StatusCode.UNAVAILABLE
    assert "\\x1b[2J" in error.message
    status = error.status()
    assert len(status.SerializeToString()) < 2000
    assert error_info(status) == error_details_pb2.ErrorInfo(reason="REMOTE_UNAVAILABLE", domain=DOMAIN)
    for name in pb.ErrorReason.keys()[1:]:
        RepositoryError(name.removeprefix("ERROR_REASON_"), "")
    with pytest.raises(ValueError):
        RepositoryError("ANYTHING", "")


def test_status_and_log_are_read_as_git_writes_them() -> None:
    out = (
        b"# branch.oid " + b"a" * 40 + b"\0# branch.head main\0"
        b"1 .M N... 100644 100644 100644 aa bb with space\0"
        b"1 D. N... 100644 000000 000000 aa bb gone\0"
        b"1 A. N... 000000 100644 100644 aa bb new\n line\0"
        b"u UU N... 1 2 3 4 a b c both\0"
        b"? \xff\0! ignored\0cut"
    )
    found = parse_status(out)
    assert (found.branch, found.head) == ("main", "a" * 40)
    assert [(each.path, each.change) for each in found.files] == [
        ("with space", pb.FILE_CHANGE_MODIFIED),
        ("gone", pb.FILE_CHANGE_DELETED),
        ("new\n line", pb.FILE_CHANGE_ADDED),
        ("both", pb.FILE_CHANGE_CONFLICTED),
        ("\ufffd", pb.FILE_CHANGE_ADDED),
    ]
    assert not parse_status(b"# branch.oid (initial)\0# branch.head (detached)\0").head
    one = b"\0".join([b"c" * 40, b"p q", b"Ada\xff", b"a@b", b"12", b"subject\n\nbody\n"])
    late = b"\0".join([b"d" * 40, b"", b"A", b"a", b"9" * 30, b"m"])
    first, second = commits_of(one + b"\0" + late + b"\0" + one[:60])
    assert (list(first.parents), first.author.name, first.message) == (
        ["p", "q"],
        "Ada\ufffd",
        "subject\n\nbody",
    )
    assert first.authored_at.seconds == 12
    assert not second.HasField("authored_at")
