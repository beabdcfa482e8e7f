"""`lumina-stream demo`: the simulated pipeline of `demo`, a relay of its own, and the live tree."""

import os
import subprocess
import sys
import tempfile

import anyio

from lumina_stream.transport.child_relay import ChildRelay
from lumina_stream.viewing.browser import open_page, wait_for_interrupt
from lumina_stream.viewing.client import tail
from lumina_stream.viewing.running import need_relay
from lumina_stream.viewing.tailing import on_screen, print_lines, say


def run_demo() -> int:
    """Show the demonstration; return the exit code."""
    need_relay()
    with tempfile.TemporaryDirectory(prefix="lumina-stream-demo-") as folder:
        relay = ChildRelay.start("--data", folder)
        try:
            say(f"a simulated RAG pipeline, traced live; its dashboard: {relay.url}/")
            opened = sys.stdout.isatty() and open_page(f"{relay.url}/")
            anyio.run(_show, relay.url)
            if opened:
                say("the dashboard stays until Ctrl-C")
                wait_for_interrupt()
        finally:
            relay.close()
    say("that was simulated; your own program: lumina-stream run -- python my_program.py")
    return 0


async def _show(url: str) -> None:
    environment = os.environ | {
        "LUMINA_ENDPOINT": url,
        "LUMINA_ENABLED": "1",
        "LUMINA_SERVICE_NAME": "demo-rag-app",
    }
    live = tail(url)
    complaints = tempfile.TemporaryFile()  # noqa: SIM115  # closed below
    program = subprocess.Popen(  # noqa: ASYNC220  # once, before anything is shown
        [sys.executable, "-m", "lumina_stream.demo"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=complaints,
        # Ctrl-C is for us: it would end with a traceback across the tree.
        start_new_session=True,
    )
    ours = False
    try:
        if on_screen(sys.stdout):
            from rich.console import Console

            from lumina_stream.viewing.terminal import watch

            async with live:
                await watch(live, Console(), until_idle=True)
        else:
            await print_lines(live, True)
    finally:
        if program.poll() is None:
            ours = True
            program.terminate()
        if program.wait() and not ours:
            complaints.seek(0)
            sys.stderr.write(complaints.read().decode(errors="replace"))
        complaints.close()
