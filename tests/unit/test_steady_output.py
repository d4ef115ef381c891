"""Steady output: in any state of the descriptor, writers go on, and lost data is reported."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weft.rpc.process import steady_output
from weft.rpc.process.steady_output import SteadyWriter, steady_stream

WAIT_S = 10.0


def _full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def _pipe_without_a_reader() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def _socket_without_a_reader() -> int:
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


def _closed() -> int:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    return write


def _read_only() -> int:
    return os.open(os.devnull, os.O_RDONLY)


def _nowhere() -> int:
    return os.open(os.devnull, os.O_WRONLY)


def _full_pipe() -> int:
    _read, write = os.pipe()
    _fill(write)
    return write


def _fill(write: int) -> None:
    os.set_blocking(write, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(write, b"x" * size)
        except BlockingIOError:
            pass
    os.set_blocking(write, True)


SINKS = [
    _full,
    _pipe_without_a_reader,
    _socket_without_a_reader,
    _closed,
    _read_only,
    _nowhere,
    _full_pipe,
]


@pytest.mark.parametrize("make", SINKS)
def test_writing_neither_raises_nor_waits(make: Callable[[], int]) -> None:
    writer = SteadyWriter(make())
    stream = steady_stream(writer, None)
    done = threading.Event()

    def write() -> None:
        for _ in range(100):
            print("x" * 50_000, "ä \udcff", file=stream, flush=True)
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(WAIT_S)
    assert not stream.isatty()


def _notice(count: int) -> bytes:
    return b"<%d lost>\n" % count


def test_it_goes_on_where_it_can_be_written_again(tmp_path: Path) -> None:
    """As when a disk that was full has room again, or the descriptor is led elsewhere."""
    descriptor = _full()
    writer = SteadyWriter(descriptor, _notice)
    for number in range(3):
        writer.write(b"%d\n" % number)
    path = tmp_path / "log"
    with path.open("wb") as file:
        os.dup2(file.fileno(), descriptor)
    writer.write(b"3\n")
    writer.write(b"4\n")
    assert path.read_bytes() == b"<3 lost>\n3\n4\n"
    assert writer.lost == 3


@settings(max_examples=30, deadline=None)
# The seventh is torn, and the eighth lost.
@example(writes=[1, 4086, 1, 4086, 1, 4086, 4097, 1], reads=[0], room=0)
@given(
    writes=st.lists(st.integers(1, 5000), max_size=60),
    reads=st.lists(st.integers(0, 60), max_size=20),
    room=st.integers(0, 20_000),
)
def test_whole_writes_arrive_in_order_or_are_counted(writes: list[int], reads: list[int], room: int) -> None:
    """A reader that reads now and then, against a queue with little room."""
    most, steady_output.MAX_QUEUED_BYTES = steady_output.MAX_QUEUED_BYTES, room
    read, write = os.pipe()
    try:
        # The pipe itself has little room too.
        _fill(write)
        writer = SteadyWriter(write, _notice)
        got = bytearray()
        for number, size in enumerate(writes):
            writer.write(b"[%d:%s]\n" % (number, b"y" * size))
            if number in reads:
                got += os.read(read, 30_000)
        reader = threading.Thread(target=lambda: got.extend(_all(read)))
        reader.start()
        assert writer.drain(WAIT_S)
        # Tells of what was lost last.
        writer.write(b"[%d:]\n" % len(writes))
        assert writer.drain(WAIT_S)
        os.close(write)
        _release(writer)
        reader.join(WAIT_S)
    finally:
        steady_output.MAX_QUEUED_BYTES = most
    text = bytes(got).lstrip(b"x").decode()
    lines = text.splitlines()
    told = sum(int(found) for found in re.findall(r"<(\d+) lost>", text))
    arrived = [re.fullmatch(r"\[(\d+):(y*)\]", line) for line in lines if not line.startswith("<")]
    numbers = []
    for match in arrived:
        assert match is not None, "only whole writes"
        number = int(match[1])
        assert len(match[2]) == (writes[number] if number < len(writes) else 0)
        numbers.append(number)
    assert numbers == sorted(set(numbers))
    assert len(numbers) + told == len(writes) + 1


def _all(descriptor: int) -> bytes:
    got = b""
    while chunk := os.read(descriptor, 65536):
        got += chunk
    return got


def _release(writer: SteadyWriter) -> None:
    """Close the second way to the pipe, or its reader would never see the end."""
    own = writer._non_blocking._own
    if own is not None:
        os.close(own)
        writer._non_blocking._own = None


CHILDREN = """
import multiprocessing, os, sys
from weft.rpc.process.steady_output import make_steady
make_steady()
def child(): print("from a child")
print("before")
if os.fork() == 0:
    print("from a fork"); os._exit(0)
os.wait()
process = multiprocessing.get_context("fork").Process(target=child); process.start(); process.join()
print("error", file=sys.stderr)
sys.stdout.buffer.write(b"bytes\\n")
raise SystemExit("the end")
"""


def test_prints_of_a_process_and_its_forks_arrive() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.splitlines() == ["before", "from a fork", "from a child", "bytes"]
    assert done.stderr.splitlines() == ["error", "the end"]
