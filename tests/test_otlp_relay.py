"""OTLP at a real relay: what exporters send, what they are answered, what is stored and forwarded."""

import asyncio
import gzip
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from support.relay_process import (
    PATIENCE_S,
    REPOSITORY,
    RelayProcess,
    new_hello,
    new_trace,
    open_socket,
    running_relay,
)

from lumina_stream.formats import otlp_json, otlp_protobuf
from lumina_stream.formats.otlp import Group, OtlpEvent, OtlpSpan, Resource, Scope
from lumina_stream.protocol.producer import ProducerSession
from lumina_stream.relay.core import Relay
from lumina_stream.relay.guests import Guests, batches_of
from lumina_stream.relay.log import LogUnavailable
from lumina_stream.relay.otlp import OtlpRoutes
from lumina_stream.relay.sqlite_log import SqliteLog

JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
FORGED = b"producer_id\xb6+otlp-" + b"0" * 16
RESOURCE = Resource({"service.name": "shop", "process.pid": 7})


@pytest.fixture
def relay(tmp_path) -> Iterator[RelayProcess]:
    """A relay with an empty log."""
    with running_relay(tmp_path / "data") as process:
        yield process


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[RelayProcess]:
    """A relay whose log nobody asks about."""
    with running_relay(tmp_path_factory.mktemp("shared") / "data") as process:
        yield process


def span(trace_id: str, number: int = 1, **fields: Any) -> OtlpSpan:
    said: dict[str, Any] = {
        "name": f"s{number}",
        "start_ns": time.time_ns() - 10**9,
        "end_ns": time.time_ns(),
        "attributes": {"n": number},
    }
    return OtlpSpan(trace_id, f"{number:016x}", **(said | fields))


def body(*spans: OtlpSpan, encoding: Any = otlp_protobuf) -> bytes:
    return encoding.write([Group(RESOURCE, Scope("lib", "1"), list(spans))])


def post(relay: RelayProcess, data: bytes, headers: dict[str, str] = PROTOBUF) -> httpx.Response:
    return httpx.post(f"{relay.url}/v1/traces", content=data, headers=headers, timeout=PATIENCE_S)


def tree(relay: RelayProcess, trace_id: str, **wanted: Any) -> dict[str, Any]:
    """Return a trace as soon as its fields are as wanted."""
    until = time.monotonic() + PATIENCE_S
    while True:
        answer = httpx.get(f"{relay.url}/v1/traces/{trace_id}")
        found = answer.json() if answer.status_code == 200 else {}
        if found and all(found[key] == value for key, value in wanted.items()):
            return found
        assert time.monotonic() < until, (answer.status_code, found)
        time.sleep(0.01)


