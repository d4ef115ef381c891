"""Builds what is released into `dist/`, and checks it: `make release-check`.

    wheel and sdist   what must be in them and what must not; the wheel is built from the sdist
    an environment    the wheel with all extras, in the lock's versions: `weft version` runs in it
    SBOM              what is in that environment, with licences: dist/weft-VERSION.cdx.json (CycloneDX)
    licences          of all of it: dist/weft-VERSION.licences.txt
    chart             dist/weft-VERSION.chart.tgz, linted and of the same version
    contract          dist/weft-VERSION.protos.tar.gz: a module of buf that compiles by itself
    docs              dist/weft-VERSION.docs.zip, the site
    image trees       what images have in /opt/weft, by scripts/image_tree.py, within its sizes
    audit             known weaknesses of all of it, by pip-audit; a machine that cannot ask says so

Fails if one of them is not as it should be.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from release_parts import check_chart, check_docs, check_protos, version_of
from release_tools import DIST, ROOT, WORK, CheckFailed, check_names, check_there, run, tool

PACKAGES = (
    "agent",
    "cli",
    "client",
    "compat",
    "coordinator",
    "protos",
    "rpc",
    "rules",
    "services/arbiter",
    "services/assigner",
    "services/hardware",
    "services/models",
    "services/planner",
    "services/repositories",
    "services/research",
    "services/sandboxes",
    "testing",
    "v1",
)
# Licences that packages do not say in a form that is read.
LICENCES = {"protobuf": "BSD-3-Clause"}
# Licences that oblige whoever passes a program on to more than to name its authors.
STRICT = re.compile(r"\b(A?GPL|SSPL|BUSL)", re.IGNORECASE)


def main() -> int:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    try:
        wheel, sdist = build()
        check_wheel(wheel)
        check_sdist(sdist)
        python = installed(wheel)
        tools = tools_for()
        bom = write_bom(python, tools, wheel)
        write_licences(bom)
        version = version_of(wheel)
        check_chart(version)
        check_protos(version)
        check_docs(version)
        check_trees(tools)
        audit(python, tools)
    except CheckFailed as failed:
        print(f"release-check: {failed}", file=sys.stderr)
        return 1
    print(f"release-check: passed; {DIST} has what to release")
    return 0


# -- what is built ------------------------------------------------------------------------------------------------


def build() -> tuple[Path, Path]:
    """The wheel, which is built from the sdist, and the sdist."""
    for old in DIST.glob("weft-*"):
        old.unlink()
    print(f"wrote      {run([sys.executable, 'scripts/man_pages.py']).strip()}")
    run([tool("uv"), "build", "--quiet", "--out-dir", str(DIST), str(ROOT)])
    found = [*DIST.glob("weft-*.whl"), *DIST.glob("weft-*.tar.gz")]
    if len(found) != 2:
        raise CheckFailed(f"the build made {[each.name for each in found]}, not one wheel and one sdist")
    for each in found:
        print(f"built      {each.name} ({each.stat().st_size:,} bytes)")
    return found[0], found[1]


def check_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = opened.read(about).decode()
    check_names(wheel.name, names)
    shared = about.split("/")[0].replace(".dist-info", ".data")
    wanted = [f"weft/{package}/py.typed" for package in PACKAGES]
    wanted += [
        "weft_pytest.py",
        about.replace("METADATA", "entry_points.txt"),
        about.replace("METADATA", "licenses/LICENSE"),
        f"{shared}/data/share/man/man1/weft.1",
    ]
    check_there(wheel.name, names, wanted)
    if other := sorted(
        {name.split("/")[0] for name in names} - {"weft", "weft_pytest.py", about.split("/")[0], shared}
    ):
        raise CheckFailed(f"{wheel.name} has more than weft: {', '.join(other)}")
    for field in (
        "License-Expression: Apache-2.0",
        "Requires-Python: ",
        "Description-Content-Type: text/markdown",
    ):
        if field not in metadata:
            raise CheckFailed(f"{wheel.name} does not say {field!r}")
    print(f"checked    {wheel.name}: {len(names)} files")


def check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        # Without the folder that all of it is in.
        names = [name.partition("/")[2] for name in opened.getnames()]
    check_names(sdist.name, names)
    check_there(
        sdist.name,
        names,
        [
            "pyproject.toml",
            "README.md",
            "LICENSE",
            "CHANGELOG.md",
            "docs/security.md",
            "protos/weft/v1/task.proto",
        ],
    )
    print(f"checked    {sdist.name}: {len(names)} files")


# -- what it needs ------------------------------------------------------------------------------------------------


def installed(wheel: Path) -> Path:
    """The interpreter of an environment with the wheel and all that its extras need, as the lock has it."""
    needed = WORK / "needed.txt"
    # The lock has the tools of development, too. So its versions bind, and the extras choose.
    run(
        [tool("uv"), "pip", "compile", "--quiet", "--no-header", "--generate-hashes", "--all-extras", "--constraint", "requirements.lock",
         "--python", sys.executable, "pyproject.toml", "-o", str(needed)]
    )  # fmt: skip
    python = environment("needed", needed)
    run([tool("uv"), "pip", "install", "--quiet", "--python", str(python), "--no-deps", str(wheel)])
    told = run([str(python.parent / "weft"), "version"], cwd=WORK)
    print(f"installed  {' '.join(told.split())}")
    return python


def tools_for() -> Path:
    """The folder of the commands that list and audit."""
    return environment("tools", ROOT / "requirements-release.lock").parent


def environment(name: str, requirements: Path) -> Path:
    run([tool("uv"), "venv", "--quiet", "--python", sys.executable, str(WORK / name)])
    python = WORK / name / "bin/python"
    run(
        [tool("uv"), "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(requirements)]
    )
    return python


def write_bom(python: Path, tools: Path, wheel: Path) -> Path:
    """The list of what is in an environment, by CycloneDX."""
    bom = DIST / f"{'-'.join(wheel.name.split('-')[:2])}.cdx.json"
    run(
        [str(tools / "cyclonedx-py"), "environment", "--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library",
         "--output-reproducible", "--output-format", "JSON", "--output-file", str(bom), str(python)]
    )  # fmt: skip
    print(f"listed     {bom.name}: {len(components(bom))} packages")
    return bom


def components(bom: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(bom.read_text())["components"]
    return [each for each in found if each["name"] != "weft"]


def write_licences(bom: Path) -> None:
    lines, unknown, strict = [], [], []
    for each in sorted(components(bom), key=lambda each: str(each["name"]).lower()):
        told = " OR ".join(_licences(each)) or LICENCES.get(str(each["name"]), "")
        lines.append(f"{each['name']} {each['version']}: {told or 'unknown'}")
        unknown += [] if told else [str(each["name"])]
        strict += [lines[-1]] if STRICT.search(told) else []
    path = bom.with_name(bom.name.replace(".cdx.json", ".licences.txt"))
    path.write_text("\n".join(lines) + "\n")
    print(f"licences   {path.name}" + (f"; look up those of {', '.join(unknown)}" if unknown else ""))
    if strict:
        raise CheckFailed(
            f"a licence obliges users of weft to more than Apache-2.0 does: {'; '.join(strict)}"
        )


def _licences(component: dict[str, object]) -> Iterator[str]:
    given = component.get("licenses", [])
    assert isinstance(given, list)
    for each in given:
        one = each.get("license", {})
        yield each.get("expression") or one.get("id") or one.get("name") or "unknown"


def check_trees(tools: Path) -> None:
    """Build the trees of images, and look into them."""
    if shutil.which("eu-strip") is None:
        print("trees      NOT: there is no eu-strip here (Debian's package elfutils)")
        return
    # A sidecar's tree is an agent's.
    for image in ("coordinator", "agent"):
        folder = WORK / "trees" / image
        told = run(
            [
                sys.executable,
                "scripts/image_tree.py",
                image,
                str(folder),
                "--sbom",
                str(tools / "cyclonedx-py"),
            ]
        )
        names = [
            str(each.relative_to(folder)) for each in folder.rglob("*") if "site-packages" not in each.parts
        ]
        check_names(f"the {image} tree", names)
        check_there(f"the {image} tree", names, ["bin/weft", "sbom.cdx.json", "pyvenv.cfg"])
        print(f"checked    {told.strip()}")


def audit(python: Path, tools: Path) -> None:
    """Ask for known weaknesses."""
    site = next((python.parent.parent / "lib").glob("python*/site-packages"))
    options = ["--path", str(site), "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    done = subprocess.run(
        [str(tools / "pip-audit"), *options], capture_output=True, text=True, check=False, cwd=WORK
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        # It found nobody to ask.
        not_audited((done.stderr.strip().splitlines() or [""])[-1])
        return
    weak = [
        f"{each['name']} {each['version']}: {', '.join(one['id'] for one in each['vulns'])}"
        for each in packages
        if each.get("vulns")
    ]
    if weak:
        raise CheckFailed(
            f"packages have known weaknesses; raise their versions (`make lock`): {'; '.join(weak)}"
        )
    # It passes over what the index does not know, as all of it where there is only a mirror.
    skipped = [each for each in packages if "skip_reason" in each and each["name"] != "weft"]
    audited = len(packages) - len(skipped) - 1
    if not audited:
        not_audited(skipped[0]["skip_reason"])
    else:
        print(f"audited    {audited} packages, no known weakness")
    if audited and skipped:
        print(f"           NOT: {', '.join(each['name'] for each in skipped)}")


def not_audited(why: str) -> None:
    print(
        "audited    NOT: the data of known weaknesses cannot be had from here. Run it where the package index itself can be reached"
    )
    print(f"           {why[:200]}")


if __name__ == "__main__":
    sys.exit(main())
