"""Events to bytes and back, whatever the values and whatever the bytes."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.generate import fates, losses, span_events

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import (
    AttributeSet,
    Event,
    Fact,
    Link,
    ProducerStarted,
    SpanStarted,
    UnknownEvent,
)

T, S = "a" * 32, "b" * 16
NOW = 1_790_000_000_123_456_789

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.binary(max_size=20),
    st.text(max_size=20),
    st.sampled_from(["!int 5", "!int x", "!float nan", "!bytes aGk=", "!str ", "!str !int 5", "!"]),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
value_maps = st.dictionaries(st.text(max_size=8), values, max_size=3)
events = st.one_of(
    span_events,
    losses,
    fates,
    st.builds(AttributeSet, st.just(T), st.just(S), st.just(NOW), st.text(max_size=8), values),
    st.builds(
        SpanStarted,
        st.just(T),
        st.just(S),
        st.just(NOW),
        st.text(max_size=8),
        attributes=value_maps,
        links=st.lists(
            st.builds(Link, st.text(max_size=8), st.just(S), value_maps), max_size=2
        ).map(tuple),
    ),
    st.builds(ProducerStarted, st.just(NOW), st.just("p"), st.text(max_size=8), value_maps),
)


def same(left: Any, right: Any) -> bool:
    """Equal, NaN to NaN, 1 not to True, -0.0 not to 0.0."""
    if isinstance(left, msgspec.Struct):
        fields = type(left).__struct_fields__
        return type(left) is type(right) and all(
            same(getattr(left, f), getattr(right, f)) for f in fields
        )
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return type(left) is type(right) and left == right


@given(events)
def test_messagepack_gives_the_event_back(event: Event) -> None:
    """The wire form keeps every value."""
    assert same(codec.decode(codec.encode(event)), event)


@given(events)
@example(AttributeSet(T, S, NOW, "k", b"hi"))
@example(SpanStarted(T, S, NOW, "!int 5", attributes={"k": [float("nan"), 2**60, b""]}))
@example(SpanStarted(T, S, NOW, "n", links=(Link("!int 5", S, {"k": 2**60}),)))
def test_json_gives_the_event_back(event: Event) -> None:
    """What JSON cannot carry goes as tagged strings, and comes back as it was."""
    data = codec.encode_json(event)
    assert same(codec.decode_json(data), event)
    assert same(codec.decode_json(data.decode()), event)


@given(value_maps)
def test_json_gives_an_event_of_an_unknown_type_back(fields: dict[str, Any]) -> None:
    """A newer producer's event passes through a JSON hop with all that it says."""
    whole = {**fields, "type": "span_paused", "trace_id": T, "span_id": S, "time_ns": NOW}
    event = codec.decode(codec.encode(whole))
    assert isinstance(event, UnknownEvent) and event.time_ns == NOW
    back = codec.decode_json(codec.encode_json(event))
    assert isinstance(back, UnknownEvent)
    assert (back.type, back.trace_id, back.span_id, back.time_ns) == ("span_paused", T, S, NOW)
    assert same(msgspec.msgpack.decode(back.raw), whole)


def test_json_keeps_times_as_numbers_and_tags_what_it_must() -> None:
    """The spellings that browsers and `tail --json` see."""
    event = AttributeSet(T, S, NOW, "k", [2**53 + 1, 2**53, float("inf"), b"hi", "!int 5", "plain"])
    plain = codec.plain(event)
    assert plain["type"] == "attribute_set" and plain["time_ns"] == NOW
    assert plain["value"] == [
        "!int 9007199254740993",
        2**53,
        "!float inf",
        "!bytes aGk=",
        "!str !int 5",
        "plain",
    ]


def test_values_of_other_makes_become_plain_json() -> None:
    """Extension types, timestamps and maps with odd keys: shown, never a crash."""
    odd = {1: b"x", (1, 2): "y"}
    ext = msgspec.msgpack.Ext(5, b"x")
    for value in (odd, ext, [ext], {"k": odd}):
        raw = codec.encode(
            {
                "type": "attribute_set",
                "trace_id": T,
                "span_id": S,
                "time_ns": 1,
                "key": "k",
                "value": value,
            }
        )
        assert isinstance(codec.decode_json(codec.encode_json(codec.decode(raw))), AttributeSet)
    stamped = codec.encode({"type": "newer", "time_ns": 1, "at": msgspec.msgpack.Ext(-1, bytes(4))})
    assert codec.plain(codec.decode(stamped))["at"].startswith("1970-01-01")


def test_a_fact_is_one_flat_object_that_no_event_can_forge() -> None:
    """`type, offset, producer_id, seq, service`, then the fact's own fields."""
    raw = codec.encode({"type": "newer", "offset": 99, "producer_id": "evil", "seq": 0, "x": 1})
    fact = Fact(7, "p", 3, "api", codec.decode(raw))
    assert list(codec.plain_fact(fact).items()) == [
        ("type", "newer"),
        ("offset", 7),
        ("producer_id", "p"),
        ("seq", 3),
        ("service", "api"),
        ("x", 1),
    ]
    assert msgspec.json.decode(codec.encode_fact_json(fact)) == codec.plain_fact(fact)


