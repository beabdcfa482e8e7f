"""Facts of one trace, hostile and plain: what both trees must read as the same tree."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from lumina_stream.model.events import (
    AttributeSet,
    AttributesSet,
    ErrorInfo,
    Event,
    EventAdded,
    EventsLost,
    Link,
    ProducerEnded,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
    SpanEnded,
    SpanStarted,
    SpanUpdated,
    TextStreamed,
)
from lumina_stream.model.usage import NO_PRICE, Cost
from support.trees import TRACE, Told

NS = 1_760_000_000 * 10**9 // 2**20 * 2**20
"""A time of these years that a double holds."""

A, B, C, D, E = (f"{n:016x}" for n in (0xA, 0xB, 0xC, 0xD, 0xE))
OTLP = "+otlp-api"
RELAY = "relay"

Facts = list[Told]
_CASES: list[Callable[[], "Case"]] = []


class Case(msgspec.Struct):
    """Facts, and what else is to be known to make a fixture of them."""

    name: str
    facts: Facts
    max_spans: int | None = None
    ordered: bool = False
    late: tuple[int, ...] = ()
    costs: dict[str, Cost] = {}


def cases() -> Iterator[Case]:
    """Yield every case, each time the same."""
    for make in _CASES:
        yield make()
    for seed in range(16):
        yield _random(seed)


def _case(make: Callable[[], Case]) -> Callable[[], Case]:
    _CASES.append(make)
    return make


def _start(span_id: str, time_ns: int, parent_id: str | None = None, **more: Any) -> SpanStarted:
    name = more.pop("name", f"span {span_id[-1]}")
    return SpanStarted(TRACE, span_id, time_ns, name, parent_id, **more)


def _end(span_id: str, time_ns: int, status: Any = "ok", **more: Any) -> SpanEnded:
    return SpanEnded(TRACE, span_id, time_ns, status, **more)


def _by(producer_id: str, *events: Event, first: int = 1) -> Facts:
    return [Told(event, producer_id, seq) for seq, event in enumerate(events, first)]


def _interleaved(*several: Facts) -> Facts:
    return sorted((fact for facts in several for fact in facts), key=lambda fact: fact.stamp)


@_case
def _plain() -> Case:
    facts = _by(
        "alpha",
        _start(A, 1, attributes={"query": "why?", "top_k": 5}, kind="agent", name="rag"),
        _start(B, 2, A, kind="retrieval"),
        AttributeSet(TRACE, B, 3, "db.results", [1, 2.5, None, {"deep": True}]),
        EventAdded(TRACE, B, 4, "found", {"count": 3}),
        _end(B, 5),
        _start(C, 6, A, kind="llm", links=(Link("2" * 32, D, {"why": "batch"}),)),
        TextStreamed(TRACE, C, 7, "output", 0, "Be"),
        TextStreamed(TRACE, C, 8, "output", 1, "cause."),
        _end(C, 9, "error", error=ErrorInfo("app.ValueError", "no", "Traceback")),
        _end(A, 10),
    )
    said = [Told(ProducerStarted(0, "alpha", "api", {"host": "x"}, 1, "h"), RELAY, 1)]
    return Case("plain", said + facts, late=(0, 1, 4, 8, len(facts) + 1))


@_case
def _row_15() -> Case:
    """Duplicate ids, an end without a start, a child before its parent, late starts, double ends."""
    alpha = _by(
        "alpha",
        _end(B, 3, "error"),
        _start(C, 4, A),
        _start(A, 5, attributes={"first": True}),
        _start(A, 6, attributes={"second": True}, kind="tool"),
        _end(A, 8),
        EventAdded(TRACE, A, 9, "after the end"),
        AttributeSet(TRACE, A, 10, "late", 1),
        _end(A, 11, "cancelled"),
        _start(B, 2, A),
    )
    beta = _by("beta", _start(C, 4, B), _end(C, 7), _start(D, 12, C))
    return Case("row_15", _interleaved(alpha, beta), late=(3, 6, 9, 12))


@_case
def _self_parent() -> Case:
    return Case(
        "self_parent", _by("alpha", _start(A, 1, A), _start(B, 2, A), _end(A, 3)), late=(1, 3)
    )


@_case
def _cycle() -> Case:
    facts = _by(
        "alpha", _start(A, 1, C), _start(B, 2, A), _start(C, 3, B), _start(D, 4, C), _end(D, 5)
    )
    return Case("cycle", facts, late=(2, 3, 5))


@_case
def _cycle_opened() -> Case:
    """A cycle that a later start opens again; another one that it closes."""
    facts = _by(
        "alpha",
        _start(A, 1, B),
        _start(B, 2, C),
        _start(C, 3, A),
        _start(B, 4, None),
        _start(D, 5, E),
        _start(E, 6, D),
        _start(E, 7, A),
        _start(A, 8, E),
    )
    return Case("cycle_opened", facts, late=(3, 4, 6, 8))


@_case
def _losing_parent() -> Case:
    facts = _by("alpha", _start(A, 5, B)) + _by("beta", _start(A, 4, C), _start(A, 5, D))
    return Case("losing_parent", facts, late=(1, 2))


@_case
def _fates() -> Case:
    """Lost, back, lost again, ended: what became of a producer decides what its open spans are."""
    alpha = _by("alpha", _start(A, 1), _start(B, 2, A), _end(B, 3))
    beta = _by("beta", _start(C, 4, A), _start(D, 5, C), _start(E, 6, C))
    relay = _by(
        RELAY,
        ProducerStarted(0, "alpha", "api"),
        ProducerStarted(3, "beta", "worker"),
        ProducerLost(20, "beta", 3, 15),
        ProducerReturned(30, "beta"),
        ProducerLost(40, "beta", 3, 35),
        ProducerEnded(50, "alpha", 3),
        ProducerStarted(2, "beta", "older name"),
    )
    ends = _by("beta", _end(D, 55), first=9)
    return Case("fates", _interleaved(alpha, beta, relay, ends), late=(5, 8, 11))


@_case
def _returned() -> Case:
    alpha = _by("alpha", _start(A, 1), _start(B, 2, A))
    relay = _by(RELAY, ProducerLost(5, "alpha", 2, 4), ProducerReturned(6, "alpha"))
    return Case("returned", alpha + relay, late=(2, 3, 4))


@_case
def _losing_open_span() -> Case:
    """Another producer's start wins: the span is that one's, with its fate."""
    facts = _by("alpha", _start(A, 1), _start(B, 2, A)) + _by("beta", _start(B, 3, A))
    facts += _by(RELAY, ProducerEnded(9, "alpha", 2), ProducerLost(9, "beta", 1, 7))
    return Case("losing_open_span", facts, late=(2, 3, 4))


@_case
def _moved() -> Case:
    """Who started nothing that counts has no service here."""
    facts = _by("alpha", _start(A, 1)) + _by("beta", _start(A, 3, attributes={"k": 1}))
    facts += _by(RELAY, ProducerStarted(0, "alpha", "api"), ProducerStarted(0, "beta", "worker"))
    return Case("moved", facts, late=(1, 2))


@_case
def _copies() -> Case:
    """A program's own stream and its OTLP export, which comes twice."""
    link = Link("2" * 32, E, {"k": 1})
    own = _by(
        "c0ffee",
        _start(A, 1, kind="agent", links=(link,)),
        EventAdded(TRACE, A, 2, "retry", {"n": 1}),
        EventAdded(TRACE, A, 2, "retry", {"n": 2}),
        _start(B, 3, A, kind="llm"),
        _end(B, 6, "cancelled"),
        _end(A, 7),
    )
    copied: list[Event] = [
        _start(B, 3, A, name="copy"),
        AttributesSet(TRACE, B, 3, {"otel": True}),
        EventAdded(TRACE, B, 4, "sent", {"b": 1, "a": 2}),
        _end(B, 6, "error"),
        _start(A, 1, name="copy", links=(link,)),
        EventAdded(TRACE, A, 2, "retry", {"n": 3}),
        _end(A, 7),
    ]
    again = [*copied[:2], EventAdded(TRACE, B, 4, "sent", {"a": 2, "b": 1}), *copied[3:]]
    facts = own + _by(OTLP, *copied) + _by(OTLP, *again, first=20)
    return Case("copies", facts, late=(3, 6, 10, 20))


