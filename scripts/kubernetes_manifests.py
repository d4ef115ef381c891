"""Write the plain manifests of deploy/kubernetes from the chart deploy/helm/weft: `python scripts/kubernetes_manifests.py` (or `--check` to compare only). Needs helm."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy" / "helm" / "weft"
FOLDERS = [ROOT / "deploy" / "kubernetes" / name for name in ("embedded", "redis", "operator")]
# A folder with a part of the chart alone, which is applied beside another one.
PARTS = {"operator": "templates/operator.yaml"}
# The oldest that the chart takes.
KUBERNETES = "1.30.0"
HEAD = "# Written by scripts/kubernetes_manifests.py from deploy/helm/weft and values.yaml: do not edit.\n"


def manifests(folder: Path, helm: str = "helm") -> str:
    """The manifests of a folder.

    Args:
        helm: the program.

    Raises:
        subprocess.CalledProcessError: helm refuses the values.
        FileNotFoundError: there is no helm.
    """
    command = [helm, "template", "weft", str(CHART), "--namespace", "default", "--kube-version", KUBERNETES]
    if folder.name in PARTS:
        command += ["--show-only", PARTS[folder.name]]
    done = subprocess.run(
        [*command, "--values", str(folder / "values.yaml")], capture_output=True, text=True, check=True
    )
    # Whoever applies them is not helm.
    return HEAD + re.sub(r"^ *app\.kubernetes\.io/managed-by: Helm\n", "", done.stdout, flags=re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a file is stale")
    check = parser.parse_args().check
    stale = 0
    for folder in FOLDERS:
        path = folder / "weft.yaml"
        text = manifests(folder)
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"stale: {path.relative_to(ROOT)} (run scripts/kubernetes_manifests.py)", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
