"""How long from a call until its line is in `lumina-stream tail --json`, while the span is open?

A relay with a durable log and a tail in processes of their own; this process traces and reads the
tail's output. 1,000 spans, each open until its start, attribute and event have been seen.
"""

import json
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import lumina_stream as lumina
from lumina_stream.transport.child_relay import ChildRelay

SPANS = 1_000


def main() -> None:
    """Print the percentiles."""
    with tempfile.TemporaryDirectory() as folder:
        relay = ChildRelay.start("--data", folder)
        try:
            measure(relay.url)
        finally:
            lumina.shutdown()
            relay.close()


def measure(url: str) -> None:
    lumina.init("bench-latency", endpoint=url)
    with lumina.trace("warm-up"):
        lumina.flush()
    tail = subprocess.Popen(
        [sys.executable, "-m", "lumina_stream", "tail", "--url", url, "--json"],
        stdout=subprocess.PIPE,
    )
    lines: queue.Queue[tuple[int, bytes]] = queue.Queue()

    def read() -> None:
        assert tail.stdout is not None
        for line in tail.stdout:
            lines.put((time.time_ns(), line))

    threading.Thread(target=read, daemon=True).start()
    seen: dict[str, list[float]] = {"span_started": [], "attribute_set": [], "event_added": []}
    try:
        # The tail takes a moment to subscribe: trace until it shows something.
        while lines.empty():
            with lumina.trace("are you there"):
                time.sleep(0.05)
        while not lines.empty():
            lines.get()
        for number in range(SPANS):
            with lumina.trace(f"span {number}") as span:
                called = {"span_started": time.time_ns()}
                span.set_attribute("number", number)
                called["attribute_set"] = time.time_ns()
                span.add_event("half-way")
                called["event_added"] = time.time_ns()
                waiting = set(called)
                while waiting:
                    arrived, line = lines.get(timeout=20)
                    fact = json.loads(line)
                    if fact.get("span_id") == span.span_id and fact["type"] in waiting:
                        waiting.discard(fact["type"])
                        seen[fact["type"]].append((arrived - called[fact["type"]]) / 1e6)
    finally:
        tail.terminate()
        tail.wait()
    for kind, figures in seen.items():
        cuts = statistics.quantiles(figures, n=1000)
        print(
            f"{kind:14} n={len(figures)}  p50 {cuts[499]:.2f} ms  p99 {cuts[989]:.2f} ms"
            f"  p99.9 {cuts[998]:.2f} ms  max {max(figures):.2f} ms"
        )


if __name__ == "__main__":
    main()