@_case
def _copies_alone() -> Case:
    copied = [
        _start(A, 1, links=(Link("2" * 32, B),)),
        _start(A, 1, kind="llm", links=(Link("2" * 32, B),)),
        EventAdded(TRACE, A, 2, "e", {"x": [1]}),
        EventAdded(TRACE, A, 2, "e", {"x": [1]}),
        EventAdded(TRACE, A, 2, "e", {"x": [2]}),
        _end(A, 3),
        _end(A, 3, "error"),
    ]
    return Case("copies_alone", _by(OTLP, *copied), late=(2, 7))


@_case
def _names() -> Case:
    """A new name wins over a start that comes later, and loses against a later start."""
    facts = _by(
        "alpha",
        SpanUpdated(TRACE, A, 5, "renamed", (Link("2" * 32, C),)),
        _start(A, 1, name="first"),
        _start(B, 2, A, name="old"),
        _end(B, 3, name="at the end"),
        _start(B, 4, A, name="again"),
        SpanUpdated(TRACE, D, 6, "never started"),
        SpanUpdated(TRACE, B, 1, "too early"),
    )
    return Case("names", facts, late=(1, 3, 5, 7))


@_case
def _marks() -> Case:
    facts = _by(
        "alpha",
        _start(
            A, 1, attributes={"k": "x", "m": {"a": 1}}, marks={"k": "cut:9", "@name": "cut:2000"}
        ),
        AttributeSet(TRACE, A, 2, "k", "y", {"k": "redacted"}),
        AttributesSet(
            TRACE,
            A,
            3,
            {"m": {"a": 2}, "l": [1]},
            {"m.a": "converted:int", "l[0]": "x", "@name": "y"},
        ),
        _end(A, 4, "error", error=ErrorInfo("E", "m"), marks={"@error.message": "cut:5000"}),
        AttributeSet(TRACE, A, 1, "k", "older", {"k": "older"}),
    )
    return Case("marks", facts, late=(2,))


