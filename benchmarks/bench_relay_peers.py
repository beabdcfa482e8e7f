"""What do other servers take of the same spans? Phoenix, MLflow's tracking server, the `rotel` collector, and ours.

One set of OTLP/HTTP requests (protobuf, 500 spans each, traces of 50, five attributes a span) goes to each
server in turn over four connections; the clock stops when its own API shows every span. `rotel` keeps
nothing: it hands what it takes to a sink (`blackhole`), and its clock stops with the last answer. Slow
servers get the first part of the set. Each is a child process with a store of its own (SQLite in all
three, as installed), on a port of the loopback.

    bench_relay_peers.py [lumina phoenix mlflow rotel]
"""

import argparse
import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from report import number, table, versions

ROOT = Path(__file__).resolve().parent.parent
PHOENIX = ROOT / ".venv-phoenix" / "bin" / "phoenix"
REQUEST_SPANS = 500
TRACE_SPANS = 50
SENDERS = 4
PATIENCE_S = 120.0
POLL_S = 0.2  # asking costs the server, too
PROTOBUF = {"content-type": "application/x-protobuf"}


class Measured(NamedTuple):
    """How many spans a second became visible, of how many; what a server of them took."""

    spans_s: float
    spans: int
    processor_us: float
    idle_bytes: int
    after_bytes: int


class Unavailable(Exception):
    """A peer is not installed here, or did not come up; the text says which and why."""


def payloads(spans: int) -> list[bytes]:
    """Return OTLP requests with so many spans."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    now_ns, made = time.time_ns(), []
    for first in range(0, spans, REQUEST_SPANS):
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        service = resource.resource.attributes.add(key="service.name")
        service.value.string_value = "bench"
        scope = resource.scope_spans.add()
        scope.scope.name = "bench"
        for number_ in range(first, min(first + REQUEST_SPANS, spans)):
            if number_ % TRACE_SPANS == 0:
                trace_id, root = secrets.token_bytes(16), secrets.token_bytes(8)
            is_root = number_ % TRACE_SPANS == 0
            span = scope.spans.add(
                trace_id=trace_id,
                span_id=root if is_root else secrets.token_bytes(8),
                parent_span_id=b"" if is_root else root,
                name="request" if is_root else f"step {number_ % 10}",
                kind=1,
                start_time_unix_nano=now_ns + number_ * 1_000,
                end_time_unix_nano=now_ns + number_ * 1_000 + 500,
            )
            span.attributes.add(key="llm.model_name").value.string_value = "a-model"
            span.attributes.add(key="input.value").value.string_value = f"question {number_}"
            span.attributes.add(key="number").value.int_value = number_
            span.attributes.add(key="score").value.double_value = 0.5
            span.attributes.add(key="cached").value.bool_value = False
        made.append(request.SerializeToString())
    return made


def lumina(requests: list[bytes]) -> Measured:
    """Our relay with a durable log; visible is what its list of traces counts."""
    command = [sys.executable, "-m", "lumina_stream", "serve", "--port", "{port}", "--data", "."]

    def visible(port: int) -> int:
        seen, query = 0, "/v1/traces?limit=500"
        while query:
            page = ask(port, "GET", query)
            seen += sum(trace["spans"] for trace in page["traces"])
            query = page["next"] and f"/v1/traces?limit=500&cursor={page['next']}"
        return seen

    return measure(requests, command, "/healthz", visible)


def phoenix(requests: list[bytes]) -> Measured:
    """Phoenix's server; visible is what its GraphQL counts."""
    if not PHOENIX.exists():
        raise Unavailable("Phoenix is not installed: scripts/bench makes its environment")
    asked = json.dumps({"query": "{projects{edges{node{recordCount}}}}"}).encode()

    def visible(port: int) -> int:
        page = ask(port, "POST", "/graphql", asked, {"content-type": "application/json"})
        return sum(edge["node"]["recordCount"] for edge in page["data"]["projects"]["edges"])

    environment = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": "{port}",
        "PHOENIX_GRPC_PORT": "{other}",
        "PHOENIX_WORKING_DIR": ".",
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    return measure(requests, [str(PHOENIX), "serve"], "/healthz", visible, environment)


def mlflow(requests: list[bytes]) -> Measured:
    """MLflow's tracking server, one worker; visible is what its search for traces finds, whole traces."""
    if find_spec("mlflow") is None:
        raise Unavailable("MLflow is not installed: scripts/bench makes its environment")
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "{port}"),
        *("--workers", "1", "--backend-store-uri", "sqlite:///mlflow.db"),
        *("--artifacts-destination", "./artifacts"),
    ]

    def visible(port: int) -> int:
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
        traces, token = 0, ""
        while True:
            body: dict[str, Any] = {"locations": [place], "max_results": 500}
            if token:
                body["page_token"] = token
            sent = json.dumps(body).encode()
            head = {"content-type": "application/json"}
            page = ask(port, "POST", "/api/3.0/mlflow/traces/search", sent, head)
            traces += len(page.get("traces", ()))
            token = page.get("next_page_token", "")
            if not token:
                return traces * TRACE_SPANS

    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    headers = {"x-mlflow-experiment-id": "0"}
    return measure(requests, command, "/health", visible, environment, headers)


