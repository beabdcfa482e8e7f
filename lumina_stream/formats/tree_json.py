"""One trace's tree as JSON, for people and scripts: what `GET /v1/traces/{id}` answers.

Written span by span and stitched, never by recursion: a tree may be 10,000 levels deep, and a
million spans wide. Values that JSON cannot carry are tagged strings (see `codec`); times are numbers,
nanoseconds.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.node import Rollup, SpanNode
from lumina_stream.model.rollup import cost_usd, roll_up_steps
from lumina_stream.model.tree import TraceTree

_encode = msgspec.json.Encoder(decimal_format="number").encode


SPANS_PER_PART = 50
"""A millisecond or two of work, some 30 KB."""


def tree_json(tree: TraceTree) -> Iterator[bytes]:
    """Yield the parts of a tree as one JSON object, its spans nested under `roots` by `children`.

    A part is a millisecond or two of work, and may be empty. Of a tree that changes meanwhile each
    span is told as it is when its turn comes.

    A span's `events`, `links`, `text`, `marks`, `flags`, `error`, `links` and `remote_parent` are
    left out where there is nothing to say; `attributes`, `rollup` and `children` are always there.
    `duration_ns` is null while a span or the trace runs; of a trace that was interrupted it goes
    to the last sign of life. `cost_usd` is null where no call has a price (or nobody was asked).
    """
    for root in tree.roots:
        for _ in roll_up_steps(root):
            yield b""
    parts = [_open_object(_trace_fields(tree)), b',"roots":[']
    # Each entry is a span to open, or None to close the one opened last that is not closed yet.
    stack: list[SpanNode | None] = list(reversed(tree.roots))
    is_first, spans = True, 0
    while stack:
        node = stack.pop()
        if node is None:
            parts.append(b"]}")
            is_first = False
            continue
        if not is_first:
            parts.append(b",")
        parts.append(_open_object(_span_fields(tree, node)))
        parts.append(b',"children":[')
        is_first = True
        stack.append(None)
        stack.extend(reversed(node.sorted_children()))
        spans += 1
        if spans % SPANS_PER_PART == 0:
            yield b"".join(parts)
            parts.clear()
    parts.append(b"]}")
    yield b"".join(parts)


def _trace_fields(tree: TraceTree) -> dict[str, Any]:
    root, state, services = tree.root, tree.state, tree.services
    start_ns, end_ns = tree.start_ns, tree.end_ns
    duration_ns: int | None = None
    if state != "running" and start_ns and (end_ns or state != "missing"):
        if state in ("interrupted", "unended"):
            end_ns = max(end_ns, tree.last_seen_ns)
        duration_ns = max(0, end_ns - start_ns)
    return {
        "trace_id": tree.trace_id,
        "state": state,
        "name": "" if root is None else root.name,
        "service": services[0] if services else "",
        "services": services,
        "start_ns": start_ns,
        "duration_ns": duration_ns,
        "spans": tree.span_count,
        "open": tree.open_count,
        "errors": tree.error_count,
        "missing": tree.missing_count,
        **_usage(tree.totals),
        "lost": [
            {
                "time_ns": stamp[0],
                "producer_id": stamp[1],
                "count": count,
                "reason": reason,
                "exact": exact,
            }
            for stamp, (count, reason, exact) in sorted(tree.losses.items())
        ],
        "truncated": tree.truncated,
    }


def _span_fields(tree: TraceTree, node: SpanNode) -> dict[str, Any]:
    rollup = tree.rollup(node.span_id)
    fields: dict[str, Any] = {
        "span_id": node.span_id,
        "parent_id": node.parent_id,
        "name": node.name,
        "kind": node.kind,
        "state": node.state,
        "service": node.service,
        "producer_id": node.producer_id,
        "start_ns": node.start_ns,
        "end_ns": node.end_ns,
        "duration_ns": node.duration_ns,
        "last_seen_ns": node.last_seen_ns,
        "attributes": codec.tag_value(node.attributes),
        "rollup": {
            "spans": rollup.spans,
            "open": rollup.open,
            "errors": rollup.errors,
            **_usage(rollup),
        },
    }
    if node.remote_parent:
        fields["remote_parent"] = True
    if node.error is not None:
        fields["error"] = {
            "type": node.error.type,
            "message": node.error.message,
            "stacktrace": node.error.stacktrace,
        }
    if node.events:
        fields["events"] = [
            {
                "time_ns": event.time_ns,
                "name": event.name,
                "attributes": codec.tag_value(event.attributes),
                **({"marks": event.marks} if event.marks else {}),
            }
            for event in node.event_list()
        ]
    if node.links:
        fields["links"] = [
            {
                "trace_id": link.trace_id,
                "span_id": link.span_id,
                "attributes": codec.tag_value(link.attributes),
            }
            for link in node.link_list()
        ]
    if node.texts:
        fields["text"] = {channel: node.text(channel) for channel in node.text_channels()}
    marks = node.attribute_marks()
    if marks:
        fields["marks"] = marks
    flags = node.flags()
    if flags:
        fields["flags"] = flags
    return fields


def _usage(sums: Rollup) -> dict[str, Any]:
    return {
        "input_tokens": codec.tag_value(sums.input_tokens),
        "output_tokens": codec.tag_value(sums.output_tokens),
        "cache_read_tokens": codec.tag_value(sums.cache_read_tokens),
        "cache_write_tokens": codec.tag_value(sums.cache_write_tokens),
        "reasoning_tokens": codec.tag_value(sums.reasoning_tokens),
        "cost_usd": cost_usd(sums),
        "unpriced": sums.unpriced,
    }


def _open_object(fields: dict[str, Any]) -> bytes:
    """Encode an object without its closing brace, for more fields to follow."""
    return _encode(fields)[:-1]
