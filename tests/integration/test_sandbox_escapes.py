"""Programs in a sandbox try to get out, to take more than they may, and to stay: each fails, on real namespaces and control groups."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT, environment
from tests.support.sandboxed import need_bubblewrap, python_in, run_code, run_in, traces, wait_gone
from weft.agent.errors import HostingError, SandboxError
from weft.agent.sandboxing import bubblewrap, sandbox_process
from weft.agent.sandboxing.control_group import group_parent
from weft.agent.sandboxing.sandbox import Sandbox
from weft.agent.sandboxing.sandbox_process import start

SMALL = Sandbox(memory_mb=64, disk_mb=4, max_processes=16)


@pytest.fixture(autouse=True)
def _bubblewrap() -> None:
    need_bubblewrap()


def test_a_program_runs_and_its_status_is_told() -> None:
    assert run_in(SMALL, "sh", "-c", "echo $HOME; exit 3")[:2] == (3, "/work\n")
    assert run_in(SMALL, "sh", "-c", "kill -9 $$").code == -signal.SIGKILL


def test_it_reads_no_files_of_the_machine(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    ran = run_in(
        SMALL,
        "sh",
        "-c",
        f"""cat {secret} /etc/shadow /root/.bashrc /proc/1/root{secret} /proc/self/root/../..{secret}
        ln -s {secret} /work/link; ln -s / /work/top; cat /work/link /work/top{secret}
        cat /proc/1/cwd{secret}; cat /proc/{os.getpid()}/environ; cat /sys/kernel/notes; ls /home /var /sys""",
    )
    assert "the secret" not in ran.output
    assert ran.output.count("No such file") >= 9, ran.output


def test_it_reads_what_it_is_given_and_cannot_change_it(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("given")
    (tmp_path / "beside").write_text("hidden")
    (tmp_path / "folder").mkdir(mode=0o755)
    (tmp_path / "folder" / "file").write_text("too")
    # Nobody else comes here.
    tmp_path.chmod(0o700)
    given = [str(tmp_path / name) for name in ("data", "folder")]
    line = "cat data folder/file beside; echo more > data; rm data; touch folder/more"
    ran = run_in(Sandbox(readable=tuple(given)), "sh", "-c", f"cd {tmp_path}; {line}")
    assert ran.output.startswith("giventoo")
    assert "hidden" not in ran.output
    assert (tmp_path / "data").read_text() == "given"
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["file"]
    if os.geteuid() == 0:
        (tmp_path / "data").chmod(0o600)
        with pytest.raises(SandboxError, match="its mode 600"):
            start(Sandbox(readable=tuple(given)), ["true"])


def test_it_has_no_variables_and_no_open_files_of_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_TEST_SECRET", "the secret")
    with (ROOT / "README.md").open("rb") as opened:
        os.set_inheritable(opened.fileno(), True)
        ran = run_in(
            Sandbox(variables={"GIVEN": "x y"}),
            "sh",
            "-c",
            "env; cat /proc/*/environ; ls -l /proc/self/fd /proc/1/fd",
        )
    assert "the secret" not in ran.output
    assert "GIVEN=x y" in ran.output
    assert "README" not in ran.output


def test_it_reaches_no_network_and_no_sockets_of_the_machine() -> None:
    abstract = f"\0weft-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(abstract)
        local.listen()
        port = server.getsockname()[1]
        code = f"""
import socket
for family, address in (
    (socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_INET, ("8.8.8.8", 53)),
    (socket.AF_INET6, ("::1", {port})), (socket.AF_UNIX, {abstract!r}),
):
    try:
        socket.socket(family).connect(address)
        print("reached")
    except OSError as error:
        print("refused")
"""
        assert run_code(code).output == "refused\n" * 4
        # The same program reaches it with a network.
        assert run_code(code, network=True).output.startswith("reached\n")


def test_it_gets_no_rights_of_the_kernel() -> None:
    ran = run_in(
        SMALL,
        "sh",
        "-c",
        """for line in "unshare -U true" "unshare -m true" "mount -t tmpfs x /work" "mount -o remount,rw /" "umount /usr" "chroot / true" \\
        "mknod /work/disk b 254 0" "touch /usr/x" "touch /x" "touch /dev/x" "touch /etc/x" "hostname x" "date -s 2000-01-01" "nsenter -t 1 -m true" \\
        "setpriv --reuid 0 true" "chown 0 /work"; do $line 2>/dev/null && echo "could: $line"; done
        for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/vm/drop_caches /proc/self/oom_score_adj; do
        (echo 1 > $file) 2>/dev/null && echo "wrote: $file"; done; grep -E 'Cap(Eff|Bnd|Prm)|NoNewPrivs' /proc/self/status""",
    )
    assert "could" not in ran.output, ran.output
    assert "wrote" not in ran.output, ran.output
    assert ran.output.count("0000000000000000") == 3
    assert "NoNewPrivs:\t1" in ran.output
    if os.geteuid() == 0:
        process = start(SMALL, ["sleep", "10"])
        users = Path(f"/proc/{process.process_id}/status").read_text().partition("Uid:")[2].split()[:4]
        process.close()
        assert "0" not in users, "the machine's root"


def test_a_fork_bomb_stays_small_and_the_machine_responds() -> None:
    code = """
