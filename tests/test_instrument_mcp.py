"""The Model Context Protocol, at both ends: a request is one span at each, in one trace."""

import asyncio
import gc
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.programs import environment, get_json, spans_of
from support.recorded import Recorded
from support.relay_process import running_relay

import lumina_stream as lumina

pytest.importorskip("mcp")
pytestmark = pytest.mark.filterwarnings("ignore")
"""Warnings of the library are its own."""

SERVER = Path(__file__).parent / "programs" / "mcp_server.py"
Connect = Callable[[], AbstractAsyncContextManager[Any]]


@pytest.fixture(params=["ours", "bridged"])
def bridged(request: pytest.FixtureRequest, recorded: Recorded) -> Iterator[bool]:
    lumina.instrument("mcp")
    if request.param == "bridged":
        pytest.importorskip("opentelemetry.sdk.trace")
        lumina.instrument("opentelemetry")
    yield request.param == "bridged"
    lumina.uninstrument()
    gc.collect()


def traces_itself(bridged: bool) -> bool:
    return bridged and is_second()


def is_second() -> bool:
    return importlib.util.find_spec("mcp.server.mcpserver") is not None


def weather() -> Any:
    """Return a server with a tool that works and one that does not."""
    try:
        from mcp.server.mcpserver import MCPServer as Server
    except ModuleNotFoundError:
        from mcp.server.fastmcp import FastMCP as Server
    server: Any = Server("weather")

    @server.tool()
    def temperature(city: str) -> str:
        with lumina.trace("thermometer"):
            return "21"

    @server.tool()
    def broken() -> str:
        raise ValueError("no battery")

    return server


@asynccontextmanager
async def over_streams() -> AsyncIterator[Any]:
    """Give a session with a server in this process, over streams in memory."""
    if is_second():
        from mcp.client.client import Client

        async with Client(weather(), mode="legacy") as client:
            yield client.session
    else:
        from mcp.shared.memory import create_connected_server_and_client_session as connected

        async with connected(weather()._mcp_server) as session:
            yield session


