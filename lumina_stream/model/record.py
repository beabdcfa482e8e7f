"""A tree as plain data: for snapshots to late joiners and for checkpoints.

A record holds everything that decides later conflicts, so that a tree restored from records goes on
exactly as the tree that they were taken from. `Columns` is the same, field by field: smaller, and
quicker to read for a browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from lumina_stream.model.events import ErrorInfo, Link, Status
from lumina_stream.model.node import SpanEventRecord, SpanNode, Text
from lumina_stream.model.producers import Stamp


class Value(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An attribute's value, who set it when, and what was done to it on the way (by path)."""

    value: Any
    stamp: Stamp
    marks: dict[str, str] | None = None


class SpanRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One span: all that its events said. `parent_id` is the declared parent, cut or not."""

    span_id: str
    parent_id: str | None
    name: str
    kind: str | None
    start: Stamp | None
    end: Stamp | None
    status: Status | None
    error: ErrorInfo | None
    named: Stamp | None
    remote_parent: bool
    last_ns: int
    conflicts: tuple[str, ...] = ()
    values: dict[str, Value] | None = None
    events: tuple[SpanEventRecord, ...] = ()
    texts: tuple[tuple[str, int, Text], ...] = ()
    links: tuple[tuple[Stamp, int, Link], ...] = ()
    marks: dict[str, tuple[Stamp, str]] = {}


def record_of(node: SpanNode) -> SpanRecord:
    """Return the record of a span."""
    start = node.start
    return SpanRecord(
        node.span_id,
        node.parent_id,
        node.name,
        node.kind,
        start,
        node.end,
        node.status,
        node.error,
        start if node.renamed is None else node.renamed,
        node.remote_parent,
        node.last_ns,
        tuple(sorted(node.conflicts)) if node.conflicts else (),
        {a.key: Value(a.value, a.stamp, a.marks) for a in node.attribute_list()} or None,
        tuple(node.events.values()) if node.events else (),
        tuple((c, i, text) for (c, i), text in node.texts.items()) if node.texts else (),
        tuple((s, i, link) for (s, i), link in node.links.items()) if node.links else (),
        dict(node.marks) if node.marks else {},
    )


class Columns(msgspec.Struct, frozen=True, gc=False):
    """Spans field by field: `columns[i]` holds field i of `SpanRecord` for every span."""

    count: int
    columns: tuple[list[Any], ...]


def to_columns(records: Iterable[SpanRecord]) -> Columns:
    """Turn records on their side."""
    rows = [msgspec.structs.astuple(record) for record in records]
    if not rows:
        return Columns(0, ())
    return Columns(len(rows), tuple(list(column) for column in zip(*rows, strict=True)))


def from_columns(columns: Columns) -> Iterator[SpanRecord]:
    """Turn columns back into records; raises `msgspec.ValidationError` on a wrong shape."""
    lengths = {len(column) for column in columns.columns} or {0}
    if lengths != {columns.count}:
        raise msgspec.ValidationError(f"columns of {sorted(lengths)} spans, not {columns.count}")
    for row in zip(*columns.columns, strict=True):
        yield msgspec.convert(row, SpanRecord)
