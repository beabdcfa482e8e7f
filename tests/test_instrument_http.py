"""Plain HTTP of httpx, httpx2 and requests: one span a request, and the trace goes on in its headers."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from support.model_server import ModelServer, model_server
from support.recorded import Recorded

import lumina_stream as lumina

BOTH = pytest.mark.parametrize("library", ["httpx", "httpx2"])
ALL = pytest.mark.parametrize("library", ["httpx", "httpx2", "requests"])


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(autouse=True)
def instrumented(recorded: Recorded) -> Iterator[None]:
    lumina.instrument("httpx", "httpx2", "requests")
    yield
    lumina.uninstrument()
    gc.collect()


def client_of(library: str, **options: Any) -> Any:
    module = pytest.importorskip(library)
    return module.Session() if library == "requests" else module.Client(**options)


def shown(recorded: Recorded, server: ModelServer) -> list[str]:
    return [line.replace(server.url.removeprefix("http://"), "HOST") for line in recorded.lines()]


def went_on_from(server: ModelServer) -> list[str]:
    """Return the span ids that the requests' headers name, in order."""
    return [headers["traceparent"].split("-")[2] for _, _, headers in server.requests]


@ALL
def test_plain_requests(server: ModelServer, recorded: Recorded, library: str) -> None:
    """Without query, credentials and headers; the request's header names its very span."""
    with client_of(library) as client, lumina.trace("mine") as mine:
        client.post(f"{server.url.replace('//', '//user:secret@')}/x?token=1", json={})
        client.get(f"{server.url}/missing", headers={"Cookie": "secret"})
        assert lumina.current_span() is mine
    assert shown(recorded, server) == [
        "mine None ok",
        "  POST HOST http ok",
        "  GET HOST http error",
    ]
    _, post, get = recorded.spans()
    assert went_on_from(server) == [post.span_id, get.span_id]
    assert server.requests[0][2]["traceparent"].split("-")[1] == mine.trace_id
    assert post.attributes == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": server.server_port,
        "url.full": f"{server.url}/x",
        "http.response.status_code": 200,
    }
    assert get.attributes["http.response.status_code"] == 404
    assert "secret" not in repr(recorded.poll())


@BOTH
def test_async(server: ModelServer, recorded: Recorded, library: str) -> None:
    module = pytest.importorskip(library)

    async def main() -> None:
        async with module.AsyncClient() as client, lumina.trace("mine"):
            await asyncio.gather(*(client.post(f"{server.url}/x", json={}) for _ in range(3)))

    asyncio.run(main())
    assert shown(recorded, server) == ["mine None ok", *["  POST HOST http ok"] * 3]
    assert sorted(went_on_from(server)) == sorted(span.span_id for span in recorded.spans()[1:])


@ALL
def test_a_redirect_is_one_request_of_the_program(
    server: ModelServer, recorded: Recorded, library: str
) -> None:
    options: Any = {} if library == "requests" else {"follow_redirects": True}
    with client_of(library, **options) as client:
        assert client.get(f"{server.url}/moved").json() == {"ok": True}
    assert [path for path, _, _ in server.requests] == ["/moved", "/here"]
    assert shown(recorded, server) == ["GET HOST http ok"]
    (span,) = recorded.spans()
    assert span.attributes["http.response.status_code"] == 200
    assert went_on_from(server) == [span.span_id] * 2


@ALL
def test_nobody_there(recorded: Recorded, library: str) -> None:
    """The program's error is its own, and the span's."""
    module = pytest.importorskip(library)
    failed = module.ConnectionError if library == "requests" else module.ConnectError
    with client_of(library) as client, pytest.raises(failed):
        client.get("http://127.0.0.1:1/")
    (span,) = recorded.spans()
    assert span.state == "error"
    assert span.error is not None
    assert span.error.type.endswith(failed.__name__)


@BOTH
def test_a_streamed_body(server: ModelServer, recorded: Recorded, library: str) -> None:
    """Its request is over with its headers; what the program does meanwhile is not below it."""
    with (
        client_of(library) as client,
        client.stream("POST", f"{server.url}/x", json={}) as response,
        lumina.trace("inside"),
    ):
        assert b"".join(response.iter_bytes())
    assert shown(recorded, server) == ["POST HOST http ok", "inside None ok"]


@ALL
def test_a_trace_of_the_programs_own_is_left_alone(
    server: ModelServer, recorded: Recorded, library: str
) -> None:
    own = f"00-{'a' * 32}-{'b' * 16}-01"
    with client_of(library) as client:
        client.get(f"{server.url}/x", headers={"TraceParent": own})
    assert server.requests[0][2]["traceparent"] == own


@BOTH
def test_an_application_in_this_process(recorded: Recorded, library: str) -> None:
    """What it records is below the request, though all of it runs inside the client's call."""
    module = pytest.importorskip(library)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        with lumina.trace("handler"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

    async def main() -> None:
        transport = module.ASGITransport(app=lumina.TraceMiddleware(application))
        async with module.AsyncClient(transport=transport) as client:
            assert (await client.get("http://app/")).text == "ok"

    asyncio.run(main())
    names = [span.name for span in recorded.spans()]
    assert names[0] == "GET app"
    assert names[-1] == "handler"
    (tree,) = recorded.subscription.traces.values()
    assert [depth for depth, _ in tree.walk()] == list(range(len(names)))


@ALL
def test_what_exporters_send_is_not_of_the_program(
    server: ModelServer, recorded: Recorded, library: str
) -> None:
    context: Any = pytest.importorskip("opentelemetry.context")
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        with client_of(library) as client:
            client.get(f"{server.url}/x")
    finally:
        context.detach(token)
    assert len(server.requests) == 1
    assert recorded.spans() == []


@ALL
def test_off(server: ModelServer, recorded: Recorded, library: str) -> None:
    """While nothing is recorded, and outside of sampled traces, requests are sent as they are."""
    lumina.uninstrument()
    with client_of(library) as client:
        client.get(f"{server.url}/x")
    assert "traceparent" not in server.requests[0][2]
    assert recorded.spans() == []


@ALL
def test_a_trace_that_is_not_sampled(server: ModelServer, library: str) -> None:
    """It goes on with a flag that says so, and without spans."""
    lumina.instrument()
    with lumina.init(export=False, sample_rate=0.0) as runtime, lumina.subscribe() as live:
        with client_of(library) as client, lumina.trace("mine"):
            client.get(f"{server.url}/x")
        assert live.poll().facts == ()
        assert runtime.recorder.faults == 0, runtime.recorder.last_fault
    assert server.requests[0][2]["traceparent"].endswith("-00")
