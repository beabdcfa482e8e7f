"""Any value becomes plain data, marked where it was changed, and nothing raises or walks without end."""

import datetime
import enum
import math
from collections import OrderedDict, UserDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorded import Recorded

import lumina_stream as lumina
from lumina_stream.model import codec
from lumina_stream.model.limits import Limits
from lumina_stream.recording.values import UNPLAIN, Cleaner


def clean(value: Any, **limits: int) -> tuple[Any, dict[str, str]]:
    cleaner = Cleaner(Limits(**limits))
    return cleaner.clean(value, "k"), cleaner.marks


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not these"


class Number(int):
    pass


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Mood(enum.StrEnum):
    GOOD = "good"


@dataclass
class Point:
    x: int
    tags: list[str] = field(default_factory=list)


class Row(msgspec.Struct):
    a: int
    b: str = "b"


class Attrs:
    """As attrs writes it."""

    class _Attribute:
        def __init__(self, name: str) -> None:
            self.name = name

    __attrs_attrs__ = (_Attribute("x"), _Attribute("bad"))

    def __init__(self) -> None:
        self.x = 1

    @property
    def bad(self) -> int:
        raise RuntimeError


class Array:
    """As numpy has it, with a shape that says more than its numbers."""

    shape, dtype, ndim = (1000, 1000), "float64", 2

    @property
    def flat(self) -> Any:
        class Flat:
            def __getitem__(self, part: slice) -> Any:
                assert part.stop <= 16
                return type("Head", (), {"tolist": lambda _: [0.0]})()

        return Flat()

    def tolist(self) -> Any:
        raise AssertionError("a million numbers")

    ravel = tolist