def rotel(requests: list[bytes]) -> Measured:
    """The collector `rotel`, which keeps nothing: how many spans it takes."""
    found = find_spec("rotel")
    if found is None or found.origin is None:
        raise Unavailable("rotel is not installed: scripts/bench makes its environment")
    agent = Path(found.origin).with_name("rotel-agent")
    agent.chmod(0o755)  # the wheel leaves that to its first start
    command = [
        *(str(agent), "start", "--exporter", "blackhole", "--log-file", "rotel.log"),
        *("--pid-file", "rotel.pid", "--otlp-http-endpoint", "127.0.0.1:{port}"),
        *("--otlp-grpc-endpoint", "127.0.0.1:{other}"),
    ]
    return measure(requests, command, "", None)


PEERS: dict[str, tuple[Callable[[list[bytes]], Measured], int]] = {
    "lumina": (lumina, 50_000),
    "rotel": (rotel, 200_000),
    "mlflow": (mlflow, 1_000),
    "phoenix": (phoenix, 1_000),
}
"""Peer -> how it is measured, and how many spans that takes a few seconds for."""


def compare(names: list[str] | None = None) -> dict[str, Measured | Unavailable]:
    """Measure the peers one after the other with the same set of spans."""
    wanted = {name: PEERS[name] for name in names or PEERS}
    made = payloads(max(spans for _, spans in wanted.values()))
    found: dict[str, Measured | Unavailable] = {}
    for name, (take, spans) in wanted.items():
        try:
            found[name] = take(made[: -(-spans // REQUEST_SPANS)])
        except Unavailable as error:
            found[name] = error
    return found


def measure(
    requests: list[bytes],
    command: list[str],
    ready: str,
    visible: Callable[[int], int] | None,
    environment: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Measured:
    """Start a server, send, and wait until it shows everything."""
    spans = len(requests) * REQUEST_SPANS
    with server(command, ready, environment or {}) as (port, pid):
        if visible is not None:
            visible(port)  # what is imported on the first question is not a matter of the spans
        idle, spent_s = usage(pid)
        started = time.perf_counter()
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(send, *zip(*_shares(port, requests, headers or {}), strict=True)))
        while visible is not None and (seen := visible(port)) < spans:
            if time.perf_counter() - started > PATIENCE_S:
                raise Unavailable(f"{command[0]} shows {seen:,} of {spans:,} spans")
            time.sleep(POLL_S)
        took_s = time.perf_counter() - started
        after, now_s = usage(pid)
        return Measured(spans / took_s, spans, (now_s - spent_s) / spans * 1e6, idle, after)


def _shares(
    port: int, requests: list[bytes], headers: dict[str, str]
) -> list[tuple[int, list[bytes], dict[str, str]]]:
    return [(port, requests[first::SENDERS], PROTOBUF | headers) for first in range(SENDERS)]


def send(port: int, requests: list[bytes], headers: dict[str, str]) -> None:
    """Send requests over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    for body in requests:
        while True:
            connection.request("POST", "/v1/traces", body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status not in (429, 503):
                break
            time.sleep(0.05)  # it asks for a pause
        if answer.status != 200:
            raise Unavailable(f"POST /v1/traces gives HTTP {answer.status}: {said[:200]!r}")
    connection.close()


def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Any:
    """Return the JSON that a server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise Unavailable(f"{method} {path} gives HTTP {answer.status}: {said[:200]!r}")
        return json.loads(said)
    finally:
        connection.close()


@contextlib.contextmanager
def server(
    command: list[str], ready: str, environment: dict[str, str]
) -> Iterator[tuple[int, int]]:
    """Run a server in a folder of its own; give its port and pid. `{port}` stands for a free port."""
    port, other = free_port(), free_port()

    def filled(text: str) -> str:
        return text.replace("{port}", str(port)).replace("{other}", str(other))

    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        with open(Path(folder) / "log", "wb") as log:
            process = subprocess.Popen(
                [filled(part) for part in command],
                cwd=folder,
                env=os.environ | {"PATH": path} | {k: filled(v) for k, v in environment.items()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _await(process, port, ready, Path(folder) / "log")
            yield port, process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # its own session: it and its workers
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await(process: subprocess.Popen[bytes], port: int, ready: str, log: Path) -> None:
    ending = time.monotonic() + PATIENCE_S
    while time.monotonic() < ending:
        if process.poll() is not None:
            raise Unavailable(f"it ended with {process.returncode}: {log.read_text()[-500:]}")
        try:
            if not ready:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", ready)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise Unavailable(f"it did not come up in {PATIENCE_S:.0f} s: {log.read_text()[-500:]}")


def free_port() -> int:
    """Return a port of the loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def usage(pid: int) -> tuple[int, float]:
    """Return what a server and the processes that it started take: resident bytes, processor seconds."""
    size, ticks = 0, 0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            # pid (name) state ppid pgrp session ...: each server is a session of its own
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == pid:
                size += int((folder / "statm").read_text().split()[1])
                ticks += int(fields[11]) + int(fields[12])
    return size * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}")
    names: list[str] = parser.parse_args().peers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends with it
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"no peer {', '.join(unknown)}; there are: {', '.join(PEERS)}")
    print(versions("mlflow", "rotel"))
    rows: list[list[str]] = []
    for name, found in compare(names).items():
        if isinstance(found, Unavailable):
            print(f"{name}: left out, {found}")
            continue
        sizes = (found.idle_bytes / (1 << 20), found.after_bytes / (1 << 20))
        spent = (number(found.spans_s), number(found.processor_us))
        rows.append([name, f"{found.spans:,}", *spent, *map(number, sizes)])
    heads = ["visible, spans/s", "its processor, us a span", "idle, MiB", "after, MiB"]
    table(["", "spans sent", *heads], rows)


if __name__ == "__main__":
    main()
