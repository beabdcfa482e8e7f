"""Frames of one producer that follow each other become one row of the log. Pure.

A row costs an insertion, a place in the index a trace, and a compression of its own. Under load a commit
takes many frames, and small ones compress badly: together they are fewer and smaller.
"""

from collections.abc import Iterable, Iterator, Sequence

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.limits import KIB
from lumina_stream.relay.log import Entry

RUN_BYTES = 64 * KIB
"""Event bytes of a row up to which more frames join it: whoever reads one trace reads all of its rows."""


def joined(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries in their order, those that follow each other as one."""
    run: list[Entry] = []
    size = 0
    for entry in entries:
        if run and not (
            size + len(entry.events) <= RUN_BYTES
            and entry.producer_id == run[-1].producer_id
            and entry.first_seq == run[-1].first_seq + run[-1].count
            and _is_whole(entry)
        ):
            yield _one(run)
            run, size = [], 0
        run.append(entry)
        size += len(entry.events) if _is_whole(entry) else RUN_BYTES
    if run:
        yield _one(run)


def _one(run: Sequence[Entry]) -> Entry:
    first = run[0]
    if len(run) == 1:
        return first
    traces = dict.fromkeys(trace_id for entry in run for trace_id in entry.trace_ids)
    return Entry(
        first.producer_id,
        first.first_seq,
        sum(entry.count for entry in run),
        codec.join_arrays([entry.events for entry in run]),
        tuple(traces),
        # The latest: who asks for what came since a time gets too much, never too little.
        max(entry.time_ns for entry in run),
    )


def _is_whole(entry: Entry) -> bool:
    """Tell whether the events are an array of as many as the entry says."""
    try:
        return entry.count > 0 and codec.array_length(entry.events) == entry.count
    except DecodeError:
        return False
