"""A page that is left open: what it keeps does not grow with what has passed by.

Between two looks at the heap, each after a forced collection, some 20,000 events pass; `LUMINA_FAULTS=long`
asks for an hour of them. A leak is planted to see that it would be found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.browser import open_page
from support.faults import LONG
from support.programs import program
from support.relay_process import RelayProcess

if TYPE_CHECKING:
    import subprocess

    from playwright.sync_api import Browser, Page

EVENTS_PER_S = 1_000 if LONG else 2_500
WARM_EVENTS = 15_000
"""Until the list holds all the traces that it ever holds, and the code is as optimised as it gets."""
EVENTS = 3_600_000 if LONG else 20_000
LOOKS = 6
MARGIN_BYTES = 1_000_000
"""What the heap may differ by. The planted leak is more than twice that after the short form already."""

STREAM = """
    import sys, time
    import lumina_stream as lumina

    lumina.init(service_name="stream")
    rate, shape = float(sys.argv[1]), sys.argv[2]
    made, begun = 0, time.monotonic()

    def pace(events):
        global made
        if (made + events) // 1000 > made // 1000:
            print(made + events, flush=True)
        made += events
        late = begun + made / rate - time.monotonic()
        if late > 0.005:
            time.sleep(late)

    def traces():
        for number in range(10**9):
            with lumina.trace(f"request {number % 7}", kind="task", attributes={"number": number}):
                with lumina.trace("step", kind="tool") as step:
                    step.set_attribute("number", number)
            pace(5)

    def one():
        with lumina.trace("request") as root:
            print(root.trace_id, flush=True)
            parts = [lumina.start_span(f"part {n}", parent=root, kind="tool") for n in range(50)]
            for number in range(10**9):
                parts[number % 50].set_attribute("number", number)
                pace(1)

    {"traces": traces, "one": one}[shape]()
"""
LEAK = """
    const kept = (window.kept = []);
    const parse = JSON.parse;
    JSON.parse = (text) => {
        const parsed = parse(text);
        kept.push(text, parsed);
        return parsed;
    };
"""


@contextmanager
def watched(
    browser: "Browser", relay: RelayProcess, shape: str
) -> "Iterator[tuple[Page, subprocess.Popen[str]]]":
    """Open the page of a stream of traces, or of the one trace that a stream of events goes into."""
    with program(STREAM, relay.url, str(EVENTS_PER_S), shape) as process:
        address = relay.url
        if shape == "one":
            assert process.stdout is not None
            address += f"/#/trace/{process.stdout.readline().strip()}"
        with open_page(browser, address) as page:
            page.locator("[role=treegrid], [role=grid]").get_by_text("request").first.wait_for()
            yield page, process


def let_pass(process: "subprocess.Popen[str]", events: int) -> None:
    """Wait until a program has recorded so many events more."""
    assert process.stdout is not None
    first = int(process.stdout.readline())
    while int(process.stdout.readline()) < first + events:
        pass


def heap(page: "Page") -> int:
    """Return how many bytes the page holds, once all that is not needed is collected.

    The least of several looks: now and then one falls between a message and the frame that shows it.
    """
    session = page.context.new_cdp_session(page)
    found: list[int] = []
    for _ in range(LOOKS):
        for _ in range(3):  # finalisers give more to collect
            session.send("HeapProfiler.collectGarbage")
        usage = session.send("Runtime.getHeapUsage")
        found.append(int(usage["usedSize"] + usage.get("backingStorageSize", 0)))
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    session.detach()
    return min(found)


def growth(page: "Page", process: "subprocess.Popen[str]") -> int:
    """Return by how much the heap grows while `EVENTS` pass."""
    let_pass(process, WARM_EVENTS)
    before = heap(page)
    let_pass(process, EVENTS)
    after = heap(page)
    print(f"heap {before / 1e6:.2f} MB, after {EVENTS:,} events {after / 1e6:.2f} MB")
    return after - before


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["traces", "one"])
def test_the_heap_stays(browser: "Browser", relay: RelayProcess, shape: str) -> None:
    """A thousand events a second, as traces that come and go, or as facts about the spans of one.

    (What a trace itself has, spans, events and texts, is kept up to `KEEP_DETAILS` and `KEEP_LENGTH` of tree.ts.)
    """
    with watched(browser, relay, shape) as (page, process):
        assert growth(page, process) < MARGIN_BYTES


@pytest.mark.slow
@pytest.mark.skipif(LONG, reason="a leak is found within seconds")
def test_a_leak_is_found(browser: "Browser", relay: RelayProcess) -> None:
    """A page that keeps what it receives exceeds the margin."""
    with watched(browser, relay, "traces") as (page, process):
        page.evaluate(f"() => {{ {LEAK} }}")
        assert growth(page, process) > MARGIN_BYTES
