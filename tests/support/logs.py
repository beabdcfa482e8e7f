"""What a relay's log has, once the relay is gone."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from lumina_stream.model import codec
from lumina_stream.relay.admission import is_relay
from lumina_stream.relay.sqlite_log import SqliteLog


def logged(data: Path) -> dict[str, list[Any]]:
    """Return each producer's events as maps, in order; fail on a hole or a double in a seq.

    What the relay itself said is under `relay`.
    """
    found: dict[str, list[Any]] = defaultdict(list)
    with SqliteLog.open(data) as log:
        after = 0
        while rows := log.read(after):
            for row in rows:
                events = found["relay" if is_relay(row.producer_id) else row.producer_id]
                if not is_relay(row.producer_id):
                    assert row.first_seq == len(events) + 1, row.producer_id
                events += map(msgspec.msgpack.decode, codec.split_array(row.events))
            after = rows[-1].last_offset
    return found


def span_events(events: list[Any]) -> list[Any]:
    """Return those that are about a span."""
    return [event for event in events if event is not None and event["type"] != "events_lost"]


def lost(events: list[Any]) -> int:
    """Return how many events a producer reports as lost."""
    reports = [event for event in events if event is not None and event["type"] == "events_lost"]
    assert all(report.get("exact", True) for report in reports)
    return sum(report["count"] for report in reports)