class Scalar:
    ndim = 0

    def item(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("value", "plain", "mark"),
    [
        (Text("these"), "these", "Text"),
        (Number(5), 5, "Number"),
        (OrderedDict(a=1), {"a": 1}, "OrderedDict"),
        (UserDict(a=1), {"a": 1}, "UserDict"),
        ((1, 2), [1, 2], "tuple"),
        ({1}, [1], "set"),
        (frozenset([1]), [1], "frozenset"),
        (b"abc", "YWJj", "bytes:3"),
        (bytearray(b"abc"), "YWJj", "bytes:3"),
        (memoryview(b"abc"), "YWJj", "bytes:3"),
        (math.nan, "nan", "float"),
        (-math.inf, "-inf", "float"),
        (2**70, str(2**70), "int"),
        (-(2**63) - 1, str(-(2**63) - 1), "int"),
        (2**100_000, "<int of 100001 bits>", "int"),
        (Color.RED, "Color.RED", "Color"),
        (Level.HIGH, 3, "Level"),
        (Mood.GOOD, "good", "Mood"),
        (Point(1, ["a"]), {"x": 1, "tags": ["a"]}, "Point"),
        (Row(1), {"a": 1, "b": "b"}, "Row"),
        (Attrs(), {"x": 1, "bad": "<RuntimeError while reading it>"}, "Attrs"),
        (datetime.date(2026, 1, 2), "2026-01-02", "date"),
        (datetime.timedelta(1), "1 day, 0:00:00", "timedelta"),
        (Decimal("1.5"), "1.5", "Decimal"),
        (PurePosixPath("/a"), "/a", "PurePosixPath"),
        (1j, "1j", "complex"),
        (range(10**9), "range(0, 1000000000)", "range"),
        (int, "<class 'int'>", "type"),
        (Array(), {"shape": [1000, 1000], "dtype": "float64", "head": [0.0]}, "Array"),
        (Scalar(), 7, "Scalar"),
        ("a\ud800b", r"a\ud800b", "str with lone surrogates"),
        ({1: 2, None: 3}, {"1": 2, "None": 3}, "keys"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_conversions(value: Any, plain: Any, mark: str) -> None:
    got, marks = clean(value)
    assert got == plain
    assert type(got) in (str, int, float, bool, list, dict)
    assert marks["k"].startswith("converted:")
    assert marks["k"].endswith(mark)
    codec.encode(got)


def test_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    assert clean(numpy.float64(1.5))[0] == 1.5
    assert clean(numpy.int64(5))[0] == 5
    assert clean(numpy.bool_(True))[0] is True
    assert clean(numpy.array(5))[0] == 5
    assert clean(numpy.str_("x"))[0] == "x"
    assert clean(numpy.float32("nan"))[0] == "nan"
    got, marks = clean(numpy.zeros((1000, 1000)).T)
    assert got == {"shape": [1000, 1000], "dtype": "float64", "head": [0.0] * 16}
    assert marks["k"] == "converted:numpy.ndarray"


@pytest.mark.parametrize("value", [None, True, 0, -1, 1.5, "", "é", [1, ["x"]], {"a": {"b": None}}])
def test_plain_values_pass_unmarked(value: Any) -> None:
    assert clean(value) == (value, {})


def test_an_object_is_not_asked_for_what_its_type_does_not_have() -> None:
    """A proxy may answer to any name, with a call over the network."""

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

        def __str__(self) -> str:
            return "proxy"

    assert clean(Proxy())[0] == "proxy"


@pytest.mark.parametrize(
    "method", ["__repr__", "__str__", "__len__", "__iter__", "__hash__", "__eq__", "__bool__"]
)
@pytest.mark.parametrize("base", [object, str, int, float, list, dict, tuple, bytes])
def test_a_value_whose_own_code_raises(recorded: Recorded, method: str, base: type) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("own code")

    bad = type("Bad", (base,), {method: fail})()
    with lumina.trace("span", bad=bad) as span:
        span.set_attribute("k", bad).set_attribute("k", bad).set_attribute("nested", [bad, 1])
        span.add_event("event", k=bad)
    node = recorded.one("span")
    assert node.state == "ok"
    assert set(node.attributes) == {"bad", "k", "nested"}
    assert node.attribute_marks()["k"]
    assert node.attributes["nested"][1] == 1


def test_row_14_a_100_mb_attribute_is_cut_before_it_is_copied(recorded: Recorded) -> None:
    text, data = "x" * 100_000_000, bytes(100_000_000)
    with lumina.trace("span", start=text) as span:
        span.set_attribute("text", text).set_attribute("data", data).set_attribute("in", [text])
        span.add_event(text, k=text).update_name(text[:5000])
    node = recorded.one("x" * 1024)
    assert {len(str(value)) for key, value in node.attributes.items() if key != "in"} == {8192}
    assert node.attribute_marks()["text"] == "cut:100000000"
    assert node.attribute_marks()["start"] == "cut:100000000"
    assert node.attribute_marks()["data"] == "converted:bytes:100000000"
    assert node.attribute_marks()["in[0]"] == "cut:100000000"
    (event,) = node.event_list()
    assert len(event.name) == 1024


def test_lone_surrogates_everywhere(recorded: Recorded) -> None:
    bad = "a\ud800"
    with pytest.raises(ValueError), lumina.trace(bad, kind=bad, **{bad: bad}) as span:
        span.set_attribute("k", bad).set_attribute("k", bad).set_attribute(bad, 1)
        span.set_attributes({bad: {bad: bad}}).add_event(bad, **{bad: bad})
        raise ValueError(bad)
    with lumina.trace("status") as span:
        span.set_status("error", bad).update_name(bad + "2")
    node = recorded.one(r"a\ud800")
    assert node.kind == r"a\ud800"
    assert node.attributes == {"k": r"a\ud800", r"a\ud800": {r"a\ud800": r"a\ud800"}}
    assert node.event_list()[0].name == r"a\ud800"
    assert recorded.error(r"a\ud800").message == r"a\ud800"
    assert recorded.error(r"a\ud8002").message == r"a\ud800"
    assert lumina.statistics().lost == 0


def test_bad_utf8_read_as_a_program_reads_it(recorded: Recorded) -> None:
    name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    with lumina.trace("span", file=name):
        pass
    assert recorded.attributes("span") == {"file": r"caf\udce9.txt"}


def test_cycles() -> None:
    a: list[Any] = [1]
    a.append(a)
    b: dict[str, Any] = {"a": a}
    b["b"] = b
    shared = [1]
    got, marks = clean({"b": b, "twice": [shared, shared]})
    assert got == {
        "b": {"a": [1, "<cycle>"], "b": "<cycle>"},
        "twice": [[1], [1]],
    }
    assert marks == {"k.b.a[1]": "converted:cycle", "k.b.b": "converted:cycle"}


def test_depth() -> None:
    value: Any = "deep"
    for _ in range(100_000):
        value = [value]
    got, marks = clean(value)
    depth = 0
    while isinstance(got, list):
        (got,), depth = got, depth + 1
    assert (got, depth) == ("…", 16)
    assert list(marks.values()) == ["cut:deeper than 16"]
    while isinstance(value, list):  # freed a level at a time
        value = value[0]


def test_a_list_of_a_million_is_not_walked() -> None:
    class Counted(list[int]):
        read = 0

        def __iter__(self) -> Iterator[int]:
            for item in super().__iter__():
                Counted.read += 1
                yield item

    value = Counted(range(1_000_000))
    got, marks = clean(value)
    assert got == list(range(1000))
    assert marks["k"] == "cut:1000000"
    assert Counted.read <= 1001
    assert len(clean({"a": list(range(600)), "b": list(range(600))})[0]["b"]) < 600


def test_a_container_without_end() -> None:
    class Endless(dict[str, int]):
        def items(self) -> Any:
            n = 0
            while True:
                yield str(n), n
                n += 1

    assert len(clean(Endless())[0]) == 1000


def test_a_map_that_doubles_at_every_level_is_walked_within_one_budget() -> None:
    value: Any = [1]
    for _ in range(12):
        value = [value] * 10
    cleaner = Cleaner(Limits())
    cleaner.clean(value, "k")
    assert len(cleaner.marks) <= 1100


def test_keys() -> None:
    cleaner = Cleaner(Limits())
    assert cleaner.key("k" * 1000) == "k" * 256
    assert cleaner.key(5) == "5"
    assert cleaner.key(Text("these")) == "these"
    assert cleaner.key("\udcff") == r"\udcff"


anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.dates()
    | st.decimals()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=())) | st.integers(), inner)
    ),
    max_leaves=15,
)


