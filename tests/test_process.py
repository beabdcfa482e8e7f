"""A traced process from fork to exit: faults 3, 21, 22 and 24, with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.programs import facts_of, get_json, is_span_event, only_trace, program, run, spans_of
from support.relay_process import PATIENCE_S, running_relay
from test_delivery import assert_dense

from lumina_stream.model.events import SpanStarted

KILLED = """
    import sys, time
    import lumina_stream as lumina

    lumina.init(service_name="victim")
    with lumina.trace("outer"):
        with lumina.trace("done"):
            pass
        with lumina.trace("hanging") as span:
            span.set_attribute("step", 1)
            lumina.flush()
            print("ready", flush=True)
            time.sleep(600)
"""


def wait_for_state(url: str, state: str) -> dict[str, str]:
    """Ask the relay until the only trace has a state; return its spans' states by name."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        trace = only_trace(url)
        if trace["state"] == state:
            return {span["name"]: span["state"] for span in spans_of(trace)}
    raise AssertionError(f"the trace is {trace['state']}, not {state}")


# --- fault 3: killed -------------------------------------------------------------------------


@pytest.mark.parametrize("reaped", [True, False], ids=["reaped", "zombie"])
def test_row_3_killed(tmp_path: Path, reaped: bool) -> None:
    """A killed program's open spans are `interrupted`, its ended ones stay; also as a zombie."""
    with running_relay(tmp_path / "data") as relay, program(KILLED, relay.url) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert only_trace(relay.url)["state"] == "running"
        process.send_signal(signal.SIGKILL)
        if reaped:
            process.wait()
        states = wait_for_state(relay.url, "interrupted")
        assert states == {"outer": "interrupted", "done": "ok", "hanging": "interrupted"}


def test_row_3_killed_while_the_relay_was_down(tmp_path: Path) -> None:
    """A relay that comes back finds out that a producer died meanwhile."""
    with running_relay(tmp_path / "data") as relay, program(KILLED, relay.url) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        relay.kill()
        process.send_signal(signal.SIGKILL)
        process.wait()
        relay.start()
        states = wait_for_state(relay.url, "interrupted")
        assert states["hanging"] == "interrupted"


def test_program_outlives_a_relay(tmp_path: Path) -> None:
    """A relay's restart interrupts nothing: the program's open spans run on."""
    with running_relay(tmp_path / "data") as relay, program(KILLED, relay.url) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        port = relay.port
        relay.kill()
        relay.start(port)
        assert only_trace(relay.url)["state"] == "running"


# --- fault 21: fork and its kin --------------------------------------------------------------


def test_row_21_fork_under_load(tmp_path: Path) -> None:
    """Each forked child has its own producer id; nothing is lost, doubled or deadlocked; no warning."""
    source = """
        import os, sys
        import lumina_stream as lumina

        lumina.init(service_name="forker")

        def burst(name, count):
            for _ in range(count):
                with lumina.trace(name) as span:
                    span.set_attribute("pid", os.getpid())

        with lumina.trace("master"):
            for child in range(4):
                burst("before", 300)
                pid = os.fork()
                if pid == 0:
                    burst("child", 200)
                    assert lumina.flush(30)
                    sys.exit(0)
                burst("after", 300)
                assert os.waitpid(pid, 0)[1] == 0
        assert lumina.flush(30)
    """
    with running_relay(tmp_path / "data") as relay:
        _, err = run(source, relay.url)
        assert err == ""
        expected = 2 + 3 * (4 * 600 + 4 * 200)
        facts = asyncio.run(facts_of(relay.url, count=expected, service="forker"))
        trace = only_trace(relay.url)
    mine = [fact for fact in facts if is_span_event(fact)]
    assert len(mine) == expected
    assert_dense(mine)
    producers = {f.producer_id for f in mine}
    assert len(producers) == 5
    # The parent's open span is the parent of the children's spans, and theirs to end is none of it.
    (master,) = trace["roots"]
    assert master["state"] == "ok"
    assert Counter(s["name"] for s in master["children"]) == {
        "before": 1200,
        "after": 1200,
        "child": 800,
    }