@_case
def _texts() -> Case:
    facts = _by(
        "alpha",
        _start(A, 1, kind="llm"),
        *(TextStreamed(TRACE, A, 2 + n, "output", n, f"{n} ") for n in range(12)),
        TextStreamed(TRACE, A, 20, "output", 3, "three "),
        TextStreamed(TRACE, A, 1, "output", 4, "too early"),
        TextStreamed(TRACE, A, 5, "reasoning", 1, "hm"),
        TextStreamed(TRACE, A, 6, "input", 0, ""),
    )
    return Case("texts", facts, late=(6,))


def _usage_of(span_id: str, time_ns: int, input_: int, output: int, **more: Any) -> Event:
    values: dict[str, Any] = {
        "gen_ai.usage.input_tokens": input_,
        "gen_ai.usage.output_tokens": output,
    }
    return AttributesSet(TRACE, span_id, time_ns, values | more)


@_case
def _calls() -> Case:
    """An agent that repeats the sum, one that knows of more, one response twice, no price."""
    facts = _by(
        "alpha",
        _start(A, 1, kind="agent"),
        _start(B, 2, A, kind="llm"),
        _usage_of(B, 3, 100, 20, **{"gen_ai.response.id": "r1", "gen_ai.request.model": "m"}),
        _start(C, 4, B),
        _usage_of(C, 5, 100, 20, **{"gen_ai.response.id": "r1"}),
        _start(D, 6, A, kind="llm"),
        _usage_of(D, 7, 10, 5),
        _start(E, 8, A, kind="llm"),
        _usage_of(E, 9, 7, 7),
        _usage_of(A, 10, 150, 32),
        _start(f"{0xF:016x}", 11),
        _usage_of(f"{0xF:016x}", 12, 1, 1),
        _end(A, 13),
    )
    known = Cost(3_000_000, 15_000_000)
    costs = {
        A: Cost(100, 200),
        B: known,
        C: known,
        D: known,
        E: NO_PRICE,
        f"{0xF:016x}": Cost(1, 1),
    }
    return Case("calls", facts, late=(4, 9, 13), costs=costs)