def test_unknown_types_come_raw_and_bad_events_raise() -> None:
    """What is not known is kept; what is known and wrong is refused."""
    raw = codec.encode({"type": "span_paused", "trace_id": T, "why": [1]})
    event = codec.decode(raw)
    assert event == UnknownEvent("span_paused", raw, T)
    for bad in (b"", b"\xc0", codec.encode({"type": "span_ended"}), codec.encode({"a": 1})):
        with pytest.raises(DecodeError):
            codec.decode(bad)


def test_one_bad_event_never_takes_its_neighbours_with_it() -> None:
    """None stands for one that cannot be read."""
    good = AttributeSet(T, S, 1, "k", "v")
    raws = [codec.encode(good), codec.encode({"type": "attribute_set"}), codec.encode(good)]
    assert codec.decode_array(codec.join_array(raws)) == [good, None, good]
    assert [bytes(r) for r in codec.split_array(codec.join_array(raws))] == raws
    assert codec.decode_array(codec.join_array(raws[:1])) == [good]
    with pytest.raises(DecodeError):
        codec.decode_array(raws[0])


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536, 2**32 - 1])
def test_array_headers_say_how_many(count: int) -> None:
    """Header and length are inverses, at every width."""
    assert codec.array_length(codec.array_header(count)) == count
    if count < 70_000:
        assert codec.array_header(count) == codec.encode([0] * count)[: -count or None]


@given(st.binary(max_size=8))
def test_array_length_refuses_what_is_no_array(data: bytes) -> None:
    """And agrees with the decoder where it is one."""
    try:
        length = codec.array_length(data)
    except DecodeError:
        length = -1
    try:
        decoded = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert length == (len(decoded) if isinstance(decoded, list) else -1)


hostile = st.one_of(
    st.binary(max_size=80),
    st.tuples(events, st.integers(0, 200), st.binary(max_size=4)).map(
        lambda t: (
            (raw := codec.encode(t[0]))[: t[1] % (len(raw) + 1)]
            + t[2]
            + raw[t[1] % (len(raw) + 1) + len(t[2]) :]
        )
    ),
)


@given(hostile)
def test_hostile_bytes_raise_nothing_but_decode_error(data: bytes) -> None:
    """Cut, flipped or made up; and what decodes can be shown as JSON."""
    for decode in (codec.decode, codec.decode_array, codec.split_array, codec.decode_json):
        try:
            found = decode(data)
        except DecodeError:
            continue
        if decode is codec.decode:
            codec.encode_json(found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        '{"type":"attribute_set","value":' + "[" * 100_000,
        '{"type":"attribute_set","trace_id":"t","span_id":"s","time_ns":1,"key":"k","value":%s}'
        % ("[" * 600 + "]" * 600),
        '{"type":"newer","x":%s}' % ("[" * 600 + "]" * 600),
        '{"type":"newer","x":"!int %s"}' % ("9" * 30),
        '{"type":"newer","x":1%s}' % ("0" * 30),
        '{"type":"newer","x":"\\ud800"}',
        '{"type":"newer"} x',
        '"\ud800"',
        '{"type":"newer","time_ns":1e400}',
        "[]",
        '{"type":"attribute_set"}',
    ],
)
def test_hostile_json_raises_nothing_but_decode_error(text: str) -> None:
    """Depth, huge integers, lone surrogates."""
    with pytest.raises(DecodeError):
        codec.decode_json(text)


@pytest.mark.parametrize("depth", [10, 10_000, 1_000_000])
def test_depth_ends_in_decode_error(depth: int) -> None:
    """In a value, in a field that is not known, in an event that is not known."""
    nest = b"\x91" * depth + b"\xc0"
    known = codec.encode(
        {"type": "attribute_set", "trace_id": T, "span_id": S, "time_ns": 1, "key": "k"}
    )
    for raw in (
        bytes([known[0] + 1]) + known[1:] + b"\xa5value" + nest,
        bytes([known[0] + 2]) + known[1:] + b"\xa5value\x01\xa3new" + nest,
        b"\x82\xa4type\xa5newer\xa1x" + nest,
    ):
        if depth < 100:
            codec.decode(raw)
        else:
            with pytest.raises(DecodeError):
                codec.decode(raw)


@pytest.mark.parametrize("text", ["!int x", "!float x", "!bytes ?", "!int " + "9" * 5_000])
def test_a_malformed_tag_stays_the_string_that_it_is(text: str) -> None:
    """Nothing raises over a string that only looks like a tag."""
    assert codec.untag(text) == text
