"""Frames as an enemy would write them: nearly right, then wrong in one place or two.

Everything is drawn from a `random.Random`: Hypothesis gives one that it can shrink, a soak one with a seed.
"""

import json
import random
import struct
from typing import Any

SHORT = [
    "",
    "a",
    "root",
    "k",
    "gen_ai.usage.input_tokens",
    "relay-x",
    "otlp-x",
    "\0",
    "é\U0001f600",
    "x" * 300,
]
TAGGED = [
    "!int 1" + "0" * 30,
    "!int x",
    "!float nan",
    "!float 1e999",
    "!bytes aGk=",
    "!bytes *",
    "!str !int 1",
]
NUMBERS = [
    0,
    1,
    -1,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**63),
    0.5,
    -0.0,
    1e308,
    float("inf"),
    float("nan"),
]
VIEWS = ["events", "traces", "trace", "running"]
STATES = ["running", "ok", "error", "interrupted", "nonsense"]

REST: Any = object()
"""In MessagePack: a header that claims 2^32 - 1 elements or bytes which do not come."""


class Hostile:
    """An enemy with its own chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.trace_ids = [f"{n:032x}" for n in range(1, 6)]
        self.span_ids = [f"{n:016x}" for n in range(1, 9)]

    # --- values ------------------------------------------------------------------------------

    def rarely(self, one_in: int = 8) -> bool:
        return self.chance.randrange(one_in) == 0

    def value(self, depth: int = 0) -> Any:
        """Draw any value, whether or not it may be one."""
        kind = self.chance.randrange(16)
        if kind < 4:
            return self.chance.choice(SHORT)
        if kind < 7:
            return self.chance.choice(NUMBERS)
        if kind == 7:
            return self.chance.choice(TAGGED)
        if kind == 8:
            return self.chance.choice([None, True, False, b"", b"\xff\xfe", "x" * 5_000])
        if kind == 9 and self.rarely():
            return self.deep()
        if kind == 10 and self.rarely():
            return [{}] * self.chance.choice([100, 20_000])
        if kind == 11 and self.rarely(40):
            return REST
        if depth > 3:
            return None
        size = self.chance.randrange(4)
        if kind < 14:
            return [self.value(depth + 1) for _ in range(size)]
        return {self.chance.choice(SHORT): self.value(depth + 1) for _ in range(size)}

    def deep(self) -> Any:
        """Draw lists or maps within each other, as deep as limits and well beyond."""
        value: Any = 1
        for _ in range(self.chance.choice([39, 40, 41, 100, 300])):
            value = [value] if self.chance.random() < 0.5 else {"d": value}
        return value

    def attributes(self) -> dict[str, Any]:
        return {self.chance.choice(SHORT): self.value() for _ in range(self.chance.randrange(3))}

    def spoilt(self, fields: dict[str, Any], one_in: int = 12) -> dict[str, Any]:
        """Return fields of which, one time in so many, one or two are not what they should be."""
        while fields and self.rarely(one_in):
            key = self.chance.choice(list(fields))
            match self.chance.randrange(3):
                case 0:
                    del fields[key]
                case 1:
                    fields[key] = self.value()
                case _:
                    fields[self.chance.choice(SHORT)] = self.value()
        return fields

    def id_of(self, ids: list[str]) -> Any:
        return self.value() if self.rarely(20) else self.chance.choice(ids)

    def number(self) -> Any:
        return self.chance.choice(NUMBERS) if self.rarely(5) else self.chance.randrange(2_000)

    # --- events and frames ---------------------------------------------------------------------

    def event(self) -> Any:
        """Draw what a batch may hold."""
        if self.rarely(20):
            return self.value()
        kinds: dict[str, dict[str, Any]] = {
            "span_started": {
                "name": self.chance.choice(SHORT),
                "parent_id": self.id_of(self.span_ids),
                "kind": self.chance.choice([None, "llm"]),
                "attributes": self.attributes(),
                "links": [
                    {
                        "trace_id": self.id_of(self.trace_ids),
                        "span_id": "1" * 16,
                        "attributes": self.attributes(),
                    }
                ]
                * self.chance.randrange(2),
                "marks": {"k": "cut:1"},
            },
            "attribute_set": {"key": self.chance.choice(SHORT), "value": self.value()},
            "attributes_set": {"attributes": self.attributes(), "marks": None},
            "event_added": {"name": "e", "attributes": self.attributes()},
            "text_streamed": {
                "channel": "output",
                "index": self.number(),
                "text": self.chance.choice(SHORT),
            },
            "span_updated": {"name": self.chance.choice(SHORT), "links": []},
            "span_ended": {
                "status": self.chance.choice(["ok", "error", "cancelled", "abandoned", "running"]),
                "error": self.chance.choice(
                    [None, {"type": "E", "message": "m", "stacktrace": "s"}]
                ),
            },
            "events_lost": {
                "reason": "queue_full",
                "count": self.number(),
                "by_type": {"span_started": self.number()},
                "by_trace": {self.chance.choice([*self.trace_ids, "other", "x"]): self.number()},
                "subject_id": self.chance.choice([None, "p1"]),
            },
            "producer_started": {"subject_id": "p1", "service": "s", "resource": self.attributes()},
            "producer_lost": {"subject_id": "p1", "last_seq": self.number(), "last_seen_ns": 1},
            "future": self.attributes(),
        }
        kind = self.chance.choice(list(kinds))
        envelope = {
            "type": kind,
            "trace_id": self.id_of(self.trace_ids),
            "span_id": self.id_of(self.span_ids),
            "time_ns": self.number(),
        }
        return self.spoilt(envelope | kinds[kind], 3)

    def hello(self, producer_id: str) -> dict[str, Any]:
        """Draw an introduction."""
        return self.spoilt({
            "type": "hello", "producer_id": producer_id, "nonce": "m" if self.rarely(30) else "n",
            "first_seq": 1, "service": self.chance.choice(SHORT), "resource": self.attributes(), "host": "h",
            "pid": 0, "wall_ns": 7, "spool": self.chance.choice(["", "kept", "left", "x"]),
        })  # fmt: skip

    def of_producer(self, next_seq: int) -> Any:
        """Draw what a producer says after its hello."""
        kind = self.chance.randrange(40)
        seq = next_seq if not self.rarely(6) else self.number()
        if kind < 36:
            events = [self.event() for _ in range(self.chance.randrange(1, 6))]
            return self.spoilt({"type": "batch", "first_seq": seq, "events": events})
        if kind < 38:
            return self.spoilt(
                {"type": "heartbeat", "admitted": self.number(), "wall_ns": self.number()}
            )
        if kind == 38:
            return self.spoilt({"type": "bye", "last_seq": self.number(), "lost": True})
        return self.value()

    def subscribe(self) -> Any:
        """Draw what a viewer asks."""
        chosen = self.spoilt({
            "service": self.chance.choice([None, *SHORT]), "trace_id": self.chance.choice([None, *self.trace_ids, "x"]),
            "name": self.chance.choice([None, "*", "[", "?" * 30, "[!a-z]*"]),
            "state": self.chance.choice([None, *STATES]),
            "error": None, "min_duration_ns": self.number(), "attribute": ["k=v"] * self.chance.randrange(3),
        })  # fmt: skip
        cursor = {"epoch": self.chance.choice(SHORT), "offset": self.number()}
        return self.spoilt({
            "type": "subscribe", "view": self.chance.choice(VIEWS), "filter": chosen,
            "cursor": self.chance.choice([None, cursor]), "since_ns": self.chance.choice([None, self.number()]),
            "snapshot": self.chance.random() < 0.5, "outline": self.chance.random() < 0.5,
        })  # fmt: skip

    def to_producer(self) -> Any:
        """Draw what a false relay tells a producer."""
        return self.spoilt(self.chance.choice([
            {"type": "welcome", "last_seq": self.number(), "frame_bytes": self.number(), "frame_events": self.number(),
             "heartbeat_s": self.chance.choice(NUMBERS)},
            {"type": "ack", "upto": self.number()},
            {"type": "nack", "expected": self.number()},
            {"type": "throttle", "pause_s": self.chance.choice(NUMBERS)},
            {"type": "inspect", "span_id": "x"},
            {"type": "error", "message": "m", "new_identity": self.chance.random() < 0.5},
        ]))  # fmt: skip

    def to_consumer(self) -> Any:
        """Draw what a false relay tells a viewer."""
        n = self.number
        facts = [[n(), n(), self.event()] for _ in range(self.chance.randrange(4))]
        columns = [
            [self.value() for _ in range(self.chance.randrange(3))]
            for _ in range(self.chance.choice([3, 17]))
        ]
        return self.spoilt(self.chance.choice([
            {"type": "subscribed", "recovered": True, "epoch": "e", "offset": n()},
            {"type": "batch", "upto": n(), "producer_id": "p", "service": "s", "facts": facts,
             "unstored": self.rarely()},
            {"type": "snapshot", "offset": n(), "trace_id": self.id_of(self.trace_ids),
             "spans": {"count": n(), "columns": columns}, "producers": [self.value()], "done": self.rarely(2)},
            {"type": "skip", "from_offset": n(), "to_offset": n()},
            {"type": "progress", "offset": n(), "relay_ns": n()},
            {"type": "traces", "upto": n(), "traces": [self.attributes()]},
            {"type": "running", "upto": n(), "spans": [self.attributes()], "total": n()},
            {"type": "removed", "upto": n(), "trace_ids": [self.value()]},
            {"type": "costs", "upto": n(), "trace_id": "t", "costs": [[self.value()] * 4]},
            {"type": "error", "message": "m", "code": "c"},
        ]))  # fmt: skip

    # --- bytes -----------------------------------------------------------------------------------

    def binary(self, frame: Any) -> bytes:
        """Write a frame in MessagePack; now and then damaged."""
        return self.damaged(pack(frame))

    def text(self, frame: Any) -> str:
        """Write a frame in JSON; now and then damaged."""
        plain = json.dumps(_jsonable(frame), ensure_ascii=self.chance.random() < 0.5)
        if self.rarely(15):
            at = self.chance.randrange(len(plain) + 1)
            put = self.chance.choice(["", '"', "\\ud800", "1e999", "[", "}", ",", "\0", "9" * 400])
            plain = plain[:at] + put + plain[at + self.chance.randrange(3) :]
        return plain

    def damaged(self, data: bytes) -> bytes:
        """Return data; of some, with a bit flipped, bytes cut off, or put in."""
        if not data or not self.rarely(15):
            return data
        at = self.chance.randrange(len(data))
        match self.chance.randrange(4):
            case 0:
                return data[:at]
            case 1:
                return (
                    data[:at]
                    + bytes((data[at] ^ (1 << self.chance.randrange(8)),))
                    + data[at + 1 :]
                )
            case 2:
                return data[:at] + self.chance.choice(_HEADERS) + data[at:]
            case _:
                return data[:at] + data[at + self.chance.randrange(5) :]


_HEADERS = [
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xc9\x7f\xff\xff\xff\x01", b"\xdc\xff\xff", b"\xc1", b"\xa1\xff", b"\x81\x01\x02",
]  # fmt: skip


def pack(value: Any) -> bytes:
    """Write MessagePack without asking whether it is any; recursion has no limit of its own here."""
    parts: list[bytes] = []
    stack = [value]
    while stack:
        one = stack.pop()
        match one:
            case None:
                parts.append(b"\xc0")
            case bool():
                parts.append(b"\xc3" if one else b"\xc2")
            case int():
                parts.append(
                    struct.pack(">Bq", 0xD3, one) if one < 2**63 else struct.pack(">BQ", 0xCF, one)
                )
            case float():
                parts.append(struct.pack(">Bd", 0xCB, one))
            case str():
                data = one.encode()
                parts += (struct.pack(">BI", 0xDB, len(data)), data)
            case bytes():
                parts += (struct.pack(">BI", 0xC6, len(one)), one)
            case list():
                parts.append(struct.pack(">BI", 0xDD, len(one)))
                stack.extend(reversed(one))
            case dict():
                parts.append(struct.pack(">BI", 0xDF, len(one)))
                stack.extend(part for pair in reversed(one.items()) for part in reversed(pair))
            case _:
                parts.append(b"\xdd\xff\xff\xff\xff")
    return b"".join(parts)


def _jsonable(value: Any) -> Any:
    match value:
        case dict():
            return {str(k): _jsonable(v) for k, v in value.items()}
        case list():
            return [_jsonable(v) for v in value]
        case bytes():
            return value.decode("latin-1")
        case float() if value - value != 0:  # JSON has no word for it
            return f"!float {value}"
        case None | bool() | int() | float() | str():
            return value
        case _:
            return "!int " + "9" * 40