@asynccontextmanager
async def over_pipes(url: str = "") -> AsyncIterator[Any]:
    """Give a session with a server in a process of its own."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    options = ["-m", "lumina_stream", "run", "--instrument", "--", sys.executable] if url else []
    parameters = StdioServerParameters(
        command=sys.executable,
        args=[*options, str(SERVER)],
        env=environment(url or None, LUMINA_SERVICE_NAME="mcp_server"),
    )
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


def shown(recorded: Recorded) -> list[str]:
    recorded.poll()
    return [
        f"{'  ' * depth}{node.name} {node.kind} {node.attributes.get('span.kind')} {node.state}"
        for trace in recorded.subscription.traces.values()
        for depth, node in trace.walk()
    ]


def test_a_tool(recorded: Recorded, bridged: bool) -> None:
    """The client's span, the server's below it, and what the tool did below that."""

    async def main() -> None:
        async with over_streams() as session:
            await session.list_tools()  # or a call does it, to check what it gets
            async with lumina.trace("mine"):
                await session.call_tool("temperature", {"city": "Bonn"})
                with lumina.trace("after"):
                    pass

    asyncio.run(main())
    name = "tools/call temperature"
    lines = shown(recorded)
    here = lines.index("mine None None ok")
    assert lines[here : here + 4] == [
        "mine None None ok",
        f"  {'MCP send ' if traces_itself(bridged) else ''}{name} tool client ok",
        f"    {name} tool server ok",
        "      thermometer None None ok",
    ]
    assert "  after None None ok" in lines
    assert sum(name in line for line in lines) == 2
    for span in recorded.spans():
        if name in span.name:
            assert span.attributes["mcp.method.name"] == "tools/call"
            assert span.attributes["gen_ai.tool.name"] == "temperature"
            assert span.attributes["gen_ai.tool.call.arguments"] == {"city": "Bonn"}
            assert span.attributes["gen_ai.tool.call.result"] == "21"
            scope = "mcp-python-sdk" if traces_itself(bridged) else None
            assert span.attributes.get("otel.scope.name") == scope


def test_other_requests(recorded: Recorded, bridged: bool) -> None:
    """Each is two spans, one a side, whoever makes them."""

    async def main() -> None:
        async with over_streams() as session:
            await session.list_tools()
            await session.list_prompts()

    asyncio.run(main())
    lines = [line for line in shown(recorded) if "/list" in line]
    assert len(lines) == 4, lines
    assert [line.split()[-2] for line in lines] == ["client", "server"] * 2
    assert {line.split()[-3] for line in lines if line.split()[-2] == "client"} == {"mcp"}


def test_a_tool_that_fails(recorded: Recorded, bridged: bool) -> None:
    async def main() -> None:
        async with over_streams() as session:
            await session.call_tool("broken", {})

    asyncio.run(main())
    called = [span for span in recorded.spans() if "tools/call broken" in span.name]
    states = [(span.attributes["span.kind"], span.state) for span in called]
    # The library's own span at the client knows of errors of the protocol alone.
    assert states == [("client", "ok" if traces_itself(bridged) else "error"), ("server", "error")]
    assert all("broken" in span.attributes["gen_ai.tool.call.result"] for span in called)


def test_nobody_answers(recorded: Recorded, bridged: bool) -> None:
    """An error of the protocol is the program's, and the span's."""

    async def main() -> None:
        async with over_streams() as session:
            await session.read_resource("weather://nowhere")

    with pytest.raises(BaseException) as raised:  # some versions raise a group of it
        asyncio.run(main())
    assert raised.value is not None
    found = [span for span in recorded.spans() if "resources/read" in span.name]
    assert [(span.attributes["span.kind"], span.state) for span in found] == [
        ("client", "error"), ("server", "error"),
    ]  # fmt: skip
    assert found[0].attributes["mcp.resource.uri"] == "weather://nowhere"


def test_the_server_in_the_process(recorded: Recorded, bridged: bool) -> None:
    """Version 2 calls a server in the process directly: it makes no span of its own at the client."""
    if not is_second():
        pytest.skip("mcp 1.x has no such way")
    from mcp.client.client import Client

    async def main() -> None:
        async with Client(weather()) as client:
            await client.list_tools()
            with lumina.trace("mine"):
                await client.call_tool("temperature", {"city": "Bonn"})

    asyncio.run(main())
    lines = shown(recorded)
    here = lines.index("mine None None ok")
    assert lines[here:] == [
        "mine None None ok",
        "  tools/call temperature tool client ok",
        "    tools/call temperature tool server ok",
        "      thermometer None None ok",
    ]


def test_a_server_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trace over both, carried by the request itself; the server knows nothing of us."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with running_relay(tmp_path / "data") as relay:

        async def main() -> None:
            async with over_pipes(relay.url) as session, lumina.trace("mine"):
                await session.list_tools()
                result = await session.call_tool("temperature", {"city": "Bonn"})
                assert result.content[0].text == "21"

        with lumina.init(service_name="client", endpoint=relay.url):
            lumina.instrument("mcp")
            try:
                asyncio.run(main())
                assert lumina.flush()
            finally:
                lumina.uninstrument()
        traces = get_json(f"{relay.url}/v1/traces")["traces"]
        (mine,) = (t for t in traces if t["name"] == "mine")
        spans = spans_of(get_json(f"{relay.url}/v1/traces/{mine['trace_id']}"))
    # In 1.x that request carries nothing.
    listed = [("tools/list", "mcp", "mcp_server")] if is_second() else []
    assert [(s["name"], s["kind"], s["service"]) for s in spans] == [
        ("mine", None, "client"),
        ("tools/list", "mcp", "client"),
        *listed,
        ("tools/call temperature", "tool", "client"),
        ("tools/call temperature", "tool", "mcp_server"),
    ]
    assert spans[-1]["parent_id"] == spans[-2]["span_id"]
