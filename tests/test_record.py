"""Records and columns: a tree as plain data (`test_tree` has the late-join property)."""

from typing import Any

import msgspec
import pytest

from lumina_stream.model.events import ErrorInfo, Link
from lumina_stream.model.node import SpanEventRecord, Text
from lumina_stream.model.record import (
    Columns,
    SpanRecord,
    Value,
    from_columns,
    record_of,
    to_columns,
)
from lumina_stream.model.tree import TraceTree

S = "b" * 16
STAMP = (1_790_000_000_123_456_789, "p", 4)
FULL = SpanRecord(
    S,
    "c" * 16,
    "name",
    "llm",
    STAMP,
    STAMP,
    "error",
    ErrorInfo("ValueError", "no"),
    STAMP,
    True,
    STAMP[0],
    ("double_end",),
    {"k": Value([1, {"a": 2.5}], STAMP, {"k[0]": "cut"})},
    (SpanEventRecord(STAMP, "e", {"x": 1}, None),),
    (("output", 0, Text(STAMP, "hi")),),
    ((STAMP, 0, Link("a" * 32, S, {"x": 1})),),
    {"@name": (STAMP, "cut")},
)
EMPTY = SpanRecord(S, None, "", None, None, None, None, None, None, False, 0)


@pytest.mark.parametrize("records", [[], [EMPTY], [FULL], [FULL, EMPTY, FULL]])
@pytest.mark.parametrize("codec", [msgspec.msgpack, msgspec.json])
def test_columns_survive_the_wire(records: list[SpanRecord], codec: Any) -> None:
    """In either encoding."""
    columns = to_columns(records)
    assert columns.count == len(records)
    assert list(from_columns(codec.decode(codec.encode(columns), type=Columns))) == records


def test_a_record_holds_all_that_was_restored_from_it() -> None:
    """Restoring and taking a record again loses nothing."""
    tree = TraceTree("a" * 32)
    assert tree.restore(FULL)
    node = tree.span(S)
    assert node is not None and record_of(node) == FULL
    parent = tree.span("c" * 16)
    assert parent is not None and record_of(parent) == msgspec.structs.replace(
        EMPTY, span_id="c" * 16
    )


@pytest.mark.parametrize(
    "columns",
    [
        Columns(1, ()),
        Columns(2, tuple([v] for v in msgspec.structs.astuple(FULL))),
        Columns(1, tuple([v] for v in msgspec.structs.astuple(FULL)[:5])),
        Columns(1, tuple([v] * (1 + i) for i, v in enumerate(msgspec.structs.astuple(FULL)))),
        Columns(1, tuple([{"no": 1}] for _ in SpanRecord.__struct_fields__)),
    ],
)
def test_columns_of_a_wrong_shape_raise_validation_error(columns: Columns) -> None:
    """And nothing else, so that one handler is enough."""
    with pytest.raises(msgspec.ValidationError):
        list(from_columns(columns))