import os, time
made = 0
ends_at = time.monotonic() + 0.5
while time.monotonic() < ends_at:
    try:
        if os.fork() == 0:
            while True:
                try:
                    os.fork()
                except OSError:
                    time.sleep(0.05)
        made += 1
    except OSError:
        time.sleep(0.01)
print(len([name for name in os.listdir("/proc") if name.isdigit()]), flush=True)
"""
    slowest = [0.0]
    done = threading.Event()

    def measure() -> None:
        while not done.is_set():
            began = time.monotonic()
            subprocess.run(["true"], check=True)
            slowest[0] = max(slowest[0], time.monotonic() - began)

    beside = threading.Thread(target=measure)
    beside.start()
    try:
        ran = run_code(code, max_processes=16, memory_mb=128)
    finally:
        done.set()
        beside.join()
    assert 3 < int(ran.output) <= 19
    assert slowest[0] < 5


def test_it_cannot_use_more_memory() -> None:
    ran = run_code("x = bytearray(400 << 20); print('got it')", memory_mb=64)
    assert "got it" not in ran.output
    # In the shared memory, too, and in memory without an address.
    shared = """
import os
for name in ("/dev/shm/x", None):
    file = os.open(name, os.O_CREAT | os.O_RDWR) if name else os.memfd_create("x")
    try:
        for _ in range(200):
            os.write(file, bytes(1 << 20))
        print("got it")
    except OSError:
        print("refused", flush=True)
"""
    if group_parent(os.getpid()) is not None:
        ran = run_code(shared, memory_mb=64, disk_mb=1000)
        assert ran.output == "refused\n"
        assert ran.killed_for_memory


def test_it_cannot_fill_the_disk() -> None:
    ran = run_in(
        Sandbox(memory_mb=64, disk_mb=4),
        "sh",
        "-c",
        """for each in /work/a /work/b /tmp/c /tmp/d; do head -c 3000000 /dev/zero > $each; done; du -sk /work
        for each in /usr /dev /etc /proc /; do echo x > $each/x; done""",
    )
    assert "No space left" in ran.output
    assert int(ran.output.split("/work\n")[0].split("\n")[-1]) <= 4096
    assert ran.output.count("Read-only") >= 4


def test_names_of_files_count_as_memory() -> None:
    if group_parent(os.getpid()) is None:
        pytest.skip("no control group can be written here")
    code = "import os\nfor n in range(300_000): os.close(os.open(f'/work/{n}', os.O_CREAT))\nprint('all')"
    assert "all" not in run_code(code, memory_mb=32).output


def test_it_cannot_open_more_files() -> None:
    ran = run_code(
        "f=[]\ntry:\n while True: f.append(open('/dev/null'))\nexcept OSError: print(len(f))",
        max_open_files=32,
    )
    assert int(ran.output) < 32


def test_it_cannot_use_more_of_the_cores() -> None:
    if group_parent(os.getpid()) is None:
        pytest.skip("no control group can be written here")
    code = (
        "import time\nend=time.monotonic()+0.6\nwhile time.monotonic()<end: pass\nprint(time.process_time())"
    )
    assert float(run_code(code, cpus=0.2).output) < 0.4


def test_what_ignores_signals_and_leaves_its_parent_ends_with_the_sandbox() -> None:
    marker = f"1000.{os.getpid()}"
    line = (
        f"trap '' TERM INT HUP; setsid sleep {marker} & (setsid sleep {marker} &) ; echo up; sleep {marker}"
    )
    read, write = os.pipe()
    process = start(SMALL, ["sh", "-c", line], stdout=write)
    os.close(write)
    with os.fdopen(read) as file:
        assert file.readline() == "up\n"
    assert len(traces(marker)) >= 3
    process.close()
    assert process.exit_code == -signal.SIGKILL
    assert traces(marker) == []
    process.close()


AGENT = """
import os, sys, time
from weft.agent.sandboxing.sandbox import Sandbox
from weft.agent.sandboxing.sandbox_process import start
made = [start(Sandbox(), ["sh", "-c", f"trap '' TERM; setsid sleep {sys.argv[1]} & sleep {sys.argv[1]}"]) for _ in range(2)]
os.kill(made[1].process_id, 19)
groups = [str(each.group._folders[name]) for each in made if each.group for name in each.group.controllers]
print(*groups, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_nothing_outlives_the_agent(number: int) -> None:
    marker = f"1001.{os.getpid()}.{number}"
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, marker], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as agent:
        assert agent.stdout is not None
        groups = [Path(each) for each in agent.stdout.readline().split()]
        assert all(each.exists() for each in groups)
        agent.send_signal(number)
        agent.wait(10)
    wait_gone(lambda: [*traces(marker), *(str(each) for each in groups if each.parent.exists())])


