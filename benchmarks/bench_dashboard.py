"""How quick is the trace page? From a call to the painted bar, large traces, and a flood of events.

A relay, producers and a headless Chromium (without a GPU) in processes of their own. Frames are gaps
between animation frames of the page; beside those of a trace stand those of the same page while nothing
goes on in it: before, and as long again after a flood. Others' work on the machine lengthens all of them, so
its load is said with each figure.

    bench_dashboard.py [--large] [--seconds 60]      --large: a trace of 1,000,000 spans, too
"""

import argparse
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lumina_stream.model.events import SpanEnded, SpanStarted
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.wire import JSON
from lumina_stream.relay.outline import outline
from lumina_stream.transport.child_relay import ChildRelay

try:
    from playwright.sync_api import Browser, CDPSession, Page
except ImportError:
    print("without a browser there is nothing to measure: pip install 'lumina-stream[browser]'")
    sys.exit(0)

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))
from support.browser import CHROMIUM, chromium, open_page  # noqa: E402
from support.programs import environment  # noqa: E402

if CHROMIUM is None:
    print("skipped: there is no Chromium here (scripts/test installs Debian's)")
    sys.exit(0)

MIXED = """
    import random, sys
    import lumina_stream as lumina

    chance = random.Random(1)
    names = "search fetch parse rank embed ask summarize store plan check".split()
    kinds = ["llm", "retrieval", "tool", "agent", None, "db", "embedding"]

    def some(left, depth=0):
        made = 0
        while made < left:
            which = chance.randrange(10)
            with lumina.trace(names[which], kind=kinds[which % 7]):
                made += 1
                if depth < 12 and made < left:
                    made += some(min(left - made, chance.choice([0, 0, 1, 2, 3, 8, 30])), depth + 1)
        return made

    lumina.init(service_name="mixed")
    with lumina.trace("mixed") as root:
        done = 0
        while done < int(sys.argv[1]) - 1:
            done += some(min(1000, int(sys.argv[1]) - 1 - done))
            lumina.flush(60)
    lumina.flush(60)
    print(root.trace_id)
"""
FLOOD = """
    import sys, time
    import lumina_stream as lumina

    lumina.init(service_name="flood")
    rate = float(sys.argv[1]) / 3  # a start, an attribute, an end
    with lumina.trace("flood") as root:
        lumina.flush()
        print(root.trace_id, flush=True)
        begun = time.monotonic()
        for number in range(int(rate * float(sys.argv[2]))):
            if number % 40 == 0:
                parent = lumina.start_span(f"batch {number // 40 % 10}", parent=root, kind="agent")
            with lumina.trace(f"step {number % 10}", parent=parent, kind="tool") as span:
                span.set_attribute("number", number)
            if number % 40 == 39:
                parent.end()
            late = begun + number / rate - time.monotonic()
            if late > 0.005:
                time.sleep(late)
"""
CALLS = """
    import sys, time
    import lumina_stream as lumina

    lumina.init(service_name="calls")
    with lumina.trace("calls") as root:
        lumina.flush()
        print(root.trace_id, flush=True)
        sys.stdin.readline()
        for number in range(200):
            called = time.time()
            with lumina.trace(f"call {number}", kind="tool"):
                print(called, flush=True)
                time.sleep(0.05)
"""
NOWHERE = "f" * 32  # the page is loaded, and nothing goes on in it
RECORD = """() => {
    const gaps = (window.gaps = []);
    let last = performance.now();
    const frame = () => {
        const now = performance.now();
        gaps.push(now - last);
        last = now;
        window.recording = requestAnimationFrame(frame);
    };
    window.recording = requestAnimationFrame(frame);
}"""
STOP = "() => { cancelAnimationFrame(window.recording); return window.gaps; }"
ROWS = "() => Number(document.querySelector('[role=treegrid]')?.ariaRowCount ?? 0)"
WHOLE = """() => document.documentElement.dataset.paintedOffset !== undefined
    && document.querySelector("[role=progressbar]") === null
    && Number(document.querySelector('[role=treegrid]')?.ariaRowCount ?? 0) > 1"""
OPEN_FIRST = "() => document.querySelector('.label[aria-expanded=false]')?.click()"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    weigh()
    sizes = (100_000, 1_000_000) if options.large else (100_000,)
    for spans in sizes:
        relay_outline(spans)
    with tempfile.TemporaryDirectory() as folder:
        relay = ChildRelay.start("--data", folder)
        try:
            with chromium() as browser:
                call_to_bar(browser, relay.url)
                for spans in sizes:
                    large(browser, relay.url, spans)
                flood(browser, relay.url, 5_000, options.seconds)
        finally:
            relay.close()


def weigh() -> None:
    """Print what the page weighs."""
    files = [*(REPOSITORY / "lumina_stream/dashboard/static").rglob("*.*")]
    size = sum(len(gzip.compress(file.read_bytes(), 9)) for file in files)
    print(f"the whole page: {size / 1000:.1f} kB gzip, {len(files)} files")


def relay_outline(spans: int) -> None:
    """Print how long the relay's loop is busy with the outline of a trace, in pieces of 2 ms."""
    trace_id, producer = "a" * 32, "b" * 16
    tree = TraceTree(trace_id)
    for number in range(spans):
        span_id, parent = f"{number + 1:016x}", f"{max(1, number // 10):016x}"
        begun = time.time_ns()
        kept = SpanStarted(trace_id, span_id, begun, f"step {number % 10}", parent, kind="tool")
        tree.apply(kept, producer, 2 * number + 1)
        tree.apply(SpanEnded(trace_id, span_id, begun + 1_000), producer, 2 * number + 2)
    begun, busy = time.perf_counter(), time.process_time()
    size = sum(len(JSON.encode(frame)) for frame in outline(1, trace_id, tree))
    took, busy = time.perf_counter() - begun, time.process_time() - busy
    print(
        f"relay, outline of {spans:,} spans: {took:.2f} s, CPU {busy:.2f} s, {size / 1e6:.1f} MB; {load()}"
    )