@given(anything)
def test_row_14_anything_becomes_data_that_can_be_encoded_and_read_back(value: Any) -> None:
    got, _ = clean(value, string_length=20, elements=30, depth=4)
    assert msgspec.msgpack.decode(codec.encode(got)) == got
    assert clean(got, string_length=200, elements=60, depth=5)[0] == got


@given(anything)
def test_what_is_copied_quickly_is_what_cleaning_makes_of_it(value: Any) -> None:
    """The quick way takes only what the careful way would leave as it is, and shares nothing with it."""
    limits = Limits(string_length=20, elements=30, depth=4)
    passing = {key: True for key in _keys(value) if type(key) is str and key != "secret"}
    copied = Cleaner(limits).copy(value, passing)
    cleaner = Cleaner(limits)
    cleaned = cleaner.clean(value, "")
    is_plain = type(value) in (list, dict) and set(_keys(value)) <= set(passing)
    if copied is UNPLAIN:
        assert not is_plain or cleaner.marks
    else:
        assert (copied, cleaner.marks) == (cleaned, {})
        assert is_plain
        assert not _containers(copied) & _containers(value)


def _keys(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _keys(inner)


def _containers(value: Any) -> set[int]:
    if not isinstance(value, dict | list):
        return set()
    inner = value.values() if isinstance(value, dict) else value
    return {id(value)}.union(*map(_containers, inner))


def test_a_quick_copy_counts_its_elements() -> None:
    """Else every attribute of a call would have a budget of its own."""
    cleaner = Cleaner(Limits(elements=5))
    assert cleaner.copy([1, 2, 3], {}) == [1, 2, 3]
    assert cleaner.copy([1, 2, 3], {}) is UNPLAIN
    assert cleaner.copy([1, 2], {}) == [1, 2]


def test_a_quick_copy_ends_where_the_depth_does() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert Cleaner(Limits()).copy(loop, {}) is UNPLAIN
    assert Cleaner(Limits(depth=2)).copy([[]], {}) == [[]]
    assert Cleaner(Limits(depth=2)).copy([[[]]], {}) is UNPLAIN


def test_a_span_as_a_value_is_its_name_for_people(recorded: Recorded) -> None:
    """Not its fields: those are ours."""
    with lumina.trace("span") as span:
        span.set_attribute("other", span)
    assert recorded.attributes("span")["other"] == repr(span)