def test_its_first_process_killed_from_outside_is_its_end() -> None:
    marker = f"1002.{os.getpid()}"
    process = start(SMALL, ["sh", "-c", f"sleep {marker} & sleep {marker}"], first_process=True)
    os.kill(process.process_id, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    process.close()
    assert traces(marker) == []


MANY = """
import os, sys, threading
from pathlib import Path
from tests.support.sandboxed import run_in, traces
from weft.agent.sandboxing.sandbox import Sandbox
from weft.agent.sandboxing.sandbox_process import start

def count():
    opened = len(list(Path("/proc/self/fd").iterdir()))
    mounts = len(Path("/proc/self/mountinfo").read_text().splitlines())
    return opened, mounts, threading.active_count()

small, marker = Sandbox(memory_mb=64, disk_mb=4, max_processes=16), sys.argv[1]
run_in(small, "true")
before, found = count(), []
for _ in range(int(sys.argv[2])):
    start(small, ["sleep", marker]).close()
    found += traces(marker)
    assert run_in(small, "true").code == 0
print(before == count(), found)
"""


@pytest.mark.parametrize("times", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_many_leave_no_trace(times: int) -> None:
    """In a process of its own, whose files and threads are no other test's; of root, in a mount namespace of its own, too."""
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else []
    words = [*apart, sys.executable, "-c", MANY, f"1003.{os.getpid()}", str(times)]
    ran = subprocess.run(
        words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=90
    )
    assert ran.stdout == "True []\n", ran.stdout + ran.stderr


def test_without_a_control_group_a_look_at_its_processes_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_process, "group_parent", lambda _: None)
    # Each below the limit of one process, all above that of the sandbox.
    code = "import os, time\nos.fork(); os.fork()\nx = bytearray(40 << 20)\ntime.sleep(20)"
    ran = run_code(code, memory_mb=100)
    assert (ran.code, ran.ended_for) == (-signal.SIGKILL, "memory_mb")
    # It is closed when all of it has ended, which no group tells.
    marker = f"1005.{os.getpid()}"
    for _ in range(5):
        start(SMALL, ["sleep", marker]).close()
        assert traces(marker) == []
    # One alone is refused by its own limit.
    assert "MemoryError" in run_code("x = bytearray(400 << 20)", memory_mb=100).output
    # And processes are counted.
    bomb = "import os\nn=0\ntry:\n while True:\n  if os.fork() == 0: os.execvp('sleep', ['sleep', '1'])\n  n+=1\nexcept OSError: print(n)"
    assert int(run_code(bomb, max_processes=8).output) <= 11
    held = sandbox_process.held_by(None)
    assert "not held" in held["cpus"]


def test_what_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="No such file"):
        start(Sandbox(readable=("/there/is/no/such",)), ["true"])
    assert "nosuch" in run_in(SMALL, "nosuch").output
    for wrong in (
        {"memory_mb": 1},
        {"cpus": float("nan")},
        {"max_processes": 0},
        {"readable": ("work",)},
        {"readable": ("/",)},
        {"readable": ("/usr/../proc/1",)},
        {"variables": {"A=B": ""}},
        {"disk_mb": "many"},
    ):
        with pytest.raises(HostingError):
            Sandbox(**wrong)  # type: ignore[arg-type]
    bubblewrap.find_bubblewrap.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        with pytest.raises(SandboxError, match="install the package bubblewrap"):
            start(SMALL, ["true"])
    finally:
        monkeypatch.undo()
        bubblewrap.find_bubblewrap.cache_clear()


@pytest.mark.slow
def test_an_agent_that_is_not_root_has_sandboxes_too() -> None:
    """In a process of a user that nobody has: unprivileged user namespaces, and no control groups."""
    if os.geteuid() != 0:
        pytest.skip("the other tests run so")
    python, _ = python_in()
    version = subprocess.run([python[0], "-V"], capture_output=True, text=True, check=False).stdout
    if python[0] != "/usr/bin/python3" or f"{sys.version_info[0]}.{sys.version_info[1]}." not in version:
        pytest.skip("another user has no Python of this version here")
    code = f"""
import sys
sys.path[:0] = {[path for path in sys.path if path]!r}
import os, time
from weft.agent.sandboxing.sandbox import Sandbox
from tests.support.sandboxed import run_code, run_in
print(run_in(Sandbox(), "sh", "-c", "id -u; unshare -U true || echo closed").output.split())
print("MemoryError" in run_code("x = bytearray(400 << 20)", memory_mb=100).output)
bomb = "import os\\nn=0\\ntry:\\n while True:\\n  if os.fork() == 0: os.execvp('sleep', ['sleep', '1'])\\n  n+=1\\nexcept OSError: print(n)"
print(int(run_code(bomb, max_processes=8).output) <= 11)
print(run_code("import os\\nos.fork(); os.fork()\\nx = bytearray(40 << 20)\\nimport time; time.sleep(20)", memory_mb=100).ended_for)
"""
    ran = subprocess.run(
        [python[0], "-c", code],
        user=65533,
        group=65533,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "ModuleNotFoundError" in ran.stderr and not os.access(ROOT, os.X_OK):
        pytest.skip("another user cannot read this checkout")
    lines = ran.stdout.splitlines()
    assert lines[0].endswith("'closed']"), ran.stderr
    assert lines[1:] == ["True", "True", "memory_mb"], ran.stderr
