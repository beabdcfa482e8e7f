"""Bounds on bytes that are not decoded yet."""

import time
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lumina_stream.model import limits
from lumina_stream.model.errors import RemoteProtocolError
from lumina_stream.protocol import guards

values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.binary(max_size=40),
        st.text(max_size=40),
        st.builds(msgspec.msgpack.Ext, st.integers(0, 127), st.binary(max_size=20)),
        st.lists(st.just(0), min_size=14, max_size=18),
        st.integers(250, 260).map(lambda n: b"x" * n),
        st.integers(65_534, 65_537).map(lambda n: "x" * n),
    ),
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=4), inner, max_size=18)
    ),
    max_leaves=30,
)


def count(value: Any) -> tuple[int, int]:
    """Return (containers, depth), the slow way."""
    if not isinstance(value, dict | list):
        return (0, 0)
    inside = [count(v) for v in (value.values() if isinstance(value, dict) else value)]
    return (1 + sum(c for c, _ in inside), 1 + max((d for _, d in inside), default=0))


@given(values)
def test_a_scan_counts_what_decoding_would_build(value: Any) -> None:
    """Containers and depth, at every header width; the quick bound is never below."""
    data = msgspec.msgpack.encode(value)
    assert guards.scan(data) == count(value)
    assert guards.container_bound(data) >= count(value)[0]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 8, 16, 17, 255, 256, 65_535, 65_536])
def test_every_width_of_length_is_read_right(size: int) -> None:
    """What follows a string, a binary or an extension is found where it is."""
    for value in (b"\x80" * size, "x" * size, msgspec.msgpack.Ext(5, b"\x80" * size)):
        data = msgspec.msgpack.encode([value, {}])
        assert guards.scan(data) == (2, 2)
        with pytest.raises(RemoteProtocolError):
            guards.scan(data[:-1])


@given(values, st.integers(0, 10**6), st.binary(max_size=3))
def test_a_scan_accepts_nothing_that_claims_more_than_there_is(
    value: Any, at: int, put: bytes
) -> None:
    """Cut anywhere, it raises; changed anywhere, it agrees with the decoder on what is whole."""
    data = msgspec.msgpack.encode(value)
    at %= len(data)
    with pytest.raises(RemoteProtocolError):
        guards.scan(data[:at])
    check_against_decoder(data[:at] + put + data[at + len(put) :])


@given(st.binary(max_size=60))
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\x80\x00\x00\x00\xc0")
@example(b"\xc9\xff\xff\xff\xff\x01")
@example(b"\xdc\x00")
@example(b"\xd9")
def test_a_scan_of_any_bytes_agrees_with_the_decoder(data: bytes) -> None:
    """It never accepts what the decoder finds truncated, nor refuses what it accepts."""
    check_against_decoder(data)


def check_against_decoder(data: bytes) -> None:
    try:
        scanned = guards.scan(data)
    except RemoteProtocolError:
        scanned = None
    try:
        decoded = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
        if "truncated" in str(error):
            assert scanned is None
        return
    assert scanned is not None
    if not any(byte in data for byte in (b"\x80", b"\x90")) and isinstance(decoded, list):
        assert scanned[0] <= guards.container_bound(data)


def test_a_frame_that_is_too_large_or_too_full_is_refused() -> None:
    """With 1009, before anything is built."""
    with pytest.raises(RemoteProtocolError) as large:
        guards.check_frame(bytes(limits.FRAME_BYTES * 2 + 1))
    assert large.value.code == 1009
    full = msgspec.msgpack.encode([{}] * limits.FRAME_CONTAINERS)
    with pytest.raises(RemoteProtocolError) as refused:
        guards.check_frame(full)
    assert refused.value.code == 1009
    guards.check_frame(msgspec.msgpack.encode([{}] * (limits.FRAME_CONTAINERS - 1)))


def test_text_that_looks_like_containers_is_let_through() -> None:
    """The quick bound counts bytes of text; the exact scan does not."""
    text = msgspec.msgpack.encode([b"\x80" * 100_000])
    assert guards.container_bound(text) > limits.FRAME_CONTAINERS
    guards.check_frame(text)


@pytest.mark.parametrize("wide", [bytes, lambda data: data.decode("latin-1")])
def test_json_is_counted_outside_of_strings(wide: Any) -> None:
    """Streamed code is full of brackets; a frame of it is no attack."""
    text = b'["' + b'{[\\"' * limits.FRAME_CONTAINERS + b'"]'
    guards.check_json(wide(text))
    for bomb in (b"[" + b"{}," * limits.FRAME_CONTAINERS + b"{}]", b'"x\\"",' + b"[" * 20_000):
        with pytest.raises(RemoteProtocolError) as refused:
            guards.check_json(wide(bomb))
        assert refused.value.code == 1009
    with pytest.raises(RemoteProtocolError) as large:
        guards.check_json(wide(b" " * (limits.FRAME_BYTES * 4 + 1)))
    assert large.value.code == 1009


@given(values.map(lambda v: msgspec.json.encode(v, enc_hook=str)))
def test_json_outside_of_strings_is_counted_exactly(data: bytes) -> None:
    """The pattern agrees with the parser."""
    bare = guards._JSON_STRING_BYTES.sub(b"", data)  # pyright: ignore[reportPrivateUsage]
    assert guards.json_containers(bare) == count(msgspec.json.decode(data))[0]


def test_unclosed_strings_are_read_once() -> None:
    """A pattern that tried again from every quote would need minutes of processor time."""
    began = time.process_time()
    guards.check_json('"' + '\\"[' * 300_000)
    guards.check_json(b'"' + b'[\\"' * 300_000 + b"\\")
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\xdd\x00\x07\xa1\x20" * 20_000 + b"\x80" * 300_000,
    ],
)
def test_row_13_nothing_is_allocated_in_proportion_to_a_claim(data: bytes) -> None:
    """Neither when scanning nor when checking a frame."""
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            guards.scan(data)
        assert tracemalloc.get_traced_memory()[1] < 16 * limits.MIB
    finally:
        tracemalloc.stop()


def test_row_13_an_event_that_nests_too_deep_is_found() -> None:
    """Text is not mistaken for depth, and what cannot be scanned is too deep."""
    assert not guards.is_too_deep(b"\x91" * limits.FRAME_DEPTH + b"\xc0")
    assert guards.is_too_deep(b"\x91" * (limits.FRAME_DEPTH + 1) + b"\xc0")
    # Exactly at the limit, and full of bytes that look like more.
    assert not guards.is_too_deep(b"\x91" * limits.FRAME_DEPTH + b"\xc4\x40" + b"\x91" * 64)
    assert not guards.is_too_deep(msgspec.msgpack.encode(["\u0110" * 100, b"\x91" * 100]))
    assert guards.is_too_deep(b"\x91" * 100)
