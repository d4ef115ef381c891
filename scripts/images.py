"""Builds the images of weft, and writes each as an archive (OCI) that registries and engines take: `make images`.

engine     buildah, podman or docker with buildx: the first that is here
build      the Dockerfile's targets, for one architecture
time       of everything in them is that of the commit (or SOURCE_DATE_EPOCH): the same commit and base make the same digest
looked at  user, command, list of packages (SBOM), architecture of what is in it

build/images/weft-coordinator-0.1.0-amd64.tar
skopeo copy oci-archive:build/images/weft-coordinator-0.1.0-amd64.tar docker://REGISTRY/weft-coordinator:0.1.0
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple

from image_tree import EXTRAS, PLATFORMS, ROOT

ENGINES = ("buildah", "podman", "docker")
FOLDER = ROOT / "build" / "images"
USER = "10001:10001"
# What each image has to have, besides the base.
INSIDE = ("opt/weft/bin/weft", "opt/weft/sbom.cdx.json", "opt/weft/pyvenv.cfg")
_REVISION = "org.opencontainers.image.revision"
_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# Of a library's head (ELF), which says what it is for.
_MACHINES = {62: "amd64", 183: "arm64"}


class ImageFault(Exception):
    """An image cannot be built, or is not as it should be."""


class Built(NamedTuple):
    """An image in an archive.

    Attributes:
        digest: of its manifest, by which registries know it.
        config: as OCI has it.
        files: names of what its layers have.
        unpacked_bytes: of all layers.
        machines: architectures of the libraries in /opt/weft.
    """

    digest: str
    config: dict[str, Any]
    files: frozenset[str]
    unpacked_bytes: int
    machines: frozenset[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", nargs="*", help=f"of {', '.join(EXTRAS)}; unless named, all")
    parser.add_argument("--engine", choices=ENGINES, help="unless set, the first that is here")
    parser.add_argument("--arch", choices=sorted(PLATFORMS), help="unless set, this machine's")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the archives go")
    parser.add_argument(
        "--build-arg", action="append", default=[], help="such as BASE=python:3.13-slim@sha256:…"
    )
    parser.add_argument("--no-pull", action="store_true", help="of bases, take those that are here")
    given = parser.parse_args()
    if unknown := set(given.images) - EXTRAS.keys():
        parser.error(f"there is no image {min(unknown)}; there are {', '.join(EXTRAS)}")
    try:
        engine = given.engine or find_engine()
        arch = given.arch or this_architecture()
        more = [word for each in given.build_arg for word in ("--build-arg", each)]
        more += ["--pull=false"] if given.no_pull else []
        given.folder.mkdir(parents=True, exist_ok=True)
        for image in given.images or EXTRAS:
            print(f"{image}: {engine} builds it for {arch}", flush=True)
            archive = given.folder.resolve() / f"weft-{image}-{version()}-{arch}.tar"
            write_image(engine, image, arch, archive, more)
            found = read_archive(archive)
            check(found, arch)
            print(f"  {found.digest}")
            print(f"  {archive}: {archive.stat().st_size:,} bytes, {found.unpacked_bytes:,} unpacked")
    except ImageFault as fault:
        print(f"images: {fault}", file=sys.stderr)
        return 1
    return 0


def find_engine() -> str:
    """The first that is here and works.

    Raises:
        ImageFault: there is none.
    """
    for name in ENGINES:
        # The command of docker may be there without its engine, or without buildx.
        asked = ["docker", "buildx", "inspect"] if name == "docker" else [name, "--version"]
        if shutil.which(name) and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return name
    raise ImageFault(f"there is none of {', '.join(ENGINES)} here: install buildah, which needs no engine")


def this_architecture() -> str:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise ImageFault(f"weft has no images for {machine}: name one of {', '.join(PLATFORMS)} (--arch)")
    return _ARCHITECTURES[machine]


def version() -> str:
    found = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def build_time() -> str:
    """When everything in an image was made, in seconds since 1970: when its commit was."""
    return os.environ.get("SOURCE_DATE_EPOCH") or run(["git", "log", "-1", "--format=%ct"]).strip()


def revision() -> str:
    """The commit, with a mark if there are other changes; empty: this is no clone."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def write_image(engine: str, image: str, arch: str, archive: Path, more: Iterable[str] = ()) -> None:
    """Build an image, and write it to an archive.

    Raises:
        ImageFault: the engine fails.
    """
    name = f"weft-{image}:{version()}"
    archive.unlink(missing_ok=True)
    words = ["--target", image, "--platform", f"linux/{arch}", "--label", f"{_REVISION}={revision()}", *more]
    # Nothing of an earlier build: it would have that one's times.
    if engine == "docker":
        words += ["--no-cache", "--provenance=false", "--build-arg", f"SOURCE_DATE_EPOCH={build_time()}"]
        words += ["--output", f"type=oci,dest={archive},name={name},rewrite-timestamp=true"]
        run(["docker", "buildx", "build", *words, "."])
        return
    words += ["--layers=false", "--timestamp", build_time(), "--identity-label=false"]
    # Buildah before 1.30 does not say them by itself.
    platforms = {"BUILDPLATFORM": f"linux/{this_architecture()}", "TARGETPLATFORM": f"linux/{arch}"}
    for known, value in (platforms | {"TARGETARCH": arch}).items():
        words += ["--build-arg", f"{known}={value}"]
    # Docker's format would keep the HEALTHCHECK, but has a random number, by which digests differ.
    # The plain name is that of an image which runs here.
    local = f"localhost/{name}" + ("" if arch == this_architecture() else f"-{arch}")
    run([engine, "build", *words, "--format", "oci", "--tag", local, "."])
    run([engine, "push", "--quiet", "--format", "oci", local, f"oci-archive:{archive}:{name}"])


