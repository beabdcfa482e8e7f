"""`TraceMiddleware`: one span a request, from its headers to the last byte of its answer."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket
from support.recorded import Recorded

import lumina_stream as lumina

PARENT = lumina.SpanContext("a" * 32, "b" * 16)
states: list[tuple[str, bool]] = []


async def hello(request: Request) -> Response:
    with lumina.trace("handler"):
        return PlainTextResponse("hello", int(request.query_params.get("status", "200")))


async def fail(request: Request) -> Response:
    raise ValueError("failed")


async def streaming(request: Request) -> Response:
    span = lumina.current_span()

    async def body() -> AsyncIterator[bytes]:
        for n in range(3):
            states.append((f"piece {n}", span.is_recording))
            await anyio.lowlevel.checkpoint()
            yield b"x"

    async def afterwards() -> None:
        states.append(("background", span.is_recording))

    response = StreamingResponse(body())
    response.background = afterwards  # type: ignore[assignment]
    return response


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with lumina.trace("message"):
        await websocket.send_text(await websocket.receive_text())
    await websocket.close()


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/fail", fail),
        Route("/stream", streaming),
        WebSocketRoute("/echo", echo),
    ],
    middleware=[Middleware(lumina.TraceMiddleware)],
)


def client(app: Any = app) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.anyio
async def test_the_trace_of_the_caller_goes_on(recorded: Recorded) -> None:
    async with client() as http:
        with lumina.trace("caller", parent=PARENT):
            headers = dict(lumina.inject())
        await http.get("/hello?token=open-secret", headers=headers)
    assert {name: parent for name, (parent, _) in recorded.shape().items() if name} == {
        "caller": "",
        "GET /hello": "caller",
        "handler": "GET /hello",
    }
    node = recorded.one("GET /hello")
    assert (node.kind, node.state, node.remote_parent) == ("http", "ok", True)
    assert node.attributes == {
        "http.request.method": "GET",
        "url.path": "/hello",
        "http.response.status_code": 200,
    }


@pytest.mark.anyio
@pytest.mark.parametrize("traceparent", ["junk", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "\xff"])
async def test_hostile_headers_begin_a_trace(recorded: Recorded, traceparent: str) -> None:
    async with client() as http:
        response = await http.get("/hello", headers={"traceparent": traceparent.encode("latin-1")})
    assert response.status_code == 200
    assert recorded.shape()["GET /hello"] == (None, "ok")


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "state"), [(200, "ok"), (404, "ok"), (500, "error")])
async def test_the_status_says_how_it_ends(recorded: Recorded, status: int, state: str) -> None:
    async with client() as http:
        await http.get(f"/hello?status={status}")
    assert recorded.shape()["GET /hello"] == (None, state)
    assert recorded.attributes("GET /hello")["http.response.status_code"] == status


@pytest.mark.anyio
async def test_an_exception(recorded: Recorded) -> None:
    async with client() as http:
        assert (await http.get("/fail")).status_code == 500
    assert recorded.shape() == {"GET /fail": (None, "error")}
    assert recorded.error("GET /fail").message == "failed"


@pytest.mark.anyio
async def test_a_streaming_answer_ends_with_its_last_byte(recorded: Recorded) -> None:
    states.clear()
    async with client() as http:
        assert (await http.get("/stream")).text == "xxx"
    assert states == [
        ("piece 0", True),
        ("piece 1", True),
        ("piece 2", True),
        ("background", False),
    ]
    assert recorded.shape() == {"GET /stream": (None, "ok")}


def test_a_websocket(recorded: Recorded) -> None:
    with TestClient(app) as http, http.websocket_connect("/echo") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
    assert recorded.shape() == {
        "WEBSOCKET /echo": (None, "ok"),
        "message": ("WEBSOCKET /echo", "ok"),
    }


@pytest.mark.anyio
async def test_a_span_is_named_by_its_route_where_the_framework_says_it(
    recorded: Recorded,
) -> None:
    async def routed(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = type("Route", (), {"path": "/items/{id}"})()
        await PlainTextResponse("x")(scope, receive, send)

    async with client(lumina.TraceMiddleware(routed)) as http:
        await http.get("/items/5")
    node = recorded.one("GET /items/{id}")
    assert node.attributes["http.route"] == "/items/{id}"


@pytest.mark.anyio
async def test_it_passes_everything_through_while_tracing_is_off() -> None:
    async with client() as http:
        assert (await http.get("/hello")).text == "hello"
        assert (await http.get("/fail")).status_code == 500


@pytest.mark.anyio
async def test_lifespan_and_unknown_scopes_are_not_traced(recorded: Recorded) -> None:
    seen: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await lumina.TraceMiddleware(inner)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert (seen, recorded.shape()) == (["lifespan"], {})
