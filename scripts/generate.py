"""Generate Python from the protobuf contract, and the sync client from the asyncio one: `python scripts/generate.py` (or `--check` to compare only).

buf lints and checks for breaking changes, but it cannot run grpcio-tools' Python plugin. This script runs it.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import generate_sync
import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
# Users' protos may import weft/v1/options.proto from here.
CONTRACT = ROOT / "protos"
# The copy that is installed with weft, for users' protoc.
SHIPPED = {
    CONTRACT / "weft/v1/options.proto": ROOT / "rpc/src/weft/protos/include/weft/v1/options.proto",
}
GOOGLEAPIS = ROOT / "third_party" / "googleapis"
# Rules of payloads. No package has Python of this file for protobuf's own library.
RULES = ROOT / "third_party" / "protovalidate"

# Source root of the protos -> where their Python goes.
TARGETS = {
    ROOT / "protos": ROOT / "gen",
    ROOT / "examples" / "corpus" / "protos": ROOT / "examples" / "corpus" / "gen",
    ROOT / "tests" / "support" / "protos": ROOT / "tests" / "support" / "gen",
}
# Source roots whose protos import others, of which Python is made beside theirs.
WITH = {ROOT / "tests" / "support" / "protos": RULES}
# These also get typed stubs and servicers, as in a user's project: type checkers check the library with them.
TYPED = frozenset({ROOT / "examples" / "corpus" / "protos", ROOT / "tests" / "support" / "protos"})


def generate(source: Path, target: Path) -> None:
    roots = [source, *filter(None, [WITH.get(source)])]
    files = sorted(str(path.relative_to(root)) for root in roots for path in root.rglob("*.proto"))
    target.mkdir(parents=True, exist_ok=True)
    typed_stubs = [
        f"--plugin=protoc-gen-mypy_grpc={Path(sys.executable).parent / 'protoc-gen-mypy_grpc'}",
        f"--mypy_grpc_out=quiet:{target}",
    ]
    code = protoc.main(
        [
            "protoc",
            *(f"-I{root}" for root in roots),
            f"-I{CONTRACT}",
            f"-I{GOOGLEAPIS}",
            f"-I{WELL_KNOWN}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpc_python_out={target}",
            *(typed_stubs if source in TYPED else ()),
            *files,
        ]
    )
    if code != 0:
        raise SystemExit(code)
    for folder in {(target / name).parent for name in files}:
        (folder / "py.typed").touch()
    # A file without a service yields an empty gRPC module: leave it out.
    for module in target.rglob("*_pb2_grpc.py"):
        if "class " not in module.read_text().replace("class to help", ""):
            module.unlink()


def pinned_generator() -> str:
    """The version of grpcio-tools whose output is committed. It decides the lowest grpcio and protobuf that weft
    allows."""
    found = re.search(r'"grpcio-tools==([0-9.]+)', (ROOT / "pyproject.toml").read_text())
    assert found, "pyproject.toml pins grpcio-tools"
    return found[1]


def listing(folder: Path) -> set[Path]:
    return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the committed code is stale")
    check = parser.parse_args().check
    pinned, here = pinned_generator(), metadata.version("grpcio-tools")
    if here != pinned:
        print(
            f"grpcio-tools {pinned} generates the committed code, and {here} is installed here",
            file=sys.stderr,
        )
        # A Python that is too new for the pinned version cannot generate. The committed code may still be right.
        return 0 if check else 1
    stale: list[Path] = []
    for source, target in TARGETS.items():
        if not source.exists():
            continue
        with tempfile.TemporaryDirectory() as name:
            # A folder below the temporary one, whose own permissions are for this user alone.
            fresh = Path(name) / "gen"
            generate(source, fresh)
            if check:
                names = listing(fresh) | listing(target)
                stale += [
                    target / n
                    for n in sorted(names)
                    if not (target / n).exists()
                    or not (fresh / n).exists()
                    or not filecmp.cmp(fresh / n, target / n, shallow=False)
                ]
            else:
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(fresh, target)
    for path, code in generate_sync.generated().items():
        if not check:
            path.write_text(code)
        elif not path.exists() or path.read_text() != code:
            stale.append(path)
    for path, copy in SHIPPED.items():
        if not check:
            shutil.copyfile(path, copy)
        elif not copy.exists() or not filecmp.cmp(path, copy, shallow=False):
            stale.append(copy)
    for path in stale:
        print(f"stale: {path.relative_to(ROOT)} (run `make gen`)", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