def call_to_bar(browser: Browser, url: str) -> None:
    """Print how long it takes from `with lumina.trace(...)` to the frame that painted its bar."""
    with start(CALLS, url) as process:
        trace_id = said(process)
        with open_page(browser, f"{url}/#/trace/{trace_id}") as page:
            page.wait_for_selector("[role=treegrid] [data-row]")
            page.evaluate(
                """() => {
                    const painted = (window.painted = []);
                    const row = document.documentElement;
                    const note = () => painted.push([Date.now(), Number(row.dataset.paintedOffset)]);
                    new MutationObserver(note).observe(row, {attributes: true});
                }"""
            )
            before = page.evaluate("() => Number(document.documentElement.dataset.paintedOffset)")
            tell(process)
            called = [float(said(process)) for _ in range(200)]
            time.sleep(0.5)
            painted: list[tuple[float, int]] = page.evaluate("() => window.painted")
    # Each call is two facts, its start being the first of them.
    took = [
        next(at for at, offset in painted if offset >= before + 2 * number + 1) - when * 1000
        for number, when in enumerate(called)
    ]
    cuts = statistics.quantiles(took, n=100)
    print(
        f"call to painted bar: p50 {cuts[49]:.0f} ms, p95 {cuts[94]:.0f} ms, max {max(took):.0f} ms; {load()}"
    )


def large(browser: Browser, url: str, spans: int) -> None:
    """Print how long a trace takes to open, and its frames while it is scrolled and zoomed."""
    with start(MIXED, url, str(spans)) as process:
        trace_id = said(process)
    with open_page(browser, f"{url}/#/trace/{NOWHERE}") as page:
        page.get_by_role("heading", name="There is no such trace here.").wait_for()
        idle = frames(page, lambda: page.wait_for_timeout(3000))
        begun = time.monotonic()
        page.evaluate(f"() => {{ location.hash = '#/trace/{trace_id}' }}")
        until(page, f"() => ({ROWS})() > 1")
        first = time.monotonic() - begun
        until(page, WHOLE)
        whole = time.monotonic() - begun
        for _ in range(8):
            page.evaluate(OPEN_FIRST)
            page.wait_for_timeout(50)
        page.mouse.move(900, 500)
        print(
            f"{spans:,} spans: first rows {first:.2f} s, whole {whole:.2f} s, {heap(page):.0f} MB; {load()}"
        )
        print(f"  idle   {idle}")
        print(f"  scroll {frames(page, lambda: wheel(page, 240, 150))}")
        page.keyboard.down("Control")
        print(f"  zoom   {frames(page, lambda: wheel(page, -60, 100))}")
        page.keyboard.up("Control")
        page.keyboard.press("2")
        print(f"  flame  {frames(page, lambda: wheel(page, 240, 150))}")


def flood(browser: Browser, url: str, rate: int, seconds: float) -> None:
    """Print the frames of a page that shows a trace into which so many events a second come."""
    with open_page(browser, f"{url}/#/trace/{NOWHERE}") as page:
        page.get_by_role("heading", name="There is no such trace here.").wait_for()
        before = frames(page, lambda: page.wait_for_timeout(seconds * 500))
        with start(FLOOD, url, str(rate), str(seconds + 5)) as process:
            page.goto(f"{url}/#/trace/{said(process)}")
            until(page, f"() => ({ROWS})() > 1")
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            busy = busy_s(session)
            found = frames(page, lambda: page.wait_for_timeout(seconds * 1000))
            share = (busy_s(session) - busy) / seconds
            print(
                f"{rate:,} events/s for {seconds:.0f} s: {found}; "
                f"the page's thread {share:.0%} of a core, {heap(page):.0f} MB; {load()}"
            )
        page.wait_for_timeout(5000)  # the rest of it
        after = frames(page, lambda: page.wait_for_timeout(seconds * 500))
        print(f"  idle   {before} (before)")
        print(f"         {after} (the same trace, ended)")


# --- parts -----------------------------------------------------------------------------------------


def start(source: str, url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(url),
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def frames(page: Page, act: Callable[[], Any]) -> str:
    """Do something; return what the gaps between animation frames were meanwhile."""
    page.evaluate(RECORD)
    act()
    gaps: list[float] = page.evaluate(STOP)[1:]
    cuts = statistics.quantiles(gaps, n=100)
    return f"frames p50 {cuts[49]:.1f} p95 {cuts[94]:.1f} max {max(gaps):.1f} ms"


def wheel(page: Page, by: int, times: int) -> None:
    for number in range(times):
        page.mouse.wheel(0, by if number % 50 < 40 else -2 * by)
        page.wait_for_timeout(8)


def busy_s(session: CDPSession) -> float:
    """Return for how long the page's main thread has run so far."""
    found = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in found if one["name"] == "TaskDuration")


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def heap(page: Page) -> float:
    return page.evaluate("() => performance.memory.usedJSHeapSize") / 1e6


def until(page: Page, condition: str) -> None:
    while not page.evaluate(condition):
        time.sleep(0.01)


if __name__ == "__main__":
    main()
