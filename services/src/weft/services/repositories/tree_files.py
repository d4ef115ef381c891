"""Files of a workspace, read and written without ever leaving it: each folder of a path is opened in the one before, and no link is followed.

Programs may work in a workspace at the same time, and change folders into links: what is open stays what it is. This module blocks: call it in threads.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from weft.services.repositories.git_names import check_path
from weft.services.repositories.problems import RepositoryError
from weft.services.repositories.v1 import repositories_pb2 as pb

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe or a device must not block.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LFS = b"version https://git-lfs.github.com/spec/v1\n"
_CHUNK_BYTES = 1 << 20


class Part(NamedTuple):
    """A part of a file."""

    content: bytes
    size_bytes: int
    executable: bool

    @property
    def lfs_pointer(self) -> bool:
        return self.content.startswith(_LFS)


def read_part(tree: Path, path: str, offset: int, most: int) -> Part:
    """A part of a file.

    Raises:
        RepositoryError: PATH_REFUSED, FILE_NOT_FOUND, NOT_A_FILE.
    """
    with _opened(tree, path) as number:
        status = os.fstat(number)
        # Past the end, wherever that is: nothing.
        content = os.pread(number, most, offset) if offset < status.st_size else b""
        return Part(content, status.st_size, bool(status.st_mode & stat.S_IXUSR))


def apply(tree: Path, wanted: pb.FileWrite) -> bool:
    """Write or delete a file, as asked for. Returns whether something is different now.

    Raises:
        RepositoryError: PATH_REFUSED, NOT_A_FILE, CONTENT_CHANGED, TOO_LARGE.
    """
    if wanted.delete:
        return delete(tree, wanted.path, wanted.expected_sha256)
    executable = wanted.executable if wanted.HasField("executable") else None
    return write(tree, wanted.path, wanted.content, executable, wanted.expected_sha256)


def write(tree: Path, path: str, content: bytes, executable: bool | None, expected_sha256: str) -> bool:
    """Write a file as a whole. Its folders are made.

    Args:
        executable: None: as it was.
        expected_sha256: of its content before; empty: any.

    Returns:
        False: it was so already.

    Raises:
        RepositoryError: PATH_REFUSED, NOT_A_FILE, CONTENT_CHANGED.
    """
    *folders, name = check_path(path)
    with _folder(tree, folders, path, make=True) as parent:
        before = _content(parent, name, path)
        if (
            before is not None
            and before.sha256 == hashlib.sha256(content).hexdigest()
            and executable in {None, before.executable}
        ):
            return False
        _expect(before, expected_sha256, path)
        runs = before.executable if executable is None and before is not None else bool(executable)
        # At the top, no folder of git's own is here: git does not know the name.
        making = f".weft-{secrets.token_hex(8)}"
        number = os.open(
            making,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o700 if runs else 0o600,
            dir_fd=parent,
        )
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            os.replace(making, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(making, dir_fd=parent)
            if isinstance(error, OSError):
                _raise(error, path)
            raise
    return True


def delete(tree: Path, path: str, expected_sha256: str) -> bool:
    """Delete a file; links are deleted, and not what they lead to. Returns whether there was one.

    Raises:
        RepositoryError: PATH_REFUSED, NOT_A_FILE, CONTENT_CHANGED.
    """
    *folders, name = check_path(path)
    try:
        with _folder(tree, folders, path) as parent:
            if expected_sha256:
                _expect(_content(parent, name, path), expected_sha256, path)
            os.unlink(name, dir_fd=parent)
    except RepositoryError as error:
        if error.reason != "FILE_NOT_FOUND":
            raise
        return False
    except FileNotFoundError:
        return False
    except OSError as error:
        _raise(error, path)
    return True


class _Content(NamedTuple):
    sha256: str
    executable: bool


def _content(parent: int, name: str, path: str) -> _Content | None:
    """What a file has. None: there is none."""
    try:
        number = os.open(name, _FILE, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        _raise(error, path)
    try:
        _check_plain(number, path)
        digest = hashlib.sha256()
        while chunk := os.read(number, _CHUNK_BYTES):
            digest.update(chunk)
        return _Content(digest.hexdigest(), bool(os.fstat(number).st_mode & stat.S_IXUSR))
    finally:
        os.close(number)


def _expect(before: _Content | None, expected_sha256: str, path: str) -> None:
    if expected_sha256 and (before is None or before.sha256 != expected_sha256):
        raise RepositoryError("CONTENT_CHANGED", f"{path} is not as expected: read it again")


@contextlib.contextmanager
def _opened(tree: Path, path: str) -> Iterator[int]:
    *folders, name = check_path(path)
    with _folder(tree, folders, path) as parent:
        try:
            number = os.open(name, _FILE, dir_fd=parent)
        except OSError as error:
            _raise(error, path)
        try:
            _check_plain(number, path)
            yield number
        finally:
            os.close(number)


@contextlib.contextmanager
def _folder(tree: Path, names: Sequence[str], path: str, *, make: bool = False) -> Iterator[int]:
    """The folder of a path, open."""
    number = os.open(tree, _FOLDER)
    try:
        for name in names:
            try:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=number)
                inner = os.open(name, _FOLDER, dir_fd=number)
            except OSError as error:
                _raise(error, path)
            os.close(number)
            number = inner
        yield number
    finally:
        os.close(number)


def _check_plain(number: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(number).st_mode):
        raise RepositoryError("NOT_A_FILE", f"{path} is not a plain file")


def _raise(error: OSError, path: str) -> NoReturn:
    if error.errno == errno.ENOENT:
        raise RepositoryError("FILE_NOT_FOUND", f"there is no file {path}") from None
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.EMLINK}:
        raise RepositoryError(
            "NOT_A_FILE", f"{path} is a folder, leads through a link, or is not a plain file"
        ) from None
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG}:
        raise RepositoryError("TOO_LARGE", f"{path} cannot be written: {os.strerror(error.errno)}") from None
    raise error
