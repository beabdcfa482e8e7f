"""How often things go wrong: a few times in every run, very often when asked for."""

import os
from pathlib import Path

from lumina_stream.model import codec
from lumina_stream.relay.admission import is_relay
from lumina_stream.relay.sqlite_log import SqliteLog

LONG = os.environ.get("LUMINA_FAULTS") == "long"


def often(short: int, long: int) -> int:
    """Return how often, in the form that was asked for."""
    return long if LONG else short


def stored(data: Path) -> dict[str, int]:
    """Return how many events of each producer a log holds, each seq once; fail on a double."""
    seqs: dict[str, int] = {}
    with SqliteLog.open(data) as log:
        after = 0
        while rows := log.read(after):
            for row in rows:
                assert row.first_seq == seqs.get(row.producer_id, 0) + 1, row.producer_id
                assert len(codec.split_array(row.events)) == row.count
                seqs[row.producer_id] = row.last_seq
            after = rows[-1].last_offset
    return {producer: last for producer, last in seqs.items() if not is_relay(producer)}
