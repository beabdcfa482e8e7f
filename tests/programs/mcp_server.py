"""A server of the Model Context Protocol on stdin and stdout."""

try:
    from mcp.server.mcpserver import MCPServer
except ModuleNotFoundError:  # 1.x
    from mcp.server.fastmcp import FastMCP as MCPServer

server = MCPServer("weather")


@server.tool()
def temperature(city: str) -> str:
    """Return the temperature."""
    return "21"


server.run()