def test_row_21_fork_inside_a_span_leaves_it_to_the_parent(tmp_path: Path) -> None:
    """A child that leaves its parent's span says nothing about it."""
    source = """
        import os
        import lumina_stream as lumina

        lumina.init(service_name="forker")
        span = lumina.start_span("inherited")
        pid = os.fork()
        span.set_attribute("set by", "child" if pid == 0 else "parent")
        if pid == 0:
            span.end()
            del span
            lumina.flush(10)
            os._exit(0)
        os.waitpid(pid, 0)
        with lumina.trace("later", parent=span):
            pass
        span.end()
    """
    with running_relay(tmp_path / "data") as relay:
        run(source, relay.url)
        (span, _) = spans_of(only_trace(relay.url))
    assert span["state"] == "ok" and "flags" not in span
    assert span["attributes"] == {"set by": "parent"}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_row_21_multiprocessing(tmp_path: Path, method: str) -> None:
    """A pool's workers hang their spans below the caller's, and deliver them although they skip atexit."""
    worker = tmp_path / "pool_program.py"
    worker.write_text(
        "import multiprocessing, sys\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "import lumina_stream as lumina\n"
        "def work(n):\n"
        "    with lumina.trace('work', n=n):\n"
        "        return n\n"
        "if __name__ == '__main__':\n"
        "    lumina.init(service_name='pool', attributes={'team': 'x'})\n"
        "    with lumina.trace('batch'):\n"
        "        context = multiprocessing.get_context(sys.argv[1])\n"
        "        with ProcessPoolExecutor(2, mp_context=context) as pool:\n"
        "            assert list(pool.map(lumina.propagate(work), range(20))) == list(range(20))\n"
    )
    source = f"import runpy, sys; sys.argv[0] = {str(worker)!r}; runpy.run_path({str(worker)!r}, run_name='__main__')"
    with running_relay(tmp_path / "data") as relay:
        from support.programs import environment

        done = subprocess.run(
            [sys.executable, "-W", "error", str(worker), method],
            env=environment(relay.url),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", source
        trace = only_trace(relay.url)
    (batch,) = trace["roots"]
    assert [s["name"] for s in batch["children"]] == ["work"] * 20
    assert trace["state"] == "ok"
    assert len({s["producer_id"] for s in spans_of(trace)} - {batch["producer_id"]}) in (1, 2)


def test_row_21_preloaded_workers(tmp_path: Path) -> None:
    """A master that initialised and forks workers, as gunicorn's preload does: each is its own producer."""
    source = """
        import os, signal, sys, time
        import lumina_stream as lumina

        lumina.init(service_name="preload")
        with lumina.trace("load application"):
            pass
        workers = []
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
                with lumina.trace("serve", worker=number):
                    pass
                os.write(1, b"served\\n")
                while True:
                    time.sleep(0.01)
            workers.append(pid)
        for _ in workers:
            sys.stdin.readline()
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
            assert os.waitpid(pid, 0)[1] == 0
    """
    with running_relay(tmp_path / "data") as relay:
        with program(source, relay.url) as process:
            assert process.stdout is not None and process.stdin is not None
            for _ in range(3):
                assert process.stdout.readline() == "served\n"
            process.stdin.write("\n\n\n")
            process.stdin.flush()
            assert process.wait(60) == 0
            assert process.stderr is not None and process.stderr.read() == ""
        traces = get_json(f"{relay.url}/v1/traces")["traces"]
    assert Counter(t["name"] for t in traces) == {"load application": 1, "serve": 3}
    assert {t["state"] for t in traces} == {"ok"}


@pytest.mark.parametrize("rest_s", ["0", "0.3"])
def test_row_21_clone_behind_pythons_back(tmp_path: Path, rest_s: str) -> None:
    """A process cloned without Python's fork hooks shares a producer id: the clone takes a new one.

    After a rest of the exporter the first event wakes it, and so shows the clone; before, `flush` does.
    The clone has Python's lock as it is at that moment. If the exporter's thread is asking for it just
    then, nothing of Python runs in the clone ever again: it is ended, and that try says nothing.
    """
    source = """
        import ctypes, os, signal, sys, time
        import lumina_stream as lumina

        lumina.init(service_name="clone")
        with lumina.trace("common"):
            pass
        assert lumina.flush(10)
        time.sleep(float(sys.argv[1]))
        pid = ctypes.PyDLL(None).fork()  # with the interpreter lock held, or the child waits for it
        with lumina.trace("clone" if pid == 0 else "original"):
            pass
        assert lumina.flush(10)
        if pid == 0:
            os._exit(0)
        until = time.monotonic() + 20
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            time.sleep(0.01)
            if time.monotonic() > until:
                os.kill(pid, signal.SIGALRM)
        print(ended[1])
    """
    for attempt in range(5):
        with running_relay(tmp_path / f"data{attempt}") as relay:
            ended, _ = run(source, relay.url, rest_s)
            if int(ended) == signal.SIGALRM:
                continue
            assert int(ended) == 0
            facts = asyncio.run(facts_of(relay.url, count=6, service="clone"))
        break
    else:
        raise AssertionError("no clone came alive")
    names = Counter(f.event.name for f in facts if isinstance(f.event, SpanStarted))
    assert names == {"common": 1, "clone": 1, "original": 1}
    assert len({f.producer_id for f in facts if is_span_event(f)}) == 2


# --- fault 22: the interpreter's end ---------------------------------------------------------


@pytest.mark.parametrize(
    ("leave", "code", "state"),
    [
        ("sys.exit(0)", 0, "ok"),
        ("sys.exit(3)", 3, "error"),
        ("raise ValueError('boom')", 1, "error"),
        ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT, "cancelled"),
    ],
)
def test_row_22_leaving_inside_a_span(tmp_path: Path, leave: str, code: int, state: str) -> None:
    """However the program leaves, its span ends, is delivered, and no traceback is ours."""
    source = f"""
        import signal, sys
        import lumina_stream as lumina

        lumina.init(service_name="leaver")
        with lumina.trace("last"):
            {leave}
    """
    with running_relay(tmp_path / "data") as relay:
        _, err = run(source, relay.url, code=code)
        assert "lumina_stream" not in err
        (span,) = spans_of(only_trace(relay.url))
    assert span["state"] == state


