"""One piece of work in a box that is reached by running programs alone, as containers are: start a program, read a file. It runs there by a plain Python, from its text, after that of box_init.

What is asked is JSON: its argument, or else its first frame, as arguments are in the logs of what carries them. What is written to it comes in frames (4 bytes of
length, then as many), as such boxes cannot be told that input ends: a frame of no bytes is the end. It answers on its output; a failure is one line of its errors, and status 125.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from weft.services.sandboxes.box_init import WORK, Asked

FAILED = "weft-sandbox-error "
FAILED_STATUS = 125
MARK = "WEFT_PROGRAM="
# Of this process: those that hand on its output.
_relays: list[int] = []


def once() -> NoReturn:
    for name in ("WEFT_BOX", "WEFT_BOX_ONCE"):
        os.environ.pop(name, None)
    code = FAILED_STATUS
    try:
        limit_self(os.environ.pop("WEFT_BOX_LIMITS", ""))
        if os.environ.pop("WEFT_BOX_TEXT", ""):
            tell_in_text()
        asked = json.loads(sys.argv[1] if len(sys.argv) > 1 else read_question())
        code = ONCE[asked["do"]](asked) if asked["do"] in ONCE else work(asked)
    except OSError as error:
        os.write(2, b"%s%d\n" % (FAILED.encode(), error.errno or errno.EIO))
    except BaseException:
        os.write(2, b"%s%d\n" % (FAILED.encode(), errno.EIO))
    finally:
        os._exit(code)


def limit_self(limits: str) -> None:
    """Limits of the system for this process and what it starts, where what carries the box has none: JSON by their names."""
    if limits:
        import resource

        for name, most in json.loads(limits).items():
            resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))


def tell_in_text() -> None:
    """Go on as a child whose output comes in lines of base64, where what carries the box takes text alone."""
    import base64

    pipes = {1: os.pipe(), 2: os.pipe()}
    child = os.fork()
    if not child:
        for number, (reads, writes) in pipes.items():
            os.dup2(writes, number)
            os.close(reads)
            os.close(writes)
        _relays.append(os.getppid())
        return
    for _, writes in pipes.values():
        os.close(writes)
    outputs = {reads: number for number, (reads, _) in pipes.items()}
    while outputs:
        for each in select.select(list(outputs), [], [])[0]:
            data = os.read(each, 49152)
            if data:
                write_all(outputs[each], base64.b64encode(data) + b"\n")
            else:
                del outputs[each]
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def read_question() -> bytes:
    """The first frame, and nothing of what comes after it."""
    return read_exactly(int.from_bytes(read_exactly(4), "big"))


def read_exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            raise OSError(errno.EPIPE, "")
        data += part
    return data


def stay(asked: Asked) -> int:
    """Process 1: says that it is ready when it is first written to, waits for what others leave, and ends, and with it the box, when nobody has written for a while."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    words = b"ready\n"
    while select.select([0], [], [], asked["lease_s"])[0] and os.read(0, 4096):
        if words:
            os.write(1, words)
            words = b""
    return 0


def take_frames(write: Callable[[bytes], object]) -> bool:
    """Hand on what comes in frames. Returns True at the frame that ends it, and False if its sender has gone."""
    source = os.fdopen(0, "rb", closefd=False)
    while len(head := source.read(4)) == 4:
        left = int.from_bytes(head, "big")
        if not left:
            return True
        while left and (data := source.read(min(left, 65536))):
            left -= len(data)
            try:
                write(data)
            except OSError:
                # Nobody takes it any more.
                continue
    return False


def write_all(out: int, data: bytes) -> None:
    while data:
        data = data[os.write(out, data) :]


def work(asked: Asked) -> int:
    """Work on files, by a child that hands on what comes."""
    given, gives = os.pipe()
    if not os.fork():
        for each in (given, 1, 2):
            os.close(each)
        take_frames(lambda data: write_all(gives, data))
        os._exit(0)
    os.close(gives)
    WORK[asked["do"]](asked, [given, 1])
    return 0


def pack_still(asked: Asked) -> int:
    """Pack while nothing else runs."""
    signal_others(signal.SIGSTOP)
    try:
        WORK["pack"](asked, [0, 1])
    finally:
        signal_others(signal.SIGCONT)
    return 0


def stand_still(asked: Asked) -> int:
    signal_others(signal.SIGSTOP)
    return 0


def go_on(asked: Asked) -> int:
    signal_others(signal.SIGCONT)
    return 0


def signal_others(number: int) -> None:
    """All but process 1 and this one."""
    try:
        os.kill(-1, number)
        for each in _relays:
            os.kill(each, signal.SIGCONT)
    except ProcessLookupError:
        # There are none.
        return


def run_framed(asked: Asked) -> int:
    given, gives = os.pipe()
    failed, fails = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            # Some have a session already.
            if os.getsid(0) != os.getpid():
                os.setsid()
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.environ["WEFT_PROGRAM"] = asked["mark"]
            WORK["exec"](asked, [given, 1, 2])
        except OSError as error:
            os.write(fails, str(error.errno or errno.EIO).encode())
        except BaseException:
            os.write(fails, str(errno.EIO).encode())
        finally:
            os._exit(FAILED_STATUS)
    os.close(given)
    os.close(fails)
    relay = os.fork()
    if not relay:
        os.close(1)
        os.close(2)
        if take_frames(lambda data: write_all(gives, data)):
            os.close(gives)
            while os.read(0, 4096):
                pass
        # Whoever asked has gone.
        os.killpg(pid, signal.SIGKILL)
        os._exit(0)
    os.close(gives)
    told = os.read(failed, 16)
    _, status = os.waitpid(pid, 0)
    os.kill(relay, signal.SIGKILL)
    if told:
        raise OSError(int(told), "")
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def signal_marked(asked: Asked) -> int:
    """Send a signal to a program and its process group; SIGKILL to all that it started."""
    found: list[int] = []
    ends_at_s = time.monotonic() + 0.3
    # It may be about to start.
    while not found and time.monotonic() < ends_at_s:
        found = sorted(
            each
            for each in map(int, filter(str.isdigit, os.listdir("/proc")))
            if is_marked(each, asked["of"])
        )
        time.sleep(0 if found else 0.02)
    for each in found if asked["number"] == signal.SIGKILL else found[:1]:
        try:
            os.killpg(os.getpgid(each), asked["number"])
        except ProcessLookupError:
            continue
    return 0


def is_marked(pid: int, mark: str) -> bool:
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            return (MARK + mark).encode() in file.read().split(b"\0")
    except OSError:
        return False


def connect_framed(asked: Asked) -> int:
    """Relay between input, output and a port here."""
    with socket.create_connection(("127.0.0.1", asked["port"]), 10) as there:
        there.settimeout(None)
        os.write(1, b"\n")
        relay = os.fork()
        if not relay:
            os.close(1)
            os.close(2)
            if take_frames(there.sendall):
                there.shutdown(socket.SHUT_WR)
                while os.read(0, 4096):
                    pass
            there.shutdown(socket.SHUT_RDWR)
            os._exit(0)
        try:
            while data := there.recv(65536):
                write_all(1, data)
        finally:
            os.kill(relay, signal.SIGKILL)
    return 0


ONCE = {
    "stay": stay,
    "exec": run_framed,
    "signal": signal_marked,
    "connect": connect_framed,
    "pack": pack_still,
    "still": stand_still,
    "go": go_on,
}
