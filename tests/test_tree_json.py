"""A tree as JSON: complete, exact, and as deep as trees get."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.formats.tree_json import tree_json
from lumina_stream.model import codec
from lumina_stream.model.events import (
    AttributeSet,
    ErrorInfo,
    EventAdded,
    EventsLost,
    Link,
    ProducerLost,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    TextStreamed,
)
from lumina_stream.model.tree import TraceTree

T = "1" * 32
SECOND = 1_000_000_000


def span(number: int) -> str:
    return f"{number:016x}"


def read(tree: TraceTree) -> dict[str, Any]:
    return json.loads(b"".join(tree_json(tree)))


def usage(input_tokens: int = 0) -> dict[str, Any]:
    return {
        "input_tokens": input_tokens,
        "output_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": None,
        "unpriced": 0,
    }


def test_an_empty_tree() -> None:
    """A trace of which nothing is known yet is an object all the same."""
    assert read(TraceTree(T)) == {
        "trace_id": T,
        "state": "missing",
        "name": "",
        "service": "",
        "services": [],
        "start_ns": 0,
        "duration_ns": None,
        "spans": 0,
        "open": 0,
        "errors": 0,
        "missing": 0,
        **usage(),
        "lost": [],
        "truncated": {},
        "roots": [],
    }


def test_a_finished_tree() -> None:
    """Everything that a span says is there, under the names of the documentation."""
    tree = TraceTree(T)
    tree.apply(ProducerStarted(1, "p1", "shop"), "relay-1", 1)
    link = Link("2" * 32, span(9), {"why": "batch"})
    start = SpanStarted(T, span(1), 10, "root", None, "agent", {"a": 1}, (link,))
    tree.apply(start, "p1", 1)
    tree.apply(SpanStarted(T, span(2), 11, "call", span(1), "llm"), "p1", 2)
    tree.apply(EventAdded(T, span(2), 12, "token", {"n": 2**60}), "p1", 3)
    tree.apply(TextStreamed(T, span(2), 13, "output", 1, "world"), "p1", 5)
    tree.apply(TextStreamed(T, span(2), 13, "output", 0, "hello "), "p1", 4)
    tree.apply(AttributeSet(T, span(2), 14, "gen_ai.usage.input_tokens", 5), "p1", 6)
    tree.apply(AttributeSet(T, span(2), 14, "cut", "abc", {"cut": "truncated:9"}), "p1", 7)
    error = ErrorInfo("ValueError", "no", "Traceback")
    tree.apply(SpanEnded(T, span(2), 15, "error", error), "p1", 8)
    tree.apply(SpanEnded(T, span(1), 20), "p1", 9)
    tree.apply(EventsLost(21, "queue_full", 3, {}, {T: 3}), "p1", 10)
    tree.apply(EventAdded(T, span(1), 30, "late"), "p1", 11)
    found = read(tree)
    (root,) = found.pop("roots")
    (call,) = root.pop("children")
    assert found == {
        "trace_id": T,
        "state": "ok",
        "name": "root",
        "service": "shop",
        "services": ["shop"],
        "start_ns": 10,
        "duration_ns": 10,
        "spans": 2,
        "open": 0,
        "errors": 1,
        "missing": 0,
        **usage(5),
        "lost": [
            {"time_ns": 21, "producer_id": "p1", "count": 3, "reason": "queue_full", "exact": True}
        ],
        "truncated": {},
    }
    assert root == {
        "span_id": span(1),
        "parent_id": None,
        "name": "root",
        "kind": "agent",
        "state": "ok",
        "service": "shop",
        "producer_id": "p1",
        "start_ns": 10,
        "end_ns": 20,
        "duration_ns": 10,
        "last_seen_ns": 30,
        "attributes": {"a": 1},
        "rollup": {"spans": 2, "open": 0, "errors": 1, **usage(5)},
        "events": [{"time_ns": 30, "name": "late", "attributes": {}}],
        "links": [{"trace_id": "2" * 32, "span_id": span(9), "attributes": {"why": "batch"}}],
        "flags": ["event_after_end"],
    }
    assert call == {
        "span_id": span(2),
        "parent_id": span(1),
        "name": "call",
        "kind": "llm",
        "state": "error",
        "service": "shop",
        "producer_id": "p1",
        "start_ns": 11,
        "end_ns": 15,
        "duration_ns": 4,
        "last_seen_ns": 15,
        "attributes": {"gen_ai.usage.input_tokens": 5, "cut": "abc"},
        "rollup": {"spans": 1, "open": 0, "errors": 1, **usage(5)},
        "error": {"type": "ValueError", "message": "no", "stacktrace": "Traceback"},
        "events": [{"time_ns": 12, "name": "token", "attributes": {"n": f"!int {2**60}"}}],
        "text": {"output": "hello world"},
        "marks": {"cut": "truncated:9"},
        "children": [],
    }


def test_open_and_interrupted() -> None:
    """A running trace has no duration; an interrupted one lasts to its last sign of life."""
    tree = TraceTree(T)
    tree.apply(SpanStarted(T, span(1), 10, "root", span(7), remote_parent=True), "p1", 1)
    found = read(tree)
    assert (found["state"], found["duration_ns"], found["open"]) == ("running", None, 1)
    assert found["missing"] == 1
    (missing,) = found["roots"]
    assert (missing["span_id"], missing["state"], missing["start_ns"]) == (span(7), "missing", None)
    assert missing["children"][0]["remote_parent"] is True
    tree.apply(ProducerLost(50, "p1", 1, 40), "relay-1", 1)
    found = read(tree)
    assert (found["state"], found["duration_ns"]) == ("interrupted", 30)
    assert found["roots"][0]["children"][0]["last_seen_ns"] == 40


def test_ten_thousand_levels() -> None:
    """A tree far deeper than any recursion limit is written, nested to the last."""
    tree = TraceTree(T)
    depth = 10_000
    for number in range(1, depth + 1):
        parent_id = span(number - 1) if number > 1 else None
        tree.apply(SpanStarted(T, span(number), number, "n", parent_id), "p1", number)
    data = b"".join(tree_json(tree))
    at = [int(found, 16) for found in re.findall(rb'"span_id":"([0-9a-f]{16})"', data)]
    assert at == list(range(1, depth + 1))
    assert data.endswith(b'"children":[' + b"]}" * (depth + 1))


def test_siblings_and_roots_in_order() -> None:
    """Siblings and roots stand by their start, with commas between them and nowhere else."""
    tree = TraceTree(T)
    for seq, (number, parent) in enumerate([(5, 1), (3, 1), (1, 0), (2, 0), (4, 3), (6, 3)], 1):
        parent_id = span(parent) if parent else None
        tree.apply(SpanStarted(T, span(number), number, "n", parent_id), "p1", seq)

    def names(nodes: Any) -> Any:
        return [(int(node["span_id"], 16), names(node["children"])) for node in nodes]

    assert names(read(tree)["roots"]) == [(1, [(3, [(4, []), (6, [])]), (5, [])]), (2, [])]


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.sampled_from(["!int 5", "!str x", "</script>", "\x00\x1b]0;x\x07\u202e"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.text(max_size=20), st.text(max_size=20), _values)
def test_any_value(name: str, key: str, value: Any) -> None:
    """Whatever a span is called and carries, the JSON is valid and gives it back exactly."""
    tree = TraceTree(T)
    tree.apply(SpanStarted(T, span(1), 1, name, None, None, {key: value}), "p1", 1)
    root = read(tree)["roots"][0]
    assert root["name"] == name
    assert repr(codec.untag(root["attributes"])) == repr({key: value})


def test_hostile_numbers() -> None:
    """Times and counts that no clock shows are written as they are."""
    tree = TraceTree(T)
    tree.apply(SpanStarted(T, span(1), 1, "a"), "p1", 1)
    tree.apply(SpanEnded(T, span(1), 2**64 - 1), "p1", 2)
    for number in (1, 2):
        most = AttributeSet(T, span(number), 1, "gen_ai.usage.input_tokens", 2**64 - 1)
        tree.apply(most, "p1", 2 + number)
    tree.apply(SpanStarted(T, span(2), -(2**63), "b", span(1)), "p1", 9)
    tree.apply(SpanEnded(T, span(2), 5), "p1", 10)
    tree.apply(EventsLost(2**64 - 1, "r", 1, {}, {T: 2**64 - 1}), "p1", 5)
    found = read(tree)
    assert found["duration_ns"] == 2**64 - 2
    assert found["roots"][0]["rollup"]["input_tokens"] == f"!int {2**64 - 1}"
    assert found["roots"][0]["children"][0]["start_ns"] == -(2**63)
