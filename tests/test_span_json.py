"""One span as JSON: whole, with the stamps that later facts are measured by, in small parts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from support.generate import told
from support.relay_process import Producer, new_span, new_trace, running_relay, started
from support.trees import TRACE, Told, grow

from lumina_stream.formats.span_json import ITEMS_PER_PART, span_json
from lumina_stream.model import codec
from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    ErrorInfo,
    EventAdded,
    Link,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    SpanUpdated,
    TextStreamed,
)
from lumina_stream.model.tree import TraceTree
from lumina_stream.model.usage import Cost

BASE = 1_790_000_000_123_456_789
ROOT, CALL = "a" * 16, "b" * 16


def read(tree: TraceTree, span_id: str, offset: int = 0) -> dict[str, Any]:
    node = tree.span(span_id)
    assert node is not None
    return json.loads(b"".join(span_json(tree, node, offset)))


def test_everything_that_a_span_has() -> None:
    """Field by field; integers that a browser cannot hold are tagged."""
    link = Link("2" * 32, "c" * 16, {"why": 2**60})
    usage = {"gen_ai.usage.input_tokens": 1_000, "gen_ai.usage.output_tokens": 10}
    error = ErrorInfo("ValueError", "no", "Traceback ...")
    tree = grow(
        [
            Told(ProducerStarted(BASE, "p", "rag-app"), "relay", 1),
            Told(SpanStarted(TRACE, ROOT, BASE, "root", None, "agent"), "p", 1),
            Told(SpanStarted(TRACE, CALL, BASE + 1, "call", ROOT, "llm", {}, (link,)), "p", 2),
            Told(AttributesSet(TRACE, CALL, BASE + 2, usage, {"big": "x"}), "p", 3),
            Told(AttributeSet(TRACE, CALL, BASE + 3, "big", 2**60, {"big": "cut:9"}), "p", 4),
            Told(EventAdded(TRACE, CALL, BASE + 4, "retry", {"n": [1]}, {"n": "cut"}), "p", 5),
            Told(TextStreamed(TRACE, CALL, BASE + 6, "output", 1, "world"), "p", 7),
            Told(TextStreamed(TRACE, CALL, BASE + 5, "output", 0, "hello "), "p", 6),
            Told(SpanEnded(TRACE, CALL, BASE + 9, "error", error), "p", 8),
        ]
    )
    tree.set_cost(CALL, Cost(1_000, 500))
    totals = {
        "spans": 1,
        "open": 0,
        "errors": 1,
        "input_tokens": 1_000,
        "output_tokens": 10,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost": 1_500,
        "unpriced": 0,
    }
    assert read(tree, CALL, 7) == {
        "offset": 7,
        "trace_id": TRACE,
        "span_id": CALL,
        "name": "call",
        "kind": "llm",
        "service": "rag-app",
        "producer_id": "p",
        "state": "error",
        "status": "error",
        "start_ns": BASE + 1,
        "end_ns": BASE + 9,
        "duration_ns": 8,
        "last_seen_ns": BASE + 9,
        "remote_parent": False,
        "parent_id": ROOT,
        "parent_name": "root",
        "children": 0,
        "error": {"type": "ValueError", "message": "no", "stacktrace": "Traceback ..."},
        "links": [
            {"trace_id": "2" * 32, "span_id": "c" * 16, "attributes": {"why": f"!int {2**60}"}}
        ],
        "marks": {"big": "cut:9"},
        "flags": [],
        "totals": totals,
        "attributes": [
            ["gen_ai.usage.input_tokens", 1_000, [BASE + 2, "p", 3], None],
            ["gen_ai.usage.output_tokens", 10, [BASE + 2, "p", 3], None],
            ["big", f"!int {2**60}", [BASE + 3, "p", 4], {"big": "cut:9"}],
        ],
        "events": [
            {
                "time_ns": BASE + 4,
                "producer_id": "p",
                "seq": 5,
                "name": "retry",
                "attributes": {"n": [1]},
                "marks": {"n": "cut"},
            }
        ],
        "texts": [
            ["output", 0, BASE + 5, "p", 6, "hello "],
            ["output", 1, BASE + 6, "p", 7, "world"],
        ],
    }
    root = read(tree, ROOT)
    assert root["totals"] == {**totals, "spans": 2, "open": 1}
    assert (root["children"], root["status"], root["state"]) == (1, None, "running")
    assert (root["error"], root["parent_id"], root["parent_name"]) == (None, None, None)


def test_no_price_is_null() -> None:
    """Nobody asked, or nobody knows: not zero."""
    start = SpanStarted(TRACE, ROOT, BASE, "root", None, None, {"gen_ai.usage.input_tokens": 5})
    tree = grow([Told(start, "p", 1)])
    assert (read(tree, ROOT)["totals"]["cost"], read(tree, ROOT)["totals"]["unpriced"]) == (None, 0)
    tree.set_cost(ROOT, Cost(known=False))
    assert (read(tree, ROOT)["totals"]["cost"], read(tree, ROOT)["totals"]["unpriced"]) == (None, 1)


@settings(max_examples=150)
@given(told(max_size=40))
def test_any_span(facts: list[Told]) -> None:
    """Whatever was told: values, events, texts and links are those of the tree."""
    tree = grow(facts)
    for node in tree:
        found = read(tree, node.span_id)
        assert {key: codec.untag(value) for key, value, *_ in found["attributes"]} == (
            node.attributes
        )
        assert {key: tuple(stamp) for key, _, stamp, _ in found["attributes"]} == {
            held.key: held.stamp for held in node.attribute_list()
        }
        assert [(e["time_ns"], e["producer_id"], e["seq"]) for e in found["events"]] == [
            event.stamp for event in node.event_list()
        ]
        for channel in node.text_channels():
            pieces = [text for name, *_, text in found["texts"] if name == channel]
            assert "".join(pieces) == node.text(channel)
        assert len(found["links"]) == len(node.link_list())
        assert (found["flags"], found["marks"]) == (node.flags(), node.attribute_marks())
        assert (found["state"], found["children"]) == (node.state, len(node.children or ()))
        assert found["totals"]["spans"] == tree.rollup(node.span_id).spans


def test_parts_are_small_and_the_tree_may_change_between_them() -> None:
    """A span of thousands of pieces and children is no long piece of work, and no torn object."""
    tree = TraceTree(TRACE)
    tree.apply(SpanStarted(TRACE, ROOT, BASE, "root"), "p", 1)
    for number in range(1_000):
        seq = 10 * number
        tree.apply(AttributeSet(TRACE, ROOT, BASE, f"k{number}", number), "p", seq + 1)
        tree.apply(EventAdded(TRACE, ROOT, BASE, "e"), "p", seq + 2)
        tree.apply(TextStreamed(TRACE, ROOT, BASE, "output", number, "x"), "p", seq + 3)
        tree.apply(SpanStarted(TRACE, f"{number + 1:016x}", BASE, "c", ROOT), "p", seq + 4)
    node = tree.span(ROOT)
    assert node is not None
    parts: list[bytes] = []
    for at, part in enumerate(span_json(tree, node, 1)):
        parts.append(part)
        tree.apply(AttributeSet(TRACE, ROOT, BASE, f"new{at}", 1), "p", 10**6 + at)
        tree.apply(EventAdded(TRACE, ROOT, BASE, "e"), "p", 10**7 + at)
        tree.apply(SpanStarted(TRACE, f"{at + 10**6:016x}", BASE, "c", ROOT), "p", 10**8 + at)
    found = json.loads(b"".join(parts))
    assert len(found["texts"]) == 1_000
    assert len(found["attributes"]) >= 1_000
    assert max(part.count(b'"e"') for part in parts) == ITEMS_PER_PART
    assert len(parts) > 30


def test_a_cut_parent_still_has_a_name() -> None:
    """A cycle is cut in the tree; the declared parent is told as it was declared."""
    tree = TraceTree(TRACE)
    tree.apply(SpanStarted(TRACE, ROOT, BASE, "one", CALL), "p", 1)
    tree.apply(SpanStarted(TRACE, CALL, BASE, "two", ROOT), "p", 2)
    tree.apply(SpanUpdated(TRACE, CALL, BASE + 1, "renamed"), "p", 3)
    found = read(tree, ROOT)
    assert (found["parent_id"], found["parent_name"], found["flags"]) == (
        CALL,
        "renamed",
        ["parent_cycle"],
    )


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory):
    with running_relay(tmp_path_factory.mktemp("relay") / "data") as process:
        yield process


def test_over_http(relay) -> None:
    """The route, and what it says of what is not there."""
    trace, root = new_trace(), new_span()

    async def go() -> None:
        producer = Producer(relay.url)
        async with producer.connected():
            await producer.store(started(trace, root))
            await producer.bye()

    asyncio.run(go())
    answer = httpx.get(f"{relay.url}/v1/traces/{trace}/spans/{root}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["name"] == "root"
    assert 2 <= answer.json()["offset"] <= 3
    for path in (f"{trace}/spans/{new_span()}", f"{new_trace()}/spans/{root}", f"{trace}/spans/x"):
        missing = httpx.get(f"{relay.url}/v1/traces/{path}")
        assert (missing.status_code, missing.json()) == (404, {"error": "there is no such span"})
    evil = httpx.get(f"{relay.url}/v1/traces/{trace}/spans/{root}", headers={"Origin": "null"})
    assert evil.status_code == 403
