"""Archives of images: what is read of them, and which are refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from scripts import images

CONFIG = {"User": images.USER, "Entrypoint": ["weft"], "Cmd": ["coordinator"]}
LIBRARY = "opt/weft/lib/python3.13/site-packages/a.cpython-313.so"
# The head of a library for x86-64, and of one for arm64.
AMD64, ARM64 = (b"\x7fELF" + bytes(14) + number.to_bytes(2, "little") for number in (62, 183))


def packed(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def archive(folder: Path, files: dict[str, bytes], config: dict[str, Any] = CONFIG, number: int = 1) -> Path:
    """An archive of as many images, all the same."""
    blobs: dict[str, bytes] = {}

    def blob(content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return f"sha256:{digest}"

    about = blob(json.dumps({"architecture": "amd64", "config": config}).encode())
    layer = blob(gzip.compress(packed(files), mtime=0))
    layers = [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer}]
    manifest = blob(json.dumps({"config": {"digest": about}, "layers": layers}).encode())
    index = {"index.json": json.dumps({"manifests": [{"digest": manifest}] * number}).encode()}
    (path := folder / "image.tar").write_bytes(packed(index | blobs))
    return path


def whole(library: bytes = AMD64) -> dict[str, bytes]:
    return dict.fromkeys(images.INSIDE, b"123") | {LIBRARY: library}


def test_an_archive_is_read(tmp_path: Path) -> None:
    found = images.read_archive(archive(tmp_path, whole()))
    assert found.digest.startswith("sha256:")
    assert found.unpacked_bytes == 3 * len(images.INSIDE) + len(AMD64)
    images.check(found, "amd64")
    with pytest.raises(images.ImageFault, match="and not arm64 alone"):
        images.check(found, "arm64")


@pytest.mark.parametrize(
    ("files", "config", "words"),
    [
        ({LIBRARY: AMD64}, CONFIG, r"lacks opt/weft/bin/weft, opt/weft/pyvenv.cfg, opt/weft/sbom.cdx.json"),
        (whole(), CONFIG | {"User": ""}, "not run as 10001:10001"),
        (whole(), CONFIG | {"Entrypoint": ["sh"]}, "not run as 10001:10001"),
        (whole(ARM64), CONFIG, "libraries for arm64 and not amd64"),
    ],
)
def test_an_image_that_is_not_as_it_should_be_is_refused(
    files: dict[str, bytes], config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(images.ImageFault, match=words):
        images.check(images.read_archive(archive(tmp_path, files, config)), "amd64")


@pytest.mark.parametrize("number", [0, 2])
def test_an_archive_has_one_image(number: int, tmp_path: Path) -> None:
    with pytest.raises(images.ImageFault, match="no archive of one image"):
        images.read_archive(archive(tmp_path, whole(), number=number))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "image.tar").write_bytes(b"no archive" * 1000)
    with pytest.raises(images.ImageFault, match="no archive of one image"):
        images.read_archive(path)


def test_a_machine_that_images_are_not_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(images.ImageFault, match="no images for riscv64"):
        images.this_architecture()
