"""The .proto files that users' contracts import: weft/v1/options.proto. `python -m weft.protos` prints their folder, for protoc.

    protoc -I protos -I "$(python -m weft.protos)" --python_out=gen acme/v1/billing.proto

The folder is a buf module too: `python -m weft.protos --copy third_party/weft` puts a copy into a workspace of buf, which must
have its modules below its own folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path


def include_path() -> Path:
    """The folder for `protoc -I`, below which is weft/v1/options.proto."""
    return Path(__file__).resolve().parent / "include"


def copy_to(folder: Path) -> list[Path]:
    """Copy the files into a folder, which is made if it is missing. Returns the copies; older ones are replaced.

    Raises:
        OSError: a file cannot be written.
    """
    source = include_path()
    copied = []
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        target = folder / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        copied.append(target)
    return copied
