"""Builds the folder that is the whole of weft in a container image: the Dockerfile runs it, and `make release-check`.

    names      of the extras of one image, resolved within requirements.lock
    packages   by the lock's versions and hashes, of this platform or another (uv takes the wheels of either)
    weft       the project itself
    left out   debug symbols, tests, headers, commands other than `weft`: see `_prune`
    SBOM       what is in the folder, by CycloneDX: sbom.cdx.json
    bytecode   of everything, valid by decision and not by a file's time, since nothing can be compiled on a read-only root

Two runs make the same bytes. The folder is an environment of Python (venv) for the place FINAL.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FINAL = Path("/opt/weft")
# Of an agent: what `pip install weft[...]` needs so that `weft agent` runs with TLS, tokens, traces and metrics.
_OF_AGENTS = ("agent", "cli", "security", "telemetry")
EXTRAS = {
    "coordinator": ("cli", "coordinator", "filters", "http", "security", "telemetry"),
    "agent": _OF_AGENTS,
    "sidecar": _OF_AGENTS,
}
# The most bytes of each tree, bytecode included.
MAX_BYTES = {"coordinator": 120_000_000, "agent": 120_000_000, "sidecar": 120_000_000}
PLATFORMS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
# A pinned requirement of the lock with its hashes; two of one name differ by their markers.
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==[^\n\\]*(?:\\\n    --hash=[^\n\\]*)+", re.MULTILINE)
# Folders that no program imports. `bazel-project` is the source tree of CEL, which its wheel has by mistake.
_FOLDERS = ("tests", "test", "bazel-project")
_SUFFIXES = (".pyi", ".pyx", ".pxd", ".c", ".h", ".cc")
# Extensions of CEL that weft's expressions have not.
_UNUSED = ("cel_expr_python/ext",)
# The lexers of Pygments that weft shows: tracebacks and JSON. The others are of some 500 languages.
_LEXERS = ("__init__.py", "_mapping.py", "data.py", "javascript.py", "python.py", "special.py")
# They tell of the machine that built it.
_OF_THE_BUILD = ("direct_url.json", "uv_cache.json", "uv_build.json", "REQUESTED")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", choices=sorted(EXTRAS))
    parser.add_argument("folder", type=Path, help="where to build it; what is there is replaced")
    parser.add_argument("--arch", choices=sorted(PLATFORMS), help="unless set, this machine's")
    parser.add_argument("--python", default=sys.executable, help="an interpreter of the image's version")
    parser.add_argument("--home", default="/usr/local/bin", help="the folder of `python3` in the image")
    parser.add_argument("--sbom", help="cyclonedx-py; unless set, no SBOM is written")
    given = parser.parse_args()
    if given.folder.exists() and not (given.folder / "pyvenv.cfg").exists() and any(given.folder.iterdir()):
        parser.error(f"{given.folder} has other things in it: name a folder that this script may replace")
    build(given.image, given.folder, given.arch, given.python, given.home, given.sbom)
    size = size_bytes(given.folder)
    print(f"{given.image} tree: {size:,} bytes, of at most {MAX_BYTES[given.image]:,}")
    return int(size > MAX_BYTES[given.image])


def build(image: str, folder: Path, arch: str | None, python: str, home: str, sbom: str | None) -> None:
    """Build the tree of `image` in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--quiet", "--no-project", "--python", python, str(folder))
    version = _run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    to = ["--quiet", "--python", str(folder / "bin/python")]
    to += ["--python-platform", PLATFORMS[arch]] if arch else []
    needed = folder / "needed.txt"
    needed.write_text(locked(_names(image, to)))
    _uv("pip", "install", *to, "--no-deps", "--require-hashes", "--requirement", str(needed))
    needed.unlink()
    _uv("pip", "install", *to, "--no-deps", str(ROOT))
    site = folder / f"lib/python{version}/site-packages"
    _prune(folder, site)
    if sbom:
        _run(
            [sbom, "environment", "--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application",
             "--output-reproducible", "--output-format", "JSON", "--output-file", str(folder / "sbom.cdx.json"), python_of(folder)]
        )  # fmt: skip
    _run([python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", str(FINAL), str(site)])  # fmt: skip
    _place(folder, home, version)


def locked(names: Iterable[str], lock: str | None = None) -> str:
    """The lock's lines for these packages, with versions and hashes.

    Raises:
        LookupError: the lock lacks one.
    """
    text = (ROOT / "requirements.lock").read_text() if lock is None else lock
    wanted = set(names)
    found = [each for each in _PINNED.finditer(text) if each["name"] in wanted]
    if missing := sorted(wanted - {each["name"] for each in found}):
        raise LookupError(f"requirements.lock lacks {', '.join(missing)}: run `make lock`")
    return "\n".join(each[0] for each in found) + "\n"


def size_bytes(folder: Path) -> int:
    """The sum of the sizes of its files."""
    return sum(each.lstat().st_size for each in folder.rglob("*") if each.is_symlink() or each.is_file())


def python_of(folder: Path) -> str:
    return str(folder / "bin/python")


def _names(image: str, to: list[str]) -> list[str]:
    extras = [word for extra in EXTRAS[image] for word in ("--extra", extra)]
    told = _uv(
        "pip", "compile", *to, "--no-header", "--no-annotate", *extras, "--constraint", "requirements.lock", "pyproject.toml"
    )  # fmt: skip
    return re.findall(r"^([A-Za-z0-9._-]+)==", told, re.MULTILINE)


def _prune(folder: Path, site: Path) -> None:
    """Remove what no program of the image reads."""
    for each in [*(site / path for path in _UNUSED), *_folders(site)]:
        shutil.rmtree(each, ignore_errors=True)
    for each in sorted(site.rglob("*")):
        lexer = each.match("pygments/lexers/*.py") and each.name not in _LEXERS
        if lexer or each.name in _OF_THE_BUILD or each.suffix in _SUFFIXES:
            each.unlink()
        elif ".so" in each.suffixes and each.is_file() and not each.is_symlink():
            # Of any architecture. Symbols that a loader needs stay.
            _run(["eu-strip", str(each)])
    for each in (folder / "bin").iterdir():
        if each.name not in ("weft", "python", "python3"):
            each.unlink()
    for record in site.glob("*.dist-info/RECORD"):
        # Of commands it has hashes that depend on the folder of the build.
        lines = record.read_text().splitlines(keepends=True)
        record.write_text(
            "".join(
                each for each in lines if (site / each.split(",")[0]).exists() and not each.startswith("../")
            )
        )
    for name in ("CACHEDIR.TAG", ".gitignore", ".lock"):
        (folder / name).unlink(missing_ok=True)


def _folders(site: Path) -> list[Path]:
    return [each for name in _FOLDERS for each in site.rglob(name) if each.is_dir() and "weft" not in each.parts[len(site.parts):]]  # fmt: skip


def _place(folder: Path, home: str, version: str) -> None:
    """Let the environment say where it will be, and not where it was built."""
    (folder / "pyvenv.cfg").write_text(
        f"home = {home}\ninclude-system-site-packages = false\nversion = {version}\n"
    )
    for name in ("python", "python3"):
        (folder / "bin" / name).unlink(missing_ok=True)
        (folder / "bin" / name).symlink_to(f"{home}/python{version}")
    command = folder / "bin/weft"
    command.write_text(
        f"#!{FINAL}/bin/python\nimport sys\n\nfrom weft.cli.start import main\n\nsys.exit(main())\n"
    )
    command.chmod(0o755)


def _uv(*words: str) -> str:
    beside = Path(sys.executable).parent / "uv"
    return _run([str(beside) if beside.exists() else "uv", *words])


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"UV_SYSTEM_CERTS": "1", "PYTHONHASHSEED": "0", **os.environ},
    )
    if done.returncode:
        sys.exit(f"`{' '.join(command[:4])} …` failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
