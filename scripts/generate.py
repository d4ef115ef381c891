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
# What other contracts' clients ask of a coordinator. The Python of each goes below `weft`: no package of weft's is outside it.
DOORS = {
    ROOT / "third_party" / "keda": ROOT / "gen" / "weft" / "keda",
    ROOT / "third_party" / "xds": ROOT / "gen" / "weft" / "xds",
}

# Source root of the protos -> where their Python goes.
TARGETS = {
    ROOT / "protos": ROOT / "gen",
    ROOT / "examples" / "corpus" / "protos": ROOT / "examples" / "corpus" / "gen",
    ROOT / "tests" / "support" / "protos": ROOT / "tests" / "support" / "gen",
}
# Source roots whose protos import others, of which Python is made beside theirs.
WITH = {ROOT / "tests" / "support" / "protos": RULES}
# The Python of services' contracts is beside their code: a package is in one folder.
SERVICES = Path("weft", "services")
# Services of weft have rules, too. Their Python imports that of the rules from the program, which may have its own, or else from weft.
OWN_RULES = ROOT / "gen" / "weft" / "rules"
DOOR_IMPORT = re.compile(r"^import (\w+_pb2 as \w+)$", re.MULTILINE)
RULES_IMPORT = re.compile(r"^from buf\.validate import (validate_pb2 as \w+)$", re.MULTILINE)
# These also get typed stubs and servicers, as in a user's project: type checkers check the library with them.
TYPED = frozenset({ROOT / "examples" / "corpus" / "protos", ROOT / "tests" / "support" / "protos"})


def generate(source: Path, target: Path) -> None:
    """Write the Python of a source root."""
    protoc_run(source, target)
    if source == CONTRACT:
        own = target / OWN_RULES.relative_to(ROOT / "gen")
        with tempfile.TemporaryDirectory() as name:
            rules = Path(name) / "gen"
            protoc_run(RULES, rules)
            shutil.copytree(rules / "buf" / "validate", own)
        for path in (target / "weft" / "services").rglob("*_pb2.py*"):
            path.write_text(with_own_rules(path))
        for protos, place in DOORS.items():
            door = target / place.relative_to(ROOT / "gen")
            protoc_run(protos, door)
            for path in door.rglob("*_pb2_grpc.py"):
                path.write_text(DOOR_IMPORT.sub(rf"from weft.{place.name} import \1", path.read_text()))


def with_own_rules(path: Path) -> str:
    """The code of a module, or of its types, that needs no package `buf`."""
    own = r"from weft.rules import \1"
    either = rf"try:\n    from buf.validate import \1\nexcept ImportError:\n    {own}"
    return RULES_IMPORT.sub(own if path.suffix == ".pyi" else either, path.read_text())


def protoc_run(source: Path, target: Path) -> None:
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
            f"-I{RULES}",
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


def places(fresh: Path, target: Path) -> list[tuple[Path, Path]]:
    """Folders that were generated, each with its place."""
    own = ROOT / "services" / "src" / SERVICES
    services = Path(tempfile.mkdtemp(dir=fresh.parent))
    if (fresh / SERVICES).exists():
        shutil.move(fresh / SERVICES, services / "made")
    found = {path.relative_to(services / "made") for path in (services / "made").glob("*/v*")}
    if target == ROOT / "gen":
        found |= {path.relative_to(own) for path in own.glob("*/v[0-9]*")}
    return [(fresh, target), *((services / "made" / name, own / name) for name in sorted(found))]


def differences(made: Path, place: Path) -> list[Path]:
    """Files that are not as they are generated."""
    names = listing(made) | listing(place)
    return [
        place / n
        for n in sorted(names)
        if not (place / n).exists()
        or not (made / n).exists()
        or not filecmp.cmp(made / n, place / n, shallow=False)
    ]


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
            for made, place in places(fresh, target):
                if check:
                    stale += differences(made, place)
                else:
                    shutil.rmtree(place, ignore_errors=True)
                    if made.exists():
                        shutil.copytree(made, place)
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
