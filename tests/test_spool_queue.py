"""The queue with a spool: as the memory queue, and it is all there when the program is gone."""

import errno
import json
import mmap
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.programs import program, run
from test_reentrancy import everywhere

import lumina_stream as lumina
from lumina_stream import spool_folder
from lumina_stream.model import codec, limits
from lumina_stream.model.events import EventsLost
from lumina_stream.model.limits import LOSS_TRACES
from lumina_stream.protocol import frames
from lumina_stream.protocol.leftover import Leftover
from lumina_stream.protocol.spool import capacity_for
from lumina_stream.recording.context import active
from lumina_stream.recording.recorder import Recorder
from lumina_stream.transport.spool import SpoolQueue

TRACE = "a" * 32


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[SpoolQueue]:
    """A queue of the least size, with its file."""
    made = new_queue(tmp_path)
    made.open()
    assert not made.problem
    yield made
    made.leave(delivered=True)
    assert not list(tmp_path.iterdir())


def new_queue(folder: Path, name: str = "producer", queue_bytes: int = 0) -> SpoolQueue:
    made = SpoolQueue(str(folder), queue_bytes)
    made.begin(frames.Hello(name, "nonce", 1))
    return made


def left(queue: SpoolQueue) -> Leftover:
    """Read a copy of the file, as if its program had been killed now."""
    return Leftover(memoryview(Path(queue.path).read_bytes()), 7)


def left_events(queue: SpoolQueue) -> list[bytes]:
    return left(queue).take(10_000)


def losses(queue: SpoolQueue) -> list[EventsLost]:
    """Return the reports of losses among what a killed program leaves."""
    events = (codec.decode(event) for event in left_events(queue) if event[0] & 0x80)
    return [event for event in events if isinstance(event, EventsLost)]


def fill(queue: SpoolQueue, bound: int) -> None:
    while queue.admit(b"x" * 500, bound):
        pass


# --- admission ---------------------------------------------------------------------------------


def test_thresholds_are_those_of_the_memory_queue(queue: SpoolQueue) -> None:
    capacity = capacity_for(0)
    bounds = (queue.text_bound, queue.attributes_bound, queue.starts_bound, queue.ends_bound)
    assert bounds == tuple(int(capacity * share) for share in (0.50, 0.80, 0.95, 1.0))
    held: list[int] = []
    for bound in bounds:
        fill(queue, bound)
        held.append(queue.held_bytes)
        assert bound - 516 < queue.held_bytes <= bound
        assert not queue.admit(b"x" * 500, bound)
    assert held == sorted(set(held))


def test_what_is_admitted_is_in_the_file_before_the_call_returns(queue: SpoolQueue) -> None:
    for n in range(1, 6):
        assert queue.admit(codec.encode(n), queue.ends_bound)
        assert left_events(queue) == [codec.encode(n) for n in range(1, n + 1)]
    assert (queue.pending, queue.spool) == (5, frames.KEPT)
    assert queue.drain(2) == [b"\x01", b"\x02"]
    queue.release(2, 0)
    assert left_events(queue) == [b"\x03", b"\x04", b"\x05"]
    assert queue.pending == 3 and not queue.reportable


def test_taps_and_the_readers_sleep(queue: SpoolQueue) -> None:
    seen: list[bytes] = []
    woken: list[int] = []
    queue.taps = (seen.append,)
    queue.wake = lambda: woken.append(1)
    assert queue.admit(b"a", queue.ends_bound) and queue.admit(b"b", queue.ends_bound)
    assert not queue.admit(b"c", 0)
    assert (seen, woken) == ([b"a", b"b"], [1])


def test_a_file_is_private_and_has_all_its_room(queue: SpoolQueue, tmp_path: Path) -> None:
    """No page of it is made when it is written: with the disk full that would kill the program."""
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_blocks * 512 >= path.stat().st_size == queue.figures()["spool_bytes"]


def test_a_folder_is_made_private(tmp_path: Path) -> None:
    made = new_queue(tmp_path / "a" / "b")
    made.open()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    made.leave(delivered=True)


