"""What is released beside the packages of Python: the chart, the contract, the docs. Each is built into `dist/` and looked into."""

from __future__ import annotations

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import yaml
from release_tools import DIST, ROOT, WORK, CheckFailed, check_names, check_there, run, tool

# A module of its own, as users of the contract take it.
_BUF = "version: v2\nmodules:\n  - path: .\n"


def check_chart(version: str) -> None:
    """Pack the chart, whose version is weft's: dist/weft-VERSION.chart.tgz."""
    helm = shutil.which("helm")
    if helm is None:
        print("chart      NOT: there is no helm here")
        return
    chart = ROOT / "deploy/helm/weft"
    run([helm, "lint", "--strict", str(chart)])
    folder = WORK / "chart"
    run([helm, "package", str(chart), "--destination", str(folder)])
    made = folder / f"weft-{version}.tgz"
    if not made.exists():
        found = ", ".join(each.name for each in folder.iterdir())
        raise CheckFailed(
            f"the chart is {found}, and weft is {version}: set both versions in {chart}/Chart.yaml"
        )
    with tarfile.open(made) as opened:
        names = opened.getnames()
        about = opened.extractfile("weft/Chart.yaml")
        assert about is not None
        if yaml.safe_load(about.read())["appVersion"] != version:
            raise CheckFailed(f"the chart's appVersion is not {version}")
    check_names(made.name, names)
    check_there(made.name, names, ["weft/Chart.yaml", "weft/values.yaml", "weft/values.schema.json"])
    kept = DIST / f"weft-{version}.chart.tgz"
    shutil.copy(made, kept)
    print(f"checked    {kept.name}: {len(names)} files")


def check_protos(version: str) -> None:
    """Pack the contract with all that it imports, as a module of buf that compiles by itself: dist/weft-VERSION.protos.tar.gz."""
    folder = WORK / "protos"
    run([tool("buf"), "export", "protos", "--output", str(folder)])
    (folder / "buf.yaml").write_text(_BUF)
    shutil.copy(ROOT / "LICENSE", folder)
    run([tool("buf"), "build", "--output", str(WORK / "protos.binpb")], cwd=folder)
    names = sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
    kept = DIST / f"weft-{version}.protos.tar.gz"
    check_names(kept.name, names)
    wanted = [str(each.relative_to(ROOT / "protos")) for each in (ROOT / "protos").rglob("*.proto")]
    check_there(kept.name, names, [*wanted, "buf.yaml", "LICENSE", "google/rpc/status.proto"])
    with tarfile.open(kept, "w:gz") as packed:
        for name in names:
            packed.add(folder / name, f"weft-{version}/{name}")
    print(f"checked    {kept.name}: {len(names)} files, which compile by themselves")


def check_docs(version: str) -> None:
    """Pack the docs site: dist/weft-VERSION.docs.zip."""
    run([sys.executable, "scripts/docs_site.py"])
    site = ROOT / "build/site/html"
    names = sorted(str(each.relative_to(site)) for each in site.rglob("*") if each.is_file())
    kept = DIST / f"weft-{version}.docs.zip"
    check_there(kept.name, names, ["index.html", "searchindex.js", "reference/contract.html"])
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            packed.write(site / name, name)
    pages = sum(name.endswith(".html") for name in names)
    print(f"checked    {kept.name}: {pages} pages")


def version_of(wheel: Path) -> str:
    """The version in a wheel's name."""
    return wheel.name.split("-")[1]