def read_archive(path: Path) -> Built:
    """What is in an archive.

    Raises:
        ImageFault: it is no archive of one image.
    """
    try:
        with tarfile.open(path) as archive:
            (listed,) = json.loads(_member(archive, "index.json").read())["manifests"]
            manifest = json.loads(_blob(archive, listed["digest"]).read())
            config = json.loads(_blob(archive, manifest["config"]["digest"]).read())
            files: set[str] = set()
            machines: set[str] = set()
            size = 0
            for layer in manifest["layers"]:
                # Read as it comes: it may have hundreds of MB.
                with tarfile.open(fileobj=_blob(archive, layer["digest"]), mode="r|*") as opened:
                    for member in opened:
                        files.add(member.name.removeprefix("./"))
                        size += member.size
                        if member.isfile() and ".so" in member.name and "opt/weft/" in member.name:
                            head = _member(opened, member).read(20)
                            machines.add(
                                _MACHINES.get(int.from_bytes(head[18:], "little"), "another machine")
                            )
    except (KeyError, ValueError, OSError, tarfile.TarError) as error:
        raise ImageFault(f"{path} is no archive of one image: {error!r}") from error
    return Built(listed["digest"], config, frozenset(files), size, frozenset(machines))


def _member(archive: tarfile.TarFile, which: str | tarfile.TarInfo) -> IO[bytes]:
    found = archive.extractfile(which)
    if found is None:
        raise KeyError(f"{which} is no file")
    return found


def _blob(archive: tarfile.TarFile, digest: str) -> IO[bytes]:
    return _member(archive, f"blobs/{digest.replace(':', '/')}")


def check(built: Built, arch: str) -> None:
    """
    Raises:
        ImageFault: it is not as it should be.
    """
    inner = built.config["config"]
    if missing := sorted(set(INSIDE) - built.files):
        raise ImageFault(f"the image lacks {', '.join(missing)}")
    if inner.get("User") != USER or inner.get("Entrypoint") != ["weft"] or not inner.get("Cmd"):
        raise ImageFault(f"the image is not run as {USER} with `weft`: {inner}")
    if built.config["architecture"] != arch or built.machines != {arch}:
        raise ImageFault(
            f"the image has libraries for {', '.join(sorted(built.machines))} and not {arch} alone"
        )


def run(command: list[str]) -> str:
    """Its output.

    Raises:
        ImageFault: it fails.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        told = "\n".join((done.stderr or done.stdout).strip().splitlines()[-20:])
        raise ImageFault(f"`{' '.join(command[:3])} …` failed:\n{told}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