def test_events_from_handlers_at_every_point_of_an_append(queue: SpoolQueue) -> None:
    outer, inner = codec.encode("outer"), codec.encode("inner")
    runs = 0
    for _ in everywhere(
        lambda: queue.admit(outer, queue.ends_bound), lambda: queue.admit(inner, queue.ends_bound)
    ):
        runs += 1
    found = queue.drain(10_000)
    assert found.count(inner) == runs
    assert found.count(outer) == runs + 1
    assert left_events(queue) == found
    queue.release(len(found), 0)
    assert queue.held_bytes == 0


def test_threads_that_append_while_it_is_read(tmp_path: Path) -> None:
    """Every event once, each thread's own in its order, with as many switches as there can be."""
    queue = new_queue(tmp_path, queue_bytes=200_000)
    queue.open()
    found: list[tuple[int, int]] = []
    done, interval = threading.Event(), sys.getswitchinterval()
    admitted: list[list[int]] = [[], [], [], []]

    def write(number: int) -> None:
        for n in range(1500):
            event = codec.encode((number, n, "x" * (n % 97)))
            if queue.admit(event, queue.ends_bound):
                admitted[number].append(n)

    def read() -> None:
        while not done.is_set() or queue.pending:
            for event in queue.drain(7):
                number, n, _ = msgpack(event)
                found.append((number, n))
            queue.release(len(found), 0)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    reader = threading.Thread(target=read)
    sys.setswitchinterval(1e-6)
    try:
        for thread in (reader, *threads):
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        done.set()
        reader.join()
        sys.setswitchinterval(interval)
    for number in range(4):
        assert [n for who, n in found if who == number] == admitted[number]
    assert queue.held_bytes == 0 and left(queue).count == 0
    queue.leave(delivered=True)


def msgpack(event: bytes) -> Any:
    import msgspec

    return msgspec.msgpack.decode(event)


def test_another_identity_is_in_the_file(queue: SpoolQueue) -> None:
    for n in range(1, 6):
        queue.admit(codec.encode(n), queue.ends_bound)
    queue.drain(5)
    queue.release(2, 0)
    queue.renamed("another", "other nonce")
    leftover = left(queue)
    assert (leftover.hello.producer_id, leftover.hello.nonce) == ("another", "other nonce")
    assert (leftover.first_seq, leftover.last_seq) == (1, 3)


# --- losses --------------------------------------------------------------------------------------


def test_refused_events_are_known_after_a_crash(queue: SpoolQueue) -> None:
    """By type and by trace, with times and reason, whether there was room for a report or not."""
    queue.losses.count("span_started", TRACE, 5, "queue_full")
    queue.losses.count("span_ended", TRACE, 6, "queue_full", 2)
    queue.losses.count("attribute_set", "b" * 32, 7, "attribute_limit")
    (report,) = losses(queue)
    assert report == EventsLost(
        7,
        "attribute_limit",
        4,
        {"span_started": 1, "attribute_set": 1, "span_ended": 2},
        {TRACE: 3, "b" * 32: 1},
        True,
        5,
        7,
    )
    queue.report_losses(9)
    (reported,) = losses(queue)
    assert reported == EventsLost(
        9, "attribute_limit", 4, report.by_type, report.by_trace, True, 5, 7
    )
    assert queue.pending == 1 and not queue.losses.pending


def test_each_loss_is_reported_once_however_the_reports_follow(queue: SpoolQueue) -> None:
    told = 0
    for n in range(1, 7):
        queue.losses.count("span_ended", TRACE, n, "queue_full", n)
        told += n
        assert sum(report.count for report in losses(queue)) == told
        queue.report_losses(n)
        assert sum(report.count for report in losses(queue)) == told
    assert queue.losses.total == told


def test_traces_past_the_limit_are_summed_in_the_file_too(queue: SpoolQueue) -> None:
    for n in range(LOSS_TRACES + 6):
        queue.losses.count("span_ended", f"{n:032x}", 1, "queue_full")
    (report,) = losses(queue)
    assert len(report.by_trace) == LOSS_TRACES + 1 and report.by_trace["other"] == 6
    assert sum(report.by_trace.values()) == report.count == LOSS_TRACES + 6


