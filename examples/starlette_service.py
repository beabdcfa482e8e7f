"""A trace that goes on across HTTP: a client in this process, a Starlette service in another.

The client sends the trace along with `lumina.inject`; in the service `lumina.TraceMiddleware`
takes it up, and its span lasts until the last byte of the streamed body. Watch it:

    lumina-stream serve                      # terminal 1
    lumina-stream tail                       # terminal 2
    python examples/starlette_service.py     # terminal 3

Needs `httpx`, `starlette` and `uvicorn`.
"""

import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import anyio
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

import lumina_stream as lumina

CITIES = ["Oslo", "Lima"]


async def forecast(request: Request) -> StreamingResponse:
    city = request.path_params["city"]
    async with lumina.trace("look_up_weather", kind="db", city=city):
        await anyio.sleep(0.2)
    return StreamingResponse(_words(f"{city} will be dry with a light wind"))


async def _words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        await anyio.sleep(0.025)
        yield word + " "


def serve() -> None:
    """Answer on a port that the system chose, and end after the last city."""
    lumina.init(service_name="weather-service")
    app = Starlette(
        routes=[Route("/forecast/{city}", forecast)],
        middleware=[Middleware(lumina.TraceMiddleware)],
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_level="error", limit_max_requests=len(CITIES))
        uvicorn.Server(config).run(sockets=[listener])


async def ask(base_url: str) -> None:
    async with (
        lumina.trace("plan_trip", kind="task"),
        httpx.AsyncClient(base_url=base_url) as client,
    ):
        for city in CITIES:
            async with lumina.trace("GET /forecast", kind="http", city=city) as span:
                response = await client.get(f"/forecast/{city}", headers=lumina.inject())
                span.set_attribute("http.response.status_code", response.status_code)
                print(response.text)


def main() -> None:
    lumina.init(service_name="weather-client")
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        port = service.stdout.readline().strip()
        anyio.run(ask, f"http://127.0.0.1:{port}")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
