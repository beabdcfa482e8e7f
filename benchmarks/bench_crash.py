"""How long after a SIGKILL does a viewer see the program's open spans as `interrupted`?

A relay and a traced program in processes of their own; this process tails the relay, kills the
program while two spans are open, and waits for its tree to change. 20 programs, or as many as its argument says.
"""

import statistics
import subprocess
import sys
import tempfile
import time

import anyio

import lumina_stream as lumina
from lumina_stream.transport.child_relay import ChildRelay

VICTIM = """
import sys, time
import lumina_stream as lumina

lumina.init("victim", endpoint=sys.argv[1])
with lumina.trace("outer"), lumina.trace("inner"):
    lumina.flush()
    print("ready", flush=True)
    time.sleep(600)
"""
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 20


async def measure(url: str) -> list[float]:
    """Return milliseconds, one figure a killed program."""
    figures: list[float] = []
    async with lumina.tail(url) as live:
        for _ in range(ROUNDS):
            victim = subprocess.Popen([sys.executable, "-c", VICTIM, url], stdout=subprocess.PIPE)
            assert victim.stdout is not None
            await anyio.to_thread.run_sync(victim.stdout.readline)
            killed = time.perf_counter()
            victim.kill()
            async for update in live:
                trees = [live.traces[change.trace_id] for change in update.changes]
                if any(tree.state == "interrupted" for tree in trees):
                    break
            figures.append((time.perf_counter() - killed) * 1e3)
            victim.wait()
            victim.stdout.close()
    return figures


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        relay = ChildRelay.start("--data", folder)
        try:
            figures = anyio.run(measure, relay.url)
        finally:
            relay.close()
    print(
        f"{len(figures)} programs killed: interrupted after median {statistics.median(figures):.0f} ms,"
        f" max {max(figures):.0f} ms"
    )


if __name__ == "__main__":
    main()