@_case
def _losses() -> Case:
    lost = [
        EventsLost(5, "queue_full", 9, by_trace={TRACE: 4, "other": 5}),
        EventsLost(6, "producer_died", 3, by_trace={TRACE: 3}, exact=False, subject_id="alpha"),
        EventsLost(7, "queue_full", 3, by_trace={"other": 3}),
        EventsLost(8, "queue_full", 1, by_trace={}),
    ]
    return Case("losses", _by("alpha", _start(A, 1), *lost) + _by("beta", *lost[:1]), late=(2, 5))


@_case
def _too_many() -> Case:
    facts = _by(
        "alpha",
        _start(A, 1),
        _start(B, 2, A),
        _start(C, 3, A),
        _start(B, 4, D),
        AttributeSet(TRACE, E, 5, "k", 1),
        _end(C, 6),
    )
    return Case("too_many", facts, max_spans=2, ordered=True)


@_case
def _orphan() -> Case:
    facts = _by("alpha", _start(B, 2, A), _end(B, 4))
    return Case("orphan_of_a_full_tree", facts, max_spans=1, ordered=True)


@_case
def _too_much() -> Case:
    facts = _by(
        "alpha",
        _start(A, 1, links=tuple(Link("2" * 32, f"{n + 1:016x}") for n in range(130))),
        *(AttributesSet(TRACE, A, 2 + n, {f"k{n}.{m}": m for m in range(64)}) for n in range(17)),
    )
    return Case("too_much", facts, ordered=True)


@_case
def _hostile() -> Case:
    """Whatever a string is, it is that string."""
    strings = [
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(1)</script>",
        "javascript:alert(1)",
        "&lt;b&gt; ${7*7} {{7*7}} %s",
        "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
        "e\u0301\u0301\u0301\u0301 \U0001f469\u200d\U0001f469\u200d\U0001f467 \u0000 \u2028",
        "__proto__",
        "constructor",
        "",
        "x" * 1000,
    ]
    facts = _by("alpha", _start(A, 1, name=strings[0], kind=strings[1]))
    for number, text in enumerate(strings):
        span_id = f"{0x100 + number:016x}"
        facts += _by(
            "alpha",
            _start(span_id, 2 + number, A, name=text, kind=text, attributes={text: {text: [text]}}),
            AttributeSet(TRACE, span_id, 20, text, text),
            EventAdded(TRACE, span_id, 21, text, {text: text}),
            TextStreamed(TRACE, span_id, 22, "output", 0, text),
            _end(span_id, 23, "error", error=ErrorInfo(text, text, text)),
            first=10 * number + 10,
        )
    facts += _by(RELAY, ProducerStarted(1, "alpha", strings[0]))
    return Case("hostile", facts, late=(20,))


@_case
def _values() -> Case:
    values = {
        "big": 2**53 + 1,
        "small": -(2**63),
        "nan": float("nan"),
        "infinite": float("-inf"),
        "tag": "!int 7",
        "empty": {},
        "list": [],
        "none": None,
        "true": True,
        "double": 0.1,
    }
    return Case("values", _by("alpha", _start(A, 1, attributes=values)))


@_case
def _deep() -> Case:
    ids = [f"{n:016x}" for n in range(1, 101)]
    starts = [_start(s, n + 1, ids[n - 1] if n else None) for n, s in enumerate(ids)]
    ends = [_end(s, 1000 + n) for n, s in enumerate(ids[::2])]
    return Case("deep", _by("alpha", *starts, *ends), late=(40,))


