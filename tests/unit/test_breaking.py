"""The check for breaking changes, in small repositories of its own: it compares with the right commit or says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(ROOT / ".venv/bin/buf")
FIRST = 'syntax = "proto3";\npackage p.v1;\nmessage M {\n  int32 a = 1;\n}\n'
ADDED = FIRST.replace("}", "  int32 b = 2;\n}")
BROKEN = FIRST.replace("int32 a", "string a")
NOT_CHECKED = "breaking changes: not checked: "


class Repository:
    """A checkout with the script, and a proto that changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts/breaking.sh", folder / "scripts")
        (folder / "buf.yaml").write_text("version: v2\nmodules:\n  - path: protos\n")
        (folder / "third_party").mkdir()
        (folder / "third_party/README").touch()

    def git(self, *words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(
            ["git", *identity, *words], cwd=self.folder, check=True, capture_output=True, env=clean_env()
        )

    def init(self, branch: str = "main") -> Repository:
        self.git("init", "--quiet", "-b", branch)
        return self

    def write(self, proto: str) -> Repository:
        path = self.folder / "protos/p/v1/p.proto"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(proto)
        return self

    def commit(self) -> Repository:
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", "x")
        return self

    def check(self) -> tuple[int, str]:
        ran = subprocess.run(
            ["scripts/breaking.sh"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env=clean_env(),
            check=False,
            timeout=60,
        )
        return ran.returncode, ran.stdout + ran.stderr


def clean_env() -> dict[str, str]:
    """With buf on the path, and no repository but the test's own."""
    path = f"{BUF.parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "GIT_CEILING_DIRECTORIES": "/"}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    if not BUF.exists():
        pytest.skip("buf is not installed in .venv")
    return Repository(tmp_path / "repository")


def test_uncommitted_changes_are_compared_with_main(repository):
    repository.init().write(FIRST).commit()
    repository.write(ADDED)
    assert repository.check() == (0, "")
    repository.write(BROKEN)
    code, printed = repository.check()
    assert code == 1
    assert 'Field "1"' in printed


def test_a_branch_is_compared_with_where_it_left_main(repository):
    repository.init().write(FIRST).commit()
    repository.git("checkout", "--quiet", "-b", "topic")
    repository.write(BROKEN).commit().commit()
    code, printed = repository.check()
    assert code == 1, printed


def test_what_main_gained_since_is_not_held_against_a_branch(repository):
    repository.init().write(FIRST).commit()
    repository.git("checkout", "--quiet", "-b", "topic")
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.write(ADDED).commit()
    repository.git("checkout", "--quiet", "topic")
    assert repository.check() == (0, "")


def test_main_itself_is_compared_with_the_commit_before(repository):
    repository.init().write(FIRST).commit().write(ADDED).commit()
    assert repository.check() == (0, "")
    repository.write(BROKEN).commit()
    code, printed = repository.check()
    assert code == 1, printed


def test_a_clone_has_main_at_its_origin(repository, tmp_path):
    repository.init().write(FIRST).commit()
    repository.git("checkout", "--quiet", "-b", "topic")
    repository.write(BROKEN).commit()
    clone = Repository(tmp_path / "clone")
    clone.git("init", "--quiet", "-b", "elsewhere")
    clone.git("remote", "add", "origin", str(repository.folder))
    clone.git("fetch", "--quiet", "origin")
    clone.git("checkout", "--quiet", "--force", "--detach", "origin/topic")
    code, printed = clone.check()
    assert code == 1, printed


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda r: r.write(FIRST), "git cannot read this checkout"),
        (lambda r: r.init().write(FIRST), "nothing is committed yet"),
        (lambda r: r.init().write(FIRST).commit(), "this clone has one commit only"),
        (lambda r: r.init("topic").write(FIRST).commit(), "there is no main branch here"),
        (lambda r: r.init().commit().write(FIRST).commit(), "has no protos"),
    ],
    ids=["no-git", "no-commit", "first-commit", "no-main", "no-protos"],
)
def test_without_a_base_it_says_so_and_passes(repository, prepare, why):
    prepare(repository)
    code, printed = repository.check()
    assert code == 0, printed
    assert NOT_CHECKED in printed
    assert why in printed


def test_a_shallow_clone_passes(repository, tmp_path):
    repository.init().write(FIRST).commit().write(BROKEN).commit()
    clone = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth", "1", f"file://{repository.folder}", str(clone))
    ran = subprocess.run(
        ["scripts/breaking.sh"],
        cwd=clone,
        capture_output=True,
        text=True,
        env=clean_env(),
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (0, f"{NOT_CHECKED}this clone has one commit only\n")
