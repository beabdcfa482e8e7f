"""multiprocessing in each of its ways: workers that end in good order, at once, or by a signal."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import environment, only_trace
from support.relay_process import RelayProcess, running_relay
from support.servers import Told

PROGRAM = """
import multiprocessing, os, sys, threading
import lumina_stream as lumina


def work(n):
    with lumina.trace("work", n=n, pid=os.getpid()):
        return n


def main(method, how):
    context = multiprocessing.get_context(method)
    lumina.init("workers")
    with lumina.trace("parent"):
        assert lumina.flush(20)
        if how == "pool":
            pool = context.Pool(2, maxtasksperchild=5)
            assert pool.map(lumina.propagate(work), range(30), chunksize=1) == list(range(30))
            pool.close()
            pool.join()
        elif how == "terminated":
            with context.Pool(2) as pool:
                assert pool.map(lumina.propagate(work), range(30), chunksize=1) == list(range(30))
        else:
            busy = threading.Thread(target=lambda: [work(n) for n in range(1000, 1100)])
            if how == "busy":
                busy.start()
            processes = [context.Process(target=lumina.propagate(work), args=(n,)) for n in range(10)]
            for two in zip(processes[::2], processes[1::2]):  # ten at once may take longer to leave than they have
                for process in two:
                    process.start()
                for process in two:
                    process.join(60)
                    assert process.exitcode == 0, process.exitcode
            if how == "busy":
                busy.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
"""
METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    (tmp_path / "spool").mkdir(0o700)
    with running_relay(tmp_path / "data", spool=str(tmp_path / "spool")) as running:
        yield running


def run(folder: Path, url: str, method: str, how: str, **more: str) -> None:
    """Run the program; every warning of it is an error."""
    path = folder / "program.py"
    path.write_text(PROGRAM)
    command = [sys.executable, "-W", "error", str(path), method, how]
    done = subprocess.run(
        command,
        env=environment(url, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def check(url: str, tasks: int, others: int = 0) -> dict[object, set[str]]:
    """Each task is there once, below the parent's span, of a producer of its own process."""
    told = Told(url, "workers", 2 + 2 * tasks + 2 * others)
    assert sorted(told.attribute("work", "n"))[:tasks] == list(range(tasks))  # type: ignore[type-var]
    by_pid = told.by_pid("work")
    owners = [producer for producers in by_pid.values() for producer in producers]
    assert len(set(owners)) == len(owners) == len(by_pid), "an id a process"
    return by_pid


@pytest.mark.parametrize("method", METHODS)
def test_pool(tmp_path: Path, relay: RelayProcess, method: str) -> None:
    """A pool's workers are recycled, and leave in good order: each is its own producer."""
    # breaks: lumina_stream/runtime.py
    # -   return Runtime(self.settings, self.recorder.heads, self.clock, lazily=True)
    # +   return self
    run(tmp_path, relay.url, method, "pool")
    assert len(check(relay.url, 30)) >= 6
    trace = only_trace(relay.url)
    (parent,) = trace["roots"]
    assert [span["name"] for span in parent["children"]] == ["work"] * 30
    assert trace["state"] == "ok"


@pytest.mark.parametrize("method", METHODS)
def test_processes(tmp_path: Path, relay: RelayProcess, method: str) -> None:
    """A process that records one span and ends at once delivers it."""
    # breaks: lumina_stream/leaving.py
    # -   Finalize(None, leave, exitpriority=10)
    # +   pass
    run(tmp_path, relay.url, method, "process")
    assert len(check(relay.url, 10)) == 10


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python itself warns of threads then")
def test_processes_of_a_busy_parent(tmp_path: Path, relay: RelayProcess) -> None:
    """Forked while another thread of the parent records."""
    run(tmp_path, relay.url, "fork", "busy")
    assert len(check(relay.url, 10, others=100)) == 11


@pytest.mark.parametrize("method", METHODS)
def test_terminated_pool(tmp_path: Path, relay: RelayProcess, method: str) -> None:
    """`with Pool()` ends its workers by SIGTERM, which is nobody's goodbye: a spool keeps what they recorded."""
    # breaks: lumina_stream/runtime.py
    # -   if not settings.export or settings.spool_dir is None:
    # +   if True:
    run(tmp_path, relay.url, method, "terminated", LUMINA_SPOOL_DIR=str(tmp_path / "spool"))
    check(relay.url, 30)