def test_row_22_hard_exit(tmp_path: Path) -> None:
    """`os._exit` delivers what was flushed; the open span is interrupted; nothing is printed."""
    source = """
        import os
        import lumina_stream as lumina

        lumina.init(service_name="leaver")
        with lumina.trace("last"):
            lumina.flush(10)
            os._exit(7)
    """
    with running_relay(tmp_path / "data") as relay:
        _, err = run(source, relay.url, code=7)
        assert err == ""
        assert wait_for_state(relay.url, "interrupted") == {"last": "interrupted"}


def test_row_22_exit_with_open_spans_and_threads(tmp_path: Path) -> None:
    """Spans that are open at exit are `abandoned` or `unended`; daemon threads that trace on are silent."""
    source = """
        import threading, time
        import lumina_stream as lumina

        lumina.init(service_name="leaver")
        started = threading.Event()

        def forever():
            while True:
                with lumina.trace("background"):
                    started.set()
                    time.sleep(0.001)

        threading.Thread(target=forever, daemon=True).start()
        started.wait()
        held = lumina.start_span("held")
    """
    with running_relay(tmp_path / "data") as relay:
        _, err = run(source, relay.url)
        assert err == ""
        traces = get_json(f"{relay.url}/v1/traces?limit=1000")["traces"]
    states = {t["state"] for t in traces if t["name"] == "held"}
    assert states <= {"abandoned", "unended"} and states
    assert not [t for t in traces if t["state"] == "running"]


# --- fault 24: the program's own signals -----------------------------------------------------


def test_row_24_signal_handlers_are_untouched(tmp_path: Path) -> None:
    """SIGINT and SIGTERM go to the program's own handlers, before, during and after tracing."""
    source = """
        import os, signal
        import lumina_stream as lumina

        calls = []
        before = [signal.getsignal(s) for s in range(1, 32)]
        lumina.init(service_name="signals")
        with lumina.trace("span"):
            pass
        assert lumina.flush(10)
        assert [signal.getsignal(s) for s in range(1, 32)] == before
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda n, _: calls.append(n))
        with lumina.trace("interrupted"):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        lumina.shutdown()
        os.kill(os.getpid(), signal.SIGTERM)
        assert calls == [signal.SIGINT, signal.SIGTERM, signal.SIGTERM], calls
    """
    with running_relay(tmp_path / "data") as relay:
        _, err = run(source, relay.url)
        assert err == ""
        assert os.path.exists(tmp_path)
