"""What a program put into names and values must not act on a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.viewing.text import (
    carried,
    cells,
    clip,
    clip_start,
    duration,
    escape,
    parse_seconds,
    ticking,
    tokens,
)

MS, S = 10**6, 10**9


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain name", "plain name"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]8;;http://evil\x07link", "\\x1b]8;;http://evil\\x07link"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("del\x7f", "del\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066isolate\u2069", "\\u2066isolate\\u2069"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028break", "line\\u2028break"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("half \ud800", "half \\ud800"),
        ("👨\u200d👩\u200d👧 🏴\u200d☠\ufe0f", "👨\u200d👩\u200d👧 🏴\u200d☠\ufe0f"),
        (
            "❤\ufe0f\u200d🔥 a\u200db \u200d🔥 🔥\u200d",
            "❤\ufe0f\u200d🔥 a\\u200db \\u200d🔥 🔥\\u200d",
        ),
        ("🔥\u202e🔥", "🔥\\u202e🔥"),
        ("naïve 检索 ✓ 🔥", "naïve 检索 ✓ 🔥"),
    ],
)
def test_escape(hostile: str, shown: str) -> None:
    """Controls, bidi overrides and invisible characters become visible; words stay words."""
    assert escape(hostile) == shown


@given(st.text(st.characters()))
def test_row_19_escape_leaves_nothing_that_acts(text: str) -> None:
    """Nothing that a terminal acts on is left of any text."""
    shown = escape(text)
    assert not {unicodedata.category(c) for c in shown if c != "\u200d"} & {
        "Cc",
        "Cf",
        "Cs",
        "Zl",
        "Zp",
    }
    shown.encode()


@given(st.text(max_size=200), st.integers(0, 60))
def test_clip_fits(text: str, width: int) -> None:
    """A clipped text is never wider than it may be, from either end, however its marks pile up."""
    shown = escape(text)
    for clipped in (clip(shown, width), clip_start(shown, width)):
        assert cells(clipped) <= width
        assert len(clipped) <= 4 * width
    if len(shown) <= width and shown.isascii():
        assert clip(shown, width) == shown


def test_clip() -> None:
    """The end gives way to an ellipsis, or the start where the end matters."""
    assert clip("retrieval", 5) == "retr…"
    assert clip_start("retrieval", 5) == "…eval"
    assert clip("检索结果", 5) == "检索…"


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_500, "1.50 µs"),
        (999_600, "1.00 ms"),
        (12_345 * 1000, "12.3 ms"),
        (812 * MS, "812 ms"),
        (999_700_000, "1.00 s"),
        (1_240 * MS, "1.24 s"),
        (59_940 * MS, "59.9 s"),
        (59_960 * MS, "1 m 00 s"),
        (123 * S, "2 m 03 s"),
        (3_599 * S, "59 m 59 s"),
        (7_500 * S, "2 h 05 m"),
        (90_000 * S, "1 d 01 h"),
        (-5, "0 ns"),
    ],
)
def test_duration(ns: int, text: str) -> None:
    """Three significant digits, units attached."""
    assert duration(ns) == text


def test_carried() -> None:
    """What an encoding has no letter for becomes plain; what it has stays."""
    assert carried("12 µs…", "utf-8") == carried("12 µs…", None) == "12 µs…"
    assert carried("12 µs… é ✓", "ascii") == "12 us~ \\xe9 \\u2713"


def test_ticking_and_tokens() -> None:
    """What still runs ticks in steps that an eye can follow; tokens are short."""
    assert [ticking(n) for n in (-1, 5 * MS, 97_900_000, 1_290 * MS, 61 * S)] == [
        "0 ms", "5 ms", "97 ms", "1.2 s", "1 m 01 s",
    ]  # fmt: skip
    assert [tokens(n) for n in (0, 812, 1_240, 34_400, 1_200_000)] == [
        "0", "812", "1.2k", "34k", "1.2M",
    ]  # fmt: skip


def test_parse_seconds() -> None:
    """Time spans come as numbers and as people write them; others are refused by name."""
    assert [parse_seconds(v) for v in (90, "90", "10m", "1h30m", "500ms")] == [
        90, 90, 600, 5400, 0.5,
    ]  # fmt: skip
    for wrong in ("soon", "", "10 parsecs", -1, float("nan")):
        with pytest.raises(ConfigurationError, match="no time span"):
            parse_seconds(wrong)