def test_a_report_waits_for_room_and_the_reader_does_not_spin(queue: SpoolQueue) -> None:
    fill(queue, queue.ends_bound)
    assert queue.drain(10_000)
    queue.losses.count("span_ended", TRACE, 1, "queue_full")
    assert queue.reportable
    queue.report_losses(1)  # the reserve
    queue.losses.count("span_ended", TRACE, 2, "queue_full")
    queue.report_losses(2)  # no reserve any more
    assert queue.losses.pending and queue.pending == 1
    assert queue.drain(1) and not queue.reportable
    assert [report.count for report in losses(queue)] == [1, 1]
    queue.release(50, 0)
    assert queue.reportable
    queue.report_losses(3)
    assert not queue.losses.pending
    assert [report.count for report in losses(queue)] == [1, 1]


@pytest.mark.parametrize("what", ["count", "report"])
def test_losses_are_exact_wherever_the_program_is_killed(queue: SpoolQueue, what: str) -> None:
    """At each call boundary of counting and of reporting the file says what was counted, or is to be."""
    before = 0
    seen: list[int] = []

    def count() -> None:
        queue.losses.count("span_ended", TRACE, 1, "queue_full")

    def work() -> None:
        if what == "count":
            count()
        else:
            queue.report_losses(1)

    def killed() -> None:
        reports = losses(queue)
        for report in reports:
            assert report.count == sum(report.by_type.values()) == sum(report.by_trace.values())
        seen.append(sum(report.count for report in reports))

    if what == "report":
        count()
    for _ in everywhere(work, killed):
        total = queue.losses.total
        assert seen[-1] in ({total - 1, total} if what == "count" else {total})
        before = total
        if what == "report":
            count()
    assert before > 3


def test_refusals_inside_refusals_and_reports_are_in_the_file(queue: SpoolQueue) -> None:
    for n, work in enumerate((lambda: queue.losses.count("span_ended", TRACE, 1, "queue_full"),
                              lambda: queue.report_losses(1))):  # fmt: skip
        for _ in everywhere(work, lambda: queue.losses.count("span_started", "b" * 32, 1, "x")):
            assert sum(report.count for report in losses(queue)) == queue.losses.total, n


def test_what_a_recorder_refuses_is_what_the_file_counts(queue: SpoolQueue) -> None:
    """Emitted = in the file + counted in the file."""
    recorder = Recorder(queue, producer_id="p")
    active.recorder = recorder
    emitted = 0
    try:
        for _ in range(300):
            with lumina.trace("step") as span:
                span.set_attribute("k", "x" * 300)
                span.add_event("e")
                emitted += 4
    finally:
        active.recorder = None
    assert queue.losses.total > 300
    events = [codec.decode(event) for event in left_events(queue)]
    reports = [event for event in events if isinstance(event, EventsLost)]
    assert len(events) - len(reports) + sum(report.count for report in reports) == emitted


# --- without a file ------------------------------------------------------------------------------


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def not_a_folder(folder: Path, _: pytest.MonkeyPatch) -> None:
    folder.write_text("")


def everybodys(folder: Path, _: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def full(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "posix_fallocate", no_space)


def no_locks(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(spool_folder, "fcntl", None)


def no_mapping(folder: Path, patch: pytest.MonkeyPatch) -> None:
    original = mmap.mmap

    def refuse_files(fd: int, *rest: Any, **more: Any) -> mmap.mmap:
        if fd >= 0:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return original(fd, *rest, **more)

    patch.setattr(mmap, "mmap", refuse_files)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (not_a_folder, "File exists"),
        (everybodys, "everybody may write there"),
        (full, "No space left"),
        (no_locks, "no file locks"),
        (no_mapping, "No such device"),
    ],
)
def test_without_a_file_there_is_one_warning_and_the_events_are_in_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    said: str,
) -> None:
    folder = tmp_path / "spool"
    with monkeypatch.context() as patch:
        spoil(folder, patch)
        runtime = lumina.init("test", endpoint="http://127.0.0.1:1", spool_dir=folder)
    try:
        with lumina.trace("step"):
            pass
        (record,) = caplog.records
        assert record.levelname == "WARNING" and str(folder) in record.getMessage()
        assert said in record.getMessage()
        statistics = runtime.statistics()
        assert (statistics.recorded, statistics.lost, statistics.spool) == (2, 0, "")
        assert said in statistics.spool_problem
        assert runtime.queue.spool == ""
        assert not folder.is_dir() or not list(folder.iterdir())
    finally:
        runtime.shutdown(0.0)