@_case
def _wide() -> Case:
    """More siblings, further out of order, than one is carried past."""
    rng = random.Random(1)
    ids = [f"{n:016x}" for n in range(1, 121)]
    starts: list[Event] = [_start(s, rng.randrange(50), A) for s in ids]
    return Case("wide", _by("alpha", _start(A, 1), *starts), late=(60,))


@_case
def _of_these_years() -> Case:
    """Times that a double rounds: all here are such that it need not."""
    step = 1 << 20
    alpha = _by(
        "alpha",
        _start(A, NS + step),
        _start(B, NS + 2 * step, A),
        EventAdded(TRACE, B, NS + 9 * step, "after"),
        _end(B, NS + 5 * step),
        _start(B, NS + 3 * step, A, name="again"),
        _start(C, 0, A),
        _end(C, -step),
    )
    relay = _by(RELAY, ProducerLost(NS + 20 * step, "alpha", 7, NS + 15 * step))
    return Case("of_these_years", alpha + relay, late=(2, 4, 8))


def _random(seed: int) -> Case:
    """Two programs, an export and a relay that contradict themselves and each other."""
    rng = random.Random(seed)
    ids = [f"{n + 1:016x}" for n in range(rng.randrange(3, 14))]
    told = [_one(rng, ids) for _ in range(rng.randrange(20, 90))]
    facts: Facts = []
    for seq, event in enumerate(told, 1):
        relay = isinstance(event, ProducerStarted | ProducerLost | ProducerReturned | ProducerEnded)
        facts.append(Told(event, RELAY if relay else rng.choice(["alpha", "beta", OTLP]), seq))
    late = tuple(sorted(rng.randrange(len(facts) + 1) for _ in range(3)))
    return Case(f"random_{seed:02}", facts, late=late)


def _one(rng: random.Random, ids: list[str]) -> Event:
    span_id, at = rng.choice(ids), rng.randrange(25)
    name = rng.choice(["", "search", "plan", "call"])
    some = {rng.choice(["k", "key.b", "user.id"]): rng.choice([1, "x", None, 1.5, [1, {"a": 2}]])}
    links = (Link("2" * 32, rng.choice(ids), some),) if rng.random() < 0.2 else ()
    marks = {rng.choice(["k", "@name"]): rng.choice(["cut", "redacted"])}
    match rng.randrange(18):
        case 0 | 1 | 2 | 3 | 4 | 5:
            parent = rng.choice([None, *ids])
            kind = rng.choice([None, "llm", "tool"])
            remote = rng.random() < 0.2
            return SpanStarted(TRACE, span_id, at, name, parent, kind, some, links, remote, marks)
        case 6 | 7 | 8:
            status: Any = rng.choice(["ok", "error", "cancelled", "abandoned"])
            error = ErrorInfo("OSError", name) if status == "error" else None
            return SpanEnded(TRACE, span_id, at, status, error, rng.choice([None, name]))
        case 9:
            return AttributeSet(TRACE, span_id, at, "k", rng.randrange(9), marks)
        case 10:
            return AttributesSet(TRACE, span_id, at, some, marks)
        case 11:
            return EventAdded(TRACE, span_id, at, name, some)
        case 12:
            return TextStreamed(TRACE, span_id, at, "output", rng.randrange(4), name)
        case 13:
            return SpanUpdated(TRACE, span_id, at, rng.choice([None, name]), links)
        case 14:
            count = rng.randrange(1, 9)
            return EventsLost(at, "queue_full", count, by_trace={TRACE: count})
        case 15:
            return ProducerStarted(at, rng.choice(["alpha", "beta"]), rng.choice(["", "api"]))
        case 16:
            return ProducerLost(at, rng.choice(["alpha", "beta"]), 9, rng.randrange(25))
        case _:
            kind_of: Any = rng.choice([ProducerReturned, lambda t, p: ProducerEnded(t, p, 9)])
            return kind_of(at, rng.choice(["alpha", "beta"]))
