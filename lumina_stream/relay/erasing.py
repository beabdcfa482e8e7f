"""What of a frame stays when a trace of it is deleted: every other event, and every place. Pure.

An erased event is one byte in its place, so that offsets and seqs stay what they are, and a reader that
checks the log can tell it from an event that is missing.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError
from lumina_stream.relay.admission import Admitted, admit
from lumina_stream.relay.log import Row
from lumina_stream.relay.read_back import Carried, decode_carried

ERASED = b"\xc2"
"""MessagePack's false: no event, and not the nil of one that a producer could not read any more."""


def erase(data: bytes, admitted: Admitted, trace_ids: Collection[str]) -> tuple[bytes, Admitted]:
    """Return a frame's events, raw and judged, without those of some traces.

    An event that was refused goes too if it names one of the traces: nobody sees it, but it stands there.
    """
    named = [trace_id.encode() for trace_id in trace_ids]
    raws: list[bytes] = list(map(bytes, codec.split_array(data)))
    events = list(admitted.events)
    for index, event in enumerate(events):
        gone = (
            any(name in raws[index] for name in named)
            if event is None
            else getattr(event, "trace_id", None) in trace_ids
        )
        if gone:
            raws[index], events[index] = ERASED, None
    left = tuple(t for t in admitted.trace_ids if t not in trace_ids)
    return codec.join_array(raws), Admitted(events, left, admitted.refused)


def without(row: Row, trace_ids: Collection[str]) -> Row:
    """Return a row of the log without the events of some traces; the same one if it has none."""
    if not any(trace_id.encode() in row.events for trace_id in trace_ids):
        return row
    try:
        data, _ = erase(row.events, admit(row.events, row.producer_id), trace_ids)
    except DecodeError:
        data = codec.join_array([ERASED] * row.count)  # nobody can tell what is whose
    return msgspec.structs.replace(row, events=data)


def carried_without(data: bytes, trace_ids: Collection[str]) -> bytes:
    """Return carried traces (`read_back.encode_carried`) without some; the same bytes if it has none."""
    try:
        carried = decode_carried(data)
    except msgspec.DecodeError:
        return data
    left = [trace for trace in carried.traces if trace.trace_id not in trace_ids]
    if len(left) == len(carried.traces):
        return data
    return codec.encode(Carried(carried.offset, carried.producers, left))  # pyright: ignore[reportArgumentType]


def erased_in(data: bytes) -> int:
    """Return how many events of a frame were erased."""
    try:
        return sum(bytes(raw) == ERASED for raw in codec.split_array(data))
    except DecodeError:
        return 0
