"""Words for screens: hostile text made visible, durations, counts, and widths in terminal cells."""

import re
import unicodedata
from datetime import timedelta
from decimal import Decimal

from lumina_stream.model.errors import ConfigurationError

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Cc: C0, DEL and C1 with ESC, CSI and OSC. Cf: bidi overrides and isolates, zero-width and tag characters.
# Cs: lone surrogates. Zl, Zp: line breaks in disguise. Cn, Co: drawn as anything or nothing.
_HOSTILE = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})

_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"


def escape(text: str) -> str:
    """Return `text` with every character that a terminal acts on, or does not show, as `\\x..`.

    Everything that a program put in a name or value passes here before it reaches a terminal.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _visible(char)
        if unicodedata.category(char) in _HOSTILE and not _joins_emoji(text, place)
        else char
        for place, char in enumerate(text)
    )


def _joins_emoji(text: str, place: int) -> bool:
    """Tell whether a zero-width joiner makes one picture of two, as in a family or a flag."""
    return (
        text[place] == _JOINER
        and 0 < place < len(text) - 1
        and (text[place - 1] == _EMOJI_STYLE or _is_symbol(text[place - 1]))
        and _is_symbol(text[place + 1])
    )


def _is_symbol(char: str) -> bool:
    return char > "\u2000" and unicodedata.category(char) in ("So", "Sk")


def _visible(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cells(text: str) -> int:
    """Return how many terminal columns escaped text takes: wide characters two, marks none."""
    if text.isascii():
        return len(text)
    return sum(map(_cell, text))


def _cell(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, width: int) -> str:
    """Return `text` in at most `width` columns, its end replaced by an ellipsis if it is longer."""
    if len(text) <= width and text.isascii():
        return text
    # A run of combining marks has no width: without a bound on characters one name could hold a megabyte.
    if cells(text[: 4 * width + 1]) <= width and len(text) <= 4 * width:
        return text
    kept: list[str] = []
    room = width - 1
    for char in text[: 4 * width]:
        room -= _cell(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + "…" if width > 0 else ""


def clip_start(text: str, width: int) -> str:
    """Return `text` in at most `width` columns, its start replaced by an ellipsis if it is longer."""
    tail = text[-4 * width :] if width > 0 else ""
    if len(tail) == len(text) and cells(text) <= width:
        return text
    return clip(tail[::-1], width)[::-1]


def duration(ns: int) -> str:
    """Return a duration in three significant digits with its unit: `812 ms`, `1.24 s`, `2 m 03 s`."""
    us = max(0, ns) / 1_000
    if us < 1:
        return f"{max(0, ns)} ns"
    if us < 999.5:
        return f"{_three(us)} µs"
    if us < 999_500:
        return f"{_three(us / 1_000)} ms"
    if us < 59_950_000:
        return f"{_three(us / 1_000_000)} s"
    seconds = round(us / 1_000_000)
    if seconds < 3600:
        return f"{seconds // 60} m {seconds % 60:02d} s"
    minutes = seconds // 60
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} m"
    hours = minutes // 60
    return f"{hours // 24} d {hours % 24:02d} h"


def carried(text: str, encoding: str | None) -> str:
    """Return text as an output encoding can carry it: `us` for `µs`, escapes for what has no letters."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.replace("µs", "us").replace("…", "~")
        return plain.encode(encoding, "backslashreplace").decode(encoding)
    return text


def _three(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def ticking(ns: int) -> str:
    """Return the duration of something that runs: a tenth of a second is all that an eye can follow."""
    if ns < 1_000_000_000:
        return f"{max(0, ns) // 1_000_000} ms"
    return f"{ns // 100_000_000 / 10:.1f} s" if ns < 60_000_000_000 else duration(ns)


def count(number: int) -> str:
    """Return a whole number as people read it: `1,204`."""
    return f"{number:,}"


def tokens(number: int) -> str:
    """Return a number of tokens, short: `812`, `1.2k`, `34k`, `1.2M`."""
    if number < 1_000:
        return str(number)
    if number < 999_500:
        return f"{number / 1000:.1f}k" if number < 9_950 else f"{number / 1000:.0f}k"
    return f"{number / 1_000_000:.1f}M"


def dollars(amount: Decimal) -> str:
    """Return an amount of dollars: cents, or three figures of what is less."""
    if not amount or amount >= 1:
        return f"${amount:,.2f}"
    places = max(2, 2 - amount.adjusted())
    return f"${amount:.{places}f}"


def parse_seconds(value: float | timedelta | str) -> float:
    """Return seconds from a number, a timedelta, or text such as `90`, `10m`, `1h30m`.

    Raises `ConfigurationError`.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        seconds = _parse_text(value)
    else:
        seconds = float(value)
    if not 0 <= seconds < 1e10:
        raise ConfigurationError(f"{value!r} is no time span; write for example 30s, 10m or 2h")
    return seconds


def _parse_text(text: str) -> float:
    compact = text.strip().replace(" ", "").lower()
    try:
        return float(compact)
    except ValueError:
        pass
    if not compact or _SPAN.sub("", compact):
        raise ConfigurationError(f"{text!r} is no time span; write for example 30s, 10m or 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _SPAN.findall(compact))
