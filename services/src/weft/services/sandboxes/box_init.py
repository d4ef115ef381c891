"""Process 1 of a sandbox: starts programs, reads and writes files, and waits for what others leave. It runs in the sandbox, by a plain Python, from its text.

The agent asks by messages of JSON on a socket that keeps their bounds, with open files beside them; each is answered once: {"id", "exit"} or {"id", "error"}.
Programs and files are the business of forked children: this process does nothing that can block. With it the sandbox ends.
"""

from __future__ import annotations

import array
import errno
import json
import os
import select
import signal
import socket
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Asked: TypeAlias = dict[str, Any]

MOST_BYTES = 128 * 1024
# Number of the question, by process; and where a process says why it failed.
_children: dict[int, int] = {}
_failed: dict[int, int | None] = {}


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    os.dup2(os.open("/dev/null", os.O_RDWR), 2)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    answer(control, {"id": 0, "exit": 0})
    while True:
        for ready in select.select([control.fileno(), woken], [], [])[0]:
            if ready != woken and not take(control):
                return
        try:
            os.read(woken, 4096)
        except BlockingIOError:
            pass
        reap(control)


def answer(control: socket.socket, message: dict[str, int]) -> None:
    control.send(json.dumps(message).encode())


def take(control: socket.socket) -> bool:
    room = socket.CMSG_SPACE(4 * array.array("i").itemsize)
    data, beside, _, _ = control.recvmsg(MOST_BYTES, room)
    files = array.array("i")
    for level, kind, value in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(value[: len(value) - len(value) % files.itemsize])
    if not data:
        return False
    for each in files:
        os.set_inheritable(each, False)
    asked = json.loads(data)
    try:
        if asked["do"] == "signal":
            number = [pid for pid, at in _children.items() if at == asked["of"]]
            if number:
                os.killpg(number[0], asked["number"])
        else:
            start(control, asked, list(files))
    except OSError as error:
        answer(control, {"id": asked["id"], "error": error.errno or errno.EIO})
    finally:
        for each in files:
            os.close(each)
    return True


def start(control: socket.socket, asked: Asked, files: list[int]) -> None:
    failed: int | None
    failed, fails = os.pipe()
    pid = os.fork()
    if not pid:
        code = 255
        try:
            control.close()
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGPIPE, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            WORK[asked["do"]](asked, files)
            code = 0
        except OSError as error:
            os.write(fails, str(error.errno or errno.EIO).encode())
        except BaseException:
            os.write(fails, str(errno.EIO).encode())
        finally:
            os._exit(code)
    os.close(fails)
    if asked["do"] == "exec":
        # Until the program runs: its name is wrong, or it is not.
        told = os.read(failed, 16)
        os.close(failed)
        failed = None
        if told:
            answer(control, {"id": asked["id"], "error": int(told)})
            return
    _children[pid] = asked["id"]
    _failed[pid] = failed


def reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if pid not in _children:
            continue
        message = {"id": _children.pop(pid)}
        failed = _failed.pop(pid)
        told = b""
        if failed is not None:
            told = os.read(failed, 16)
            os.close(failed)
        if told:
            message["error"] = int(told)
        else:
            code = os.waitstatus_to_exitcode(status)
            message["exit"] = code if code >= 0 else 128 - code
        answer(control, message)


def run_program(asked: Asked, files: list[int]) -> None:
    for place, number in enumerate(files[:3]):
        os.dup2(number, place)
    os.chdir(asked["folder"] or "/work")
    variables = {**os.environ, **asked["variables"]}
    os.execvpe(asked["argv"][0], asked["argv"], variables)


def in_work(path: str) -> str:
    return os.path.join("/work", path)


def tell(out: int, head: dict[str, Any], data: bytes = b"") -> None:
    with open(out, "wb", closefd=False) as file:
        file.write(json.dumps(head).encode() + b"\n" + data)


def read_file(asked: Asked, files: list[int]) -> None:
    number = os.open(in_work(asked["path"]), os.O_RDONLY | os.O_NONBLOCK)
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL, "")
    tell(files[1], {"size": found.st_size}, os.pread(number, asked["most"], asked["offset"]))


def write_file(asked: Asked, files: list[int]) -> None:
    path = in_work(asked["path"])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    begin = os.O_TRUNC if not asked["offset"] else 0
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | begin, 0o644)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        raise OSError(errno.EINVAL, "")
    if asked["executable"]:
        os.fchmod(number, 0o755)
    at = asked["offset"]
    while data := os.read(files[0], 65536):
        while data:
            written = os.pwrite(number, data, at)
            at, data = at + written, data[written:]
    tell(files[1], {"size": os.fstat(number).st_size})


def list_folder(asked: Asked, files: list[int]) -> None:
    kinds = ((stat.S_ISLNK, "link"), (stat.S_ISDIR, "folder"), (stat.S_ISREG, "file"))
    found = []
    names = sorted(os.listdir(in_work(asked["path"])), key=os.fsencode)
    for name in names[: asked["most"]]:
        try:
            told = os.lstat(os.path.join(in_work(asked["path"]), name))
        except FileNotFoundError:
            continue
        kind = next((word for test, word in kinds if test(told.st_mode)), "other")
        found.append([os.fsencode(name).decode(errors="replace"), told.st_size, kind, told.st_mtime])
    tell(files[1], {"files": found, "more": len(names) > asked["most"]})


def remove_file(asked: Asked, files: list[int]) -> None:
    import shutil

    path = in_work(asked["path"])
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
    tell(files[1], {})


def pack(asked: Asked, files: list[int]) -> None:
    import tarfile

    with open(files[1], "wb", closefd=False) as out, tarfile.open(fileobj=out, mode="w|") as tar:
        for name in sorted(os.listdir("/work")):
            tar.add(os.path.join("/work", name), name)


def unpack(asked: Asked, files: list[int]) -> None:
    import tarfile

    with open(files[0], "rb", closefd=False) as source, tarfile.open(fileobj=source, mode="r|") as tar:
        for member in tar:
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
            tar.extract(member, "/work", set_attrs=True)
    tell(files[1], {})


def connect(asked: Asked, files: list[int]) -> None:
    """Relay between an end of the agent's and a port here."""
    with socket.create_connection(("127.0.0.1", asked["port"]), 10) as there:
        there.settimeout(None)
        here = socket.socket(fileno=os.dup(files[1]))
        here.send(b"\n")
        other = {here: there, there: here}
        reading = [here, there]
        while reading:
            for one in select.select(reading, [], [])[0]:
                data = one.recv(65536)
                if data:
                    other[one].sendall(data)
                    continue
                reading.remove(one)
                try:
                    other[one].shutdown(socket.SHUT_WR)
                except OSError:
                    return


WORK = {
    "exec": run_program,
    "read": read_file,
    "write": write_file,
    "list": list_folder,
    "remove": remove_file,
    "pack": pack,
    "unpack": unpack,
    "connect": connect,
}

if __name__ == "__main__":
    main()