def test_a_disk_quota_is_no_harm(tmp_path: Path) -> None:
    """A real limit of the system: the file cannot be made as large as it must be."""
    source = """
        import resource, sys
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        import lumina_stream as lumina

        lumina.init("small", spool_dir=sys.argv[1])
        with lumina.trace("step"):
            pass
        print(lumina.statistics().recorded)
    """
    out, err = run(source, "http://127.0.0.1:1", str(tmp_path / "spool"))
    assert out == "2\n"
    assert "File too large" in err and err.count("no spool in") == 1
    assert list((tmp_path / "spool").iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1 << 20


def test_without_memory_either_everything_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    queue = new_queue(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", refuse)
        assert not queue.admit(b"x", queue.ends_bound)
    assert "no memory" in queue.problem
    assert not queue.admit(b"x", queue.ends_bound) and queue.drain(1) == []
    queue.losses.count("span_ended", TRACE, 1, "queue_full")
    queue.report_losses(1)
    assert queue.losses.total == 1


# --- made by the first event ---------------------------------------------------------------------


def test_the_first_event_makes_the_file(tmp_path: Path) -> None:
    queue = new_queue(tmp_path)
    assert list(tmp_path.iterdir()) == [] and (queue.pending, queue.held_bytes) == (0, 0)
    assert queue.drain(1) == [] and not queue.reportable
    assert queue.admit(b"\x01", queue.ends_bound)
    assert left_events(queue) == [b"\x01"]
    queue.leave(delivered=True)


def test_the_first_loss_makes_the_file(tmp_path: Path) -> None:
    queue = new_queue(tmp_path)
    queue.losses.count("span_ended", TRACE, 1, "not_encodable")
    assert [report.count for report in losses(queue)] == [1]
    queue.leave(delivered=True)


@pytest.mark.parametrize("inside", ["admit", "count"])
def test_a_handler_inside_the_making_of_the_file(tmp_path: Path, inside: str) -> None:
    """What it records or has refused there is in the file too, before what was being recorded."""
    made: list[SpoolQueue] = []
    begun = 0

    def work() -> None:
        nonlocal begun
        begun += 1
        made.append(new_queue(tmp_path, f"p{begun}"))
        made[-1].admit(b"\x01", made[-1].ends_bound)

    def handler() -> None:
        if len(made) < begun:
            return  # within new_queue: the last one made is another round's
        if made and inside == "admit":
            made[-1].admit(b"\x02", made[-1].ends_bound)
        elif made:
            made[-1].losses.count("span_ended", TRACE, 1, "queue_full")

    for _ in everywhere(work, handler):
        pass
    counts: list[int] = []
    for queue in made[:-1]:
        events = left_events(queue)
        counts.append(len(events))
        assert events.count(b"\x01") == 1 and len(events) <= 2
        if inside == "count":
            assert sum(report.count for report in losses(queue)) == queue.losses.total
        else:
            assert events.count(b"\x02") == len(events) - 1
        queue.leave(delivered=True)
    made[-1].leave(delivered=True)
    assert counts.count(2) > 10


def test_threads_that_make_the_file_at_once(tmp_path: Path) -> None:
    """One file, every event in it."""
    for attempt in range(10):
        queue = new_queue(tmp_path, f"p{attempt}")
        barrier = threading.Barrier(6)

        def record(queue: SpoolQueue = queue, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            for n in range(20):
                assert queue.admit(codec.encode(n), queue.ends_bound)

        threads = [threading.Thread(target=record) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(tmp_path.iterdir())) == 1
        found = left_events(queue)
        assert {event: found.count(event) for event in found} == {
            codec.encode(n): 6 for n in range(20)
        }
        queue.leave(delivered=True)


# --- other processes -----------------------------------------------------------------------------


def test_a_forked_child_has_a_file_of_its_own_once_it_records(tmp_path: Path) -> None:
    source = """
        import json, os, sys
        import lumina_stream as lumina

        folder = sys.argv[1]
        lumina.init("forker", spool_dir=folder)
        held = lumina.start_span("of the parent")
        reading, writing = os.pipe()
        if os.fork() == 0:
            held.end()  # the parent's to end
            before = sorted(os.listdir(folder))
            with lumina.trace("child"):
                pass
            said = lumina.statistics()
            os.write(writing, json.dumps([before, said.producer_id, said.spool]).encode())
            os.kill(os.getpid(), 9)
        os.wait()
        said = lumina.statistics()
        print(json.dumps([json.loads(os.read(reading, 10_000)), said.producer_id, said.spool]))
        sys.stdout.flush()
        os.kill(os.getpid(), 9)
    """
    out, _ = run(source, "http://127.0.0.1:1", str(tmp_path), code=-signal.SIGKILL)
    (before, child, child_file), parent, parent_file = json.loads(out)
    assert before == [Path(parent_file).name]
    assert child != parent
    assert {Path(child_file), Path(parent_file)} == set(tmp_path.iterdir())
    types = {}
    for file in spool_folder.left_behind(str(tmp_path)):
        leftover = Leftover(memoryview(file.memory), 1)
        types[leftover.hello.producer_id] = [tag(event) for event in leftover.take(10)]
        assert (leftover.hello.pid != os.getpid()) and leftover.damaged == 0
        file.close()
    assert types == {parent: ["span_started"], child: ["span_started", "span_ended"]}


def tag(event: bytes) -> str:
    return str(msgpack(event)["type"])


def test_a_child_does_not_hold_the_lock_of_its_dead_parent(tmp_path: Path) -> None:
    source = """
        import os, sys
        import lumina_stream as lumina

        lumina.init("forker", spool_dir=sys.argv[1])
        with lumina.trace("step"):
            pass
        if os.fork() == 0:
            print("child", flush=True)
            sys.stdin.read()  # lives as long as the test holds this
            os._exit(0)
        os.kill(os.getpid(), 9)
    """
    with program(source, "http://127.0.0.1:1", str(tmp_path)) as process:
        assert process.stdout is not None and process.stdout.readline() == "child\n"
        assert process.wait() == -signal.SIGKILL
        (file,) = spool_folder.left_behind(str(tmp_path))
        assert len(Leftover(memoryview(file.memory), 1).take(10)) == 2
        file.close()


def test_a_clone_that_python_does_not_know_of_leaves_the_file_to_its_parent(tmp_path: Path) -> None:
    """`fork` called by C code: the mapping is shared, and still each process writes its own file."""
    source = """
        import ctypes, os, sys
        import lumina_stream as lumina

        runtime = lumina.init("cloner", spool_dir=sys.argv[1])
        with lumina.trace("common"):
            pass
        runtime._exporter.park()  # whatever a thread holds at that moment, its copy holds for ever
        pid = ctypes.PyDLL(None).fork()
        for _ in range(20):
            with lumina.trace("clone" if pid == 0 else "original"):
                pass
        if pid:
            os.waitpid(pid, 0)
        os.kill(os.getpid(), 9)
    """
    run(source, "http://127.0.0.1:1", str(tmp_path), code=-signal.SIGKILL)
    names: list[list[str]] = []
    for file in spool_folder.left_behind(str(tmp_path)):
        leftover = Leftover(memoryview(file.memory), 1)
        events = [msgpack(event) for event in leftover.take(100)]
        names.append([event["name"] for event in events if event["type"] == "span_started"])
        assert leftover.damaged == 0
        file.close()
    original, clone = names
    assert original == ["common"] + ["original"] * 20
    assert clone == ["clone"] * 20


def test_a_queue_that_was_left_takes_nothing_more(tmp_path: Path) -> None:
    """Threads that still record then lose it, and neither write into the file nor raise."""
    queue = new_queue(tmp_path)
    queue.admit(b"\x01", queue.ends_bound)
    path = queue.path
    queue.leave(delivered=False)
    assert not queue.admit(b"\x02", queue.ends_bound)
    queue.losses.count("span_ended", TRACE, 1, "queue_full")
    (file,) = spool_folder.left_behind(str(tmp_path))
    assert file.path == path
    assert Leftover(memoryview(file.memory), 1).take(10)[0] == b"\x01"
    file.remove()


def test_a_size_is_what_was_asked_for(tmp_path: Path) -> None:
    """`Limits.queue_bytes` bounds the file as it bounds memory."""
    for queue_bytes in (1 << 20, limits.QUEUE_BYTES):
        queue = new_queue(tmp_path, queue_bytes=queue_bytes)
        queue.open()
        assert 0.8 * queue_bytes < os.stat(queue.path).st_size <= queue_bytes * 1.05
        queue.leave(delivered=True)