def figure(relay: RelayProcess, name: str) -> float:
    lines = httpx.get(f"{relay.url}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"lumina_{name} "))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("encoding", [otlp_json, otlp_protobuf], ids=["json", "protobuf"])
def test_spans_are_taken_in_every_encoding(shared, encoding, zipped) -> None:
    """JSON and protobuf, plain and gzip: a whole success, in the encoding of the question."""
    trace_id = new_trace()
    data = body(span(trace_id), span(trace_id, 2, parent_id=f"{1:016x}"), encoding=encoding)
    headers = dict(JSON if encoding is otlp_json else PROTOBUF)
    if zipped:
        data, headers["Content-Encoding"] = gzip.compress(data), "gzip"
    answer = post(shared, data, headers)
    assert answer.status_code == 200 and answer.content in (b"", b"{}")
    assert answer.headers["content-type"] == headers["Content-Type"]
    found = tree(shared, trace_id, spans=2)
    assert found["state"] == "ok" and found["service"] == "shop"
    (root,) = found["roots"]
    assert root["attributes"]["n"] == 1 and root["children"][0]["name"] == "s2"


def test_the_real_exporter_of_python(shared) -> None:
    """opentelemetry-sdk with its own batch exporter over HTTP, as an unmodified program has it."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    program = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = provider.get_tracer("test.scope", "2.0")
with tracer.start_as_current_span("outer", attributes={"list": ["a", "b"], "n": 1}) as outer:
    print(format(outer.get_span_context().trace_id, "032x"))
    with tracer.start_as_current_span("chat m", attributes={"gen_ai.operation.name": "chat"}):
        pass
    try:
        with tracer.start_as_current_span("bad"):
            raise ValueError("no")
    except ValueError:
        pass
provider.shutdown()
"""
    for compression in ("none", "gzip"):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={
                "PATH": "/usr/bin:/bin",
                "OTEL_EXPORTER_OTLP_ENDPOINT": shared.url,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
                "OTEL_SERVICE_NAME": "unmodified",
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert run.returncode == 0 and not run.stderr, run.stderr
        found = tree(shared, run.stdout.strip(), spans=3)
        (root,) = found["roots"]
        assert (found["service"], found["state"]) == ("unmodified", "ok")
        assert root["attributes"]["list"] == ["a", "b"]
        assert root["attributes"]["otel.scope.name"] == "test.scope"
        chat, bad = root["children"]
        assert chat["kind"] == "llm" and bad["state"] == "error"
        assert (bad["error"]["type"], bad["error"]["message"]) == ("ValueError", "no")
        assert [e["name"] for e in bad["events"]] == ["exception"]


def test_row_20_one_bad_span_among_good_ones(shared) -> None:
    """The good are kept; `partial_success` says how many were not, and why."""
    trace_id = new_trace()
    data = body(span(trace_id), span("0" * 32), span(trace_id, 2), encoding=otlp_json)
    answer = post(shared, data, JSON).json()
    assert answer["partialSuccess"]["rejectedSpans"] == "1"
    assert "trace id" in answer["partialSuccess"]["errorMessage"]
    tree(shared, trace_id, spans=2)
    answer = post(shared, body(span(new_trace()), span(trace_id, 3, start_ns=0)))
    assert answer.status_code == 200
    refused, why = otlp_protobuf.read_response(answer.content)
    assert refused == 1 and "start time" in why


def test_row_20_what_is_refused_whole(shared) -> None:
    """Wrong type, wrong compression, broken body, too large, gzip bombs: the right answer to each."""
    good, gz = body(span(new_trace())), {"Content-Encoding": "gzip"}
    bomb = gzip.compress(b"\0" * 20_000_000)
    assert len(bomb) < 100_000
    for data, headers, status in (
        (good, {"Content-Type": "text/plain"}, 415),
        (good, {}, 415),
        (good, PROTOBUF | {"Content-Encoding": "br"}, 415),
        (b"\xff" * 20, PROTOBUF, 400),
        (b"{", JSON, 400),
        (good, PROTOBUF | gz, 400),
        (gzip.compress(good)[:-9], PROTOBUF | gz, 400),
        (bomb, PROTOBUF | gz, 413),
        (bomb[:0] + gzip.compress(b" " * (16 << 20)) + gzip.compress(b" "), JSON | gz, 413),
        (b"\0" * 17_000_000, PROTOBUF, 413),
    ):
        answer = post(shared, data, headers)
        assert answer.status_code == status, (headers, answer.status_code, answer.text)
    assert "gzip" in post(shared, good, PROTOBUF | {"Content-Encoding": "br"}).text
    assert post(shared, good).status_code == 200


def test_metrics_and_logs_are_answered_and_counted(relay) -> None:
    """An exporter that sends them is not made to try again; nothing is kept."""
    for path in ("metrics", "logs"):
        answer = httpx.post(f"{relay.url}/v1/{path}", content=b"\x0a\x00", headers=PROTOBUF)
        assert (answer.status_code, answer.content) == (200, b"")
        answer = httpx.post(f"{relay.url}/v1/{path}", content=b"{}", headers=JSON)
        assert (answer.status_code, answer.content) == (200, b"{}")
    assert figure(relay, "otlp_ignored_total") == 4 and figure(relay, "log_offset") == 0


def test_it_needs_the_token_that_writes(tmp_path) -> None:
    """A write like any other."""
    with running_relay(tmp_path / "d", write_token="w" * 20, read_token="r" * 20) as relay:
        data = body(span(new_trace()))
        assert post(relay, data).status_code == 401
        told = PROTOBUF | {"Authorization": "Bearer " + "r" * 20}
        assert post(relay, data, told).status_code == 403
        told = PROTOBUF | {"Authorization": "Bearer " + "w" * 20}
        assert post(relay, data, told).status_code == 200


def test_what_was_answered_survives_a_kill(relay) -> None:
    """Durable before the answer; one producer a resource, dense in seq, over restarts too."""
    trace_id = new_trace()
    for number in range(1, 4):
        assert post(relay, body(span(trace_id, number))).status_code == 200
        relay.kill()
        relay.start()
    assert tree(relay, trace_id, spans=3)["open"] == 0
    relay.stop()
    seqs = stored(relay)
    (producer,) = [p for p in seqs if p.startswith("+otlp-")]
    assert seqs[producer] == list(range(1, 10))


def stored(relay: RelayProcess) -> dict[str, list[int]]:
    """Return the seqs in a stopped relay's log, by producer."""
    log = SqliteLog.open(relay.data)
    found: dict[str, list[int]] = {}
    try:
        after = 0
        while rows := log.read(after):
            after = rows[-1].last_offset
            for row in rows:
                found.setdefault(row.producer_id, []).extend(range(row.first_seq, row.last_seq + 1))
    finally:
        log.close()
    return found


def test_many_at_once_stay_dense(relay) -> None:
    """Requests of one resource that overlap: no hole in its seq, no span lost."""
    trace_id = new_trace()
    codes: list[int] = []

    def send(first: int) -> None:
        spans = [span(trace_id, n) for n in range(first, first + 400)]
        codes.append(post(relay, body(*spans)).status_code)

    threads = [threading.Thread(target=send, args=(n * 400 + 1,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 8
    tree(relay, trace_id, spans=3200)
    relay.stop()
    seqs = next(s for p, s in stored(relay).items() if p.startswith("+otlp-"))
    assert seqs == list(range(1, 3200 * 3 + 1))


def test_an_open_span_runs_and_then_ends(shared) -> None:
    """Without an end it is open; sent again with one, it has ended, and its event is there once."""
    trace_id, start = new_trace(), time.time_ns()
    event = [OtlpEvent(start + 5, "tick")]
    running = span(trace_id, start_ns=start, end_ns=0, events=event)
    assert post(shared, body(running)).status_code == 200
    assert tree(shared, trace_id, spans=1)["state"] == "running"
    ended = span(trace_id, start_ns=start, end_ns=start + 10, events=event)
    for _ in range(2):
        assert post(shared, body(ended)).status_code == 200
    (root,) = tree(shared, trace_id, state="ok")["roots"]
    assert len(root["events"]) == 1 and not root.get("flags")


def test_no_program_takes_a_resources_id(shared) -> None:
    """Ids that only the relay gives are refused at the stream."""

    async def go() -> None:
        session = ProducerSession(new_hello())
        wire = session.connected(1, 1)
        forged = wire.replace(b"producer_id\xb0" + session.producer_id.encode(), FORGED)
        assert forged != wire
        async with open_socket(shared.url, "/v1/stream") as socket:
            await socket.send(forged)
            await asyncio.wait_for(socket.wait_closed(), PATIENCE_S)
            assert socket.close_code == 1008

    asyncio.run(go())


class Gate:
    """A log whose writer waits, or refuses, as it is told."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self.open = threading.Event()
        self.waiting = threading.Event()
        self.refuses = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, entries: Any) -> list[int]:
        self.waiting.set()
        assert self.open.wait(PATIENCE_S)
        if self.refuses:
            raise LogUnavailable("no space")
        return self._log.append(entries)


def test_no_answer_before_the_commit_and_none_but_503_without_one(tmp_path) -> None:
    """A request waits for the disk; a refusal is for the exporter to try again, and leaves no hole."""

    async def go() -> dict[str, list[int]]:
        gate = Gate(SqliteLog.open(tmp_path))
        core = Relay(gate, tmp_path)
        core.start()
        await core.ready.wait()
        app = Starlette(routes=[Route("/", OtlpRoutes(core).traces, methods=["POST"])])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://r") as client:

            async def send(number: int) -> httpx.Response:
                return await client.post(
                    "/", content=body(span("a" * 32, number)), headers=PROTOBUF
                )

            asked = asyncio.create_task(send(1))
            await asyncio.to_thread(gate.waiting.wait, PATIENCE_S)
            for _ in range(50):
                await asyncio.sleep(0)
            assert not asked.done()
            gate.refuses = True
            gate.open.set()
            refused = await asked
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            both = await asyncio.gather(send(1), send(2))
            assert [answer.status_code for answer in both] == [503, 503]
            gate.refuses = False
            both = await asyncio.gather(send(1), send(2))
            assert [answer.status_code for answer in both] == [200, 200]
        seqs: dict[str, list[int]] = {}
        for row in gate.read(0):
            seqs.setdefault(row.producer_id, []).extend(range(row.first_seq, row.last_seq + 1))
        await core.close()
        return seqs

    seqs = asyncio.run(go())
    assert [s for p, s in seqs.items() if p.startswith("+otlp-")] == [[1, 2, 3, 4, 5, 6]]


def test_a_resource_that_falls_silent_leaves_interrupted_spans(tmp_path) -> None:
    """After its lease, and only where something is open; it returns when it speaks again."""

    async def go() -> None:
        core = Relay(SqliteLog.open(tmp_path), tmp_path)
        core.guests = Guests(core, lease_s=0.0)
        core.start()
        await core.ready.wait()

        async def take(*spans: OtlpSpan) -> str:
            request = otlp_protobuf.read(body(*spans))
            await core.guests.take(batches_of(request))
            async with asyncio.timeout(PATIENCE_S):
                while core.lag:
                    await asyncio.sleep(0)
            core.guests.tick()
            await core.committer.run(lambda _: None)
            async with asyncio.timeout(PATIENCE_S):
                while core.lag:
                    await asyncio.sleep(0)
            found = core.projections.tree("a" * 32)
            return "" if found is None else found.state

        start = time.time_ns()
        assert await take(span("b" * 32)) == "" and core.counters.producers_lost == 0
        assert await take(span("a" * 32, start_ns=start, end_ns=0)) == "interrupted"
        assert core.counters.producers_lost == 1
        assert await take(span("a" * 32, start_ns=start, end_ns=start + 5)) == "ok"
        await core.close()

    asyncio.run(go())


# --- out -----------------------------------------------------------------------------------------


def test_export_writes_what_can_be_read_again(relay, tmp_path) -> None:
    """`lumina-stream export`: one trace a line, as OpenTelemetry's file format has it."""
    traces = [new_trace() for _ in range(3)]
    for index, trace_id in enumerate(traces):
        start = time.time_ns() + index
        assert (
            post(relay, body(span(trace_id, start_ns=start, end_ns=start + 9))).status_code == 200
        )
        tree(relay, trace_id, spans=1)
    command = [sys.executable, "-m", "lumina_stream", "export", "--url", relay.url]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )

    file = tmp_path / "out.jsonl"
    assert run("--format", "otlp-json", "--service", "shop", "--output", str(file)).returncode == 0
    lines = file.read_bytes().splitlines()
    read = [otlp_json.read(line) for line in lines]
    assert [r.groups[0].spans[0].trace_id for r in read] == traces
    assert read[0].groups[0].resource == RESOURCE and read[0].groups[0].scope == Scope("lib", "1")
    one = run("--trace", traces[1])
    assert one.returncode == 0 and json.loads(one.stdout)["resourceSpans"]
    missing = run("--trace", new_trace())
    assert missing.returncode == 1 and "has no trace" in missing.stderr
    assert run("--trace", "nonsense").returncode == 1
    assert run("--service", "other").stdout == ""
    relay.stop()
    assert "no relay answers" in run().stderr


class Backend:
    """Another OpenTelemetry backend, which answers as it is told."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.spans: list[OtlpSpan] = []
        self.resources: list[Resource] = []
        self.headers: list[dict[str, str]] = []
        self.changed = threading.Condition()
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                backend.take(self, gzip.decompress(data))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def take(self, request: http.server.BaseHTTPRequestHandler, data: bytes) -> None:
        read = otlp_protobuf.read(data)
        with self.changed:
            status = self.answers.pop(0) if self.answers else 200
            self.headers.append({k.lower(): v for k, v in request.headers.items()})
            if status == 200:
                assert request.path == "/v1/traces"
                for group in read.groups:
                    self.spans += group.spans
                    self.resources.append(group.resource)
            self.changed.notify_all()
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def until(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.spans) >= count, PATIENCE_S), self.spans

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A backend on a free port."""
    found = Backend()
    yield found
    found.close()


def test_finished_spans_are_forwarded_at_least_once(tmp_path, backend) -> None:
    """Through refusals, a kill of the relay, and a backend that was away; each once in the end."""
    backend.answers = [503, 429]
    headers = {"x-key": "secret"}
    with running_relay(tmp_path / "d", forward=backend.url, forward_headers=headers) as relay:
        trace_id = new_trace()
        assert post(relay, body(span(trace_id), span(trace_id, 2, end_ns=0))).status_code == 200
        backend.until(1)
        assert [s.span_id for s in backend.spans] == [f"{1:016x}"]
        assert backend.spans[0].attributes["n"] == 1 and backend.resources[0] == RESOURCE
        assert backend.headers[0]["x-key"] == "secret"
        start = tree(relay, trace_id)["roots"]
        start_ns = next(r["start_ns"] for r in start if r["name"] == "s2")
        backend.answers = [503] * 2
        ended = span(trace_id, 2, start_ns=start_ns)
        assert post(relay, body(ended)).status_code == 200
        relay.kill()  # perhaps before, perhaps while it is sent
        relay.start()
        assert post(relay, body(span(trace_id, 3))).status_code == 200
        backend.until(3)
    assert {s.span_id for s in backend.spans} == {f"{n:016x}" for n in (1, 2, 3)}


def test_a_loop_of_relays_ends(tmp_path, backend) -> None:
    """Two relays that forward to each other hand a span over once, and so does one to itself."""
    with running_relay(tmp_path / "a") as first:
        port = first.port
        with running_relay(tmp_path / "b", forward=first.url) as second:
            first.stop()
            first.config["forward"] = second.url
            first.start(port)
            trace_id = new_trace()
            assert post(first, body(span(trace_id))).status_code == 200
            tree(second, trace_id, spans=1)
            late = new_trace()
            assert post(second, body(span(late))).status_code == 200
            tree(first, late, spans=1)
            assert figure(first, "otlp_spans_total") <= 3
            assert figure(second, "otlp_spans_total") <= 3
    first.config["forward"] = f"http://localhost:{port}"
    with running_relay(tmp_path / "c") as self_sender:
        port = self_sender.port
        self_sender.stop()
        self_sender.config["forward"] = f"http://localhost:{port}"
        self_sender.start(port)
        assert post(self_sender, body(span(new_trace()))).status_code == 200
        until = time.monotonic() + PATIENCE_S
        while not figure(self_sender, "otlp_requests_refused_total"):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert figure(self_sender, "otlp_spans_total") == 1


def test_spans_that_are_refused_for_good_do_not_stop_the_rest(tmp_path, backend) -> None:
    """400: dropped and counted. 413: sent in halves."""
    with running_relay(tmp_path / "d", forward=backend.url) as relay:
        backend.answers = [400]
        assert post(relay, body(span(new_trace()))).status_code == 200
        until = time.monotonic() + PATIENCE_S
        while figure(relay, "forward_dropped_spans_total") < 1:
            assert time.monotonic() < until
            time.sleep(0.01)
        backend.answers = [413]
        trace_id = new_trace()
        assert post(relay, body(*(span(trace_id, n) for n in range(1, 5)))).status_code == 200
        backend.until(4)
        assert figure(relay, "forwarded_spans_total") == 4 or len(backend.headers) == 4


def test_a_wrong_forward_address_is_said_at_once(tmp_path) -> None:
    """Exit code 1 and what to write instead, before anything is served."""
    command = [sys.executable, "-m", "lumina_stream", "serve", "--port", "0"]
    run = subprocess.run(
        [*command, "--data", str(tmp_path), "--forward", "collector:4317"],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 1 and "http://collector:4318" in run.stderr
