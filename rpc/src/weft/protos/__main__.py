"""`python -m weft.protos`: where the .proto files for users' contracts are, or copies of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from weft.protos import copy_to, include_path


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m weft.protos",
        description="Prints the folder with weft/v1/options.proto, the options of methods:"
        ' protoc -I protos -I "$(python -m weft.protos)" ...',
    )
    parser.add_argument(
        "--copy",
        metavar="FOLDER",
        type=Path,
        help="copy it into this folder, as a module for buf or for builds without Python, and print the copies",
    )
    folder: Path | None = parser.parse_args().copy
    if folder is None:
        print(include_path())
        return 0
    try:
        copied = copy_to(folder)
    except OSError as error:
        print(f"cannot copy to {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    for path in copied:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
