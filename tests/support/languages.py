"""The examples in other languages, built once by their real toolchains, in a folder outside the tree.

    go = Go()                           # skips the test when the toolchain is missing; in CI it fails
    go.server("127.0.0.1:0")            # the command of the stock server, once built
    go.client(target, file)

The builds are kept by the sources' hash, in WEFT_TEST_CACHE or the system's temporary folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.foreign_tools import missing
from tests.support.processes import ROOT

EXAMPLES = ROOT / "examples"
GO_APPS = ROOT / "tests" / "support" / "go_apps"
_PROTOS = ("greeter/protos", "corpus/protos")
# buf also needs these, from the root.
_CONTRACTS = ("protos", "third_party", "buf.yaml")
_IGNORED = shutil.ignore_patterns("node_modules", "target", "__pycache__")
# The first build brings dependencies over the network, which may fail for a moment.
BUILD_S = 500.0
BUILD_TRIES = 3
_PAUSE_S = 5.0
_TAIL_CHARS = 4000


class Language:
    """One language's example. A subclass says how it is built and run."""

    name = ""
    # Programs, the arguments with which each tells its version, and the oldest that will do.
    tools: Sequence[tuple[str, str, tuple[int, ...]]] = ()
    # Folders, from the root.
    sources: Sequence[str] = ()
    # Folders that are built in other places.
    further: Sequence[Path] = ()

    def __init__(self) -> None:
        for tool, flag, least in self.tools:
            _need(tool, flag, least)
        self.built = self._build()

    def build(self, folder: Path) -> None:
        """Build in this folder, which has a copy of the sources."""
        raise NotImplementedError

    def server(self, address: str) -> list[str]:
        raise NotImplementedError

    def client(self, target: str, file: Path) -> list[str]:
        raise NotImplementedError

    def bring_plugins(self, folder: Path) -> None:
        """Put the plugins of buf.gen.yaml where it expects them, in this copy of the example."""

    def generate(self, folder: Path) -> Path:
        """Generate code anew, below this folder. Returns its place."""
        examples = folder / "examples"
        for each in (*_PROTOS, self.name):
            shutil.copytree(EXAMPLES / each, examples / each, ignore=_IGNORED)
        for each in _CONTRACTS:
            (shutil.copytree if (ROOT / each).is_dir() else shutil.copy)(ROOT / each, folder / each)
        self.bring_plugins(examples / self.name)
        run([str(Path(sys.executable).parent / "buf"), "generate"], examples / self.name)
        return examples / self.name / "gen"

    def _build(self) -> Path:
        cache = Path(
            os.environ.get("WEFT_TEST_CACHE") or Path(tempfile.gettempdir()) / f"weft-languages-{os.getuid()}"
        )
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = cache / f"{self.name}-{_hash([*(ROOT / each for each in self.sources), *self.further])}"
        # Several workers may want it at a time.
        with (cache / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = folder / ".built"
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                for each in self.sources:
                    shutil.copytree(ROOT / each, folder / each, ignore=_IGNORED)
                self._try_to_build(folder)
                done.touch()
        return folder

    def _try_to_build(self, folder: Path) -> None:
        for tries_left in reversed(range(BUILD_TRIES)):
            try:
                self.build(folder)
            except AssertionError:
                if not tries_left:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return


class Go(Language):
    name = "go"
    tools = (("go", "version", (1, 24)),)
    sources = ("examples/go",)
    further = (GO_APPS,)

    def build(self, folder: Path) -> None:
        (folder / "bin").mkdir(exist_ok=True)
        # In one module with the examples, whose generated code they use.
        shutil.copytree(GO_APPS, folder / "examples" / "go" / "apps")
        run(
            [
                *("go", "build", "-o", str(folder / "bin") + os.sep),
                *("./server", "./client", "./nativeagent", "./apps/waiting", "./apps/passing"),
            ],
            folder / "examples" / "go",
        )

    def server(self, address: str) -> list[str]:
        return [str(self.built / "bin" / "server"), address]

    def client(self, target: str, file: Path) -> list[str]:
        return [str(self.built / "bin" / "client"), target, str(file)]

    def waiting(self, address: str, reasons: Path) -> list[str]:
        """A stock server whose calls wait until their contexts end, and write to a file why those ended."""
        return [str(self.built / "bin" / "waiting"), address, str(reasons)]

    def passing(self, address: str, egress: str, ledger: str) -> list[str]:
        """A stock server that calls the probe through the egress before it answers."""
        return [str(self.built / "bin" / "passing"), address, egress, ledger]

    def native_agent(self, *words: str) -> list[str]:
        return [str(self.built / "bin" / "nativeagent"), *words]


class Node(Language):
    name = "node"
    tools = (("node", "--version", (18,)), ("npm", "--version", (8,)))
    sources = ("examples/node", "examples/greeter/protos", "protos", "third_party/protovalidate")

    def build(self, folder: Path) -> None:
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder / "examples" / "node")

    def bring_plugins(self, folder: Path) -> None:
        (folder / "node_modules").symlink_to(self.built / "examples" / "node" / "node_modules")

    def server(self, address: str) -> list[str]:
        return ["node", str(self.built / "examples" / "node" / "server.js"), address]

    def client(self, target: str, file: Path) -> list[str]:
        return ["node", str(self.built / "examples" / "node" / "client.js"), target, str(file)]


class Java(Language):
    name = "java"
    tools = (("javac", "-version", (17,)), ("mvn", "--version", (3, 6)))
    sources = ("examples/java",)

    def build(self, folder: Path) -> None:
        run(["mvn", "-q", "-B", "-P", "protoc", "package"], folder / "examples" / "java")

    def bring_plugins(self, folder: Path) -> None:
        (folder / "target").symlink_to(self.built / "examples" / "java" / "target")

    def server(self, address: str) -> list[str]:
        return self._main("Server", address)

    def client(self, target: str, file: Path) -> list[str]:
        return self._main("Client", target, str(file))

    def _main(self, name: str, *words: str) -> list[str]:
        target = self.built / "examples" / "java" / "target"
        return [
            "java",
            "-cp",
            f"{target / 'examples.jar'}:{target / 'lib'}/*",
            f"weft.examples.{name}",
            *words,
        ]


LANGUAGES: dict[str, type[Language]] = {each.name: each for each in (Go, Node, Java)}


def run(words: Sequence[str], folder: Path, timeout_s: float = BUILD_S) -> str:
    """Run a command to its end. Returns its output."""
    done = subprocess.run(
        words,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-_TAIL_CHARS:]}"
    return done.stdout


def _need(tool: str, flag: str, least: tuple[int, ...]) -> None:
    reason = f"needs {tool} {'.'.join(map(str, least))} or newer"
    if shutil.which(tool) is None:
        missing(f"{reason}: it is not installed")
    printed = run([tool, flag], ROOT, 60)
    match = re.search(r"\d+(\.\d+)+", printed)
    if match is None or tuple(map(int, match[0].split("."))) < least:
        missing(f"{reason}: this one is {printed.strip()}")


def _hash(folders: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not {"node_modules", "target", "__pycache__"} & set(path.parts):
                found.update(f"{path.relative_to(ROOT)}\0".encode())
                found.update(path.read_bytes())
    return found.hexdigest()[:16]
