"""One span as JSON, whole: what `GET /v1/traces/{id}/spans/{span_id}` answers to who draws outlines.

Everything that facts may contradict later carries its stamp, so that a reader goes on from here with
the facts that follow. Values are tagged as in `codec`; times are numbers, nanoseconds.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.node import Attribute, SpanEventRecord, SpanNode, Text
from lumina_stream.model.rollup import Rollup, roll_up_steps
from lumina_stream.model.tree import TraceTree

T = TypeVar("T")

ITEMS_PER_PART = 100
"""Attributes, events or pieces of text: a millisecond or so of work."""

_encode = msgspec.json.Encoder().encode


def span_json(tree: TraceTree, node: SpanNode, offset: int) -> Iterator[bytes]:
    """Yield the parts of a span of a tree as one JSON object, a step of a millisecond or two each.

    `offset` is that of the log up to which the tree certainly goes; it is repeated in the object. A
    part may be empty. `cost` is in trillionths of a dollar, null where no call has a price.
    """
    for _ in roll_up_steps(node):
        yield b""
    yield _encode({"offset": offset, **_fields(tree, node)})[:-1]
    # Each listed before the first pause: the tree may change meanwhile.
    yield from _array("attributes", list(node.attribute_list()), _attribute)
    yield from _array("events", node.event_list(), _event)
    yield from _array("texts", sorted((node.texts or {}).items()), _text)
    yield b"}"


def _array(name: str, items: Iterable[T], turn: Callable[[T], Any]) -> Iterator[bytes]:
    yield f',"{name}":['.encode()
    rest, comma = iter(items), b""
    while some := [turn(item) for item in islice(rest, ITEMS_PER_PART)]:
        yield comma + _encode(some)[1:-1]
        comma = b","
    yield b"]"


def _fields(tree: TraceTree, node: SpanNode) -> dict[str, Any]:
    parent = None if node.parent_id is None else tree.span(node.parent_id)
    return {
        "trace_id": tree.trace_id,
        "span_id": node.span_id,
        "name": node.name,
        "kind": node.kind,
        "service": node.service,
        "producer_id": node.producer_id,
        "state": node.state,
        "status": node.status,
        "start_ns": node.start_ns,
        "end_ns": node.end_ns,
        "duration_ns": node.duration_ns,
        "last_seen_ns": node.last_seen_ns,
        "remote_parent": node.remote_parent,
        "parent_id": node.parent_id,
        "parent_name": None if parent is None else parent.name,
        "children": len(node.children or ()),
        "error": None
        if node.error is None
        else {
            "type": node.error.type,
            "message": node.error.message,
            "stacktrace": node.error.stacktrace,
        },
        "links": [
            {
                "trace_id": link.trace_id,
                "span_id": link.span_id,
                "attributes": codec.tag_value(link.attributes),
            }
            for link in node.link_list()
        ],
        "marks": node.attribute_marks(),
        "flags": node.flags(),
        "totals": _totals(tree.rollup(node.span_id)),
    }


def _totals(sums: Rollup) -> dict[str, Any]:
    return {
        "spans": sums.spans,
        "open": sums.open,
        "errors": sums.errors,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "cache_read_tokens": sums.cache_read_tokens,
        "cache_write_tokens": sums.cache_write_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "cost": sums.cost if sums.priced else None,
        "unpriced": sums.unpriced,
    }


def _attribute(held: Attribute) -> list[Any]:
    return [held.key, codec.tag_value(held.value), held.stamp, held.marks]


def _event(event: SpanEventRecord) -> dict[str, Any]:
    time_ns, producer_id, seq = event.stamp
    return {
        "time_ns": time_ns,
        "producer_id": producer_id,
        "seq": seq,
        "name": event.name,
        "attributes": codec.tag_value(event.attributes),
        "marks": event.marks,
    }


def _text(item: tuple[tuple[str, int], Text]) -> list[Any]:
    (channel, index), text = item
    return [channel, index, *text.stamp, text.text]
