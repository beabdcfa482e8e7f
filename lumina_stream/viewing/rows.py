"""One line of a terminal: segments of text with the name of a style, at most a width wide.

Pure. What the styles look like is decided where lines are painted.
"""

import locale
import time
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from lumina_stream.model.node import Rollup, SpanNode
from lumina_stream.model.rollup import cost_usd
from lumina_stream.model.tree import TraceTree
from lumina_stream.viewing.text import (
    cells,
    clip,
    clip_start,
    count,
    dollars,
    duration,
    escape,
    ticking,
    tokens,
)

MODEL_KEYS = ("gen_ai.response.model", "gen_ai.request.model")
_LEAST_NAME = 14
"""Columns for guides, mark and name below which a line goes without its duration."""
_TEXT_TAIL = 400
"""Characters of streamed text that a line looks at: more than the widest terminal shows."""
_TEXT_PIECES = 64
"""Pieces of streamed text that a line looks at, for the same reason."""


class Segment(NamedTuple):
    """A piece of a line and the name of its style, empty for plain text."""

    text: str
    style: str = ""


Line: TypeAlias = tuple[Segment, ...]


class Glyphs(msgspec.Struct, frozen=True):
    """What trees are drawn with."""

    branch: str
    last: str
    down: str
    gap: str
    states: dict[str, str]
    times: str
    dot: str
    dash: str


UNICODE = Glyphs(
    "├─ ",
    "└─ ",
    "│  ",
    "⋯ ",
    {
        "running": "●",
        "ok": "✓",
        "error": "×",
        "cancelled": "⊘",
        "interrupted": "╳",
        "unended": "◌",
        "abandoned": "◌",
        "missing": "?",
    },
    "×",
    "·",
    "—",
)
ASCII = Glyphs(
    "|- ",
    "`- ",
    "|  ",
    ".. ",
    {
        "running": "*",
        "ok": "+",
        "error": "x",
        "cancelled": "/",
        "interrupted": "!",
        "unended": "o",
        "abandoned": "o",
        "missing": "?",
    },
    "x",
    "-",
    "-",
)


def glyphs_for(encoding: str | None) -> Glyphs:
    """Return the glyphs that an output encoding can carry."""
    try:
        "├└│⋯●✓×⊘╳◌…“µ".encode(encoding or locale.getpreferredencoding(False))
    except (LookupError, UnicodeEncodeError):
        return ASCII
    return UNICODE


def text_of(line: Line) -> str:
    """Return a line without its styles."""
    return "".join(segment.text for segment in line)


def span_line(
    prefix: str, tree: TraceTree, node: SpanNode, note: str, now_ns: int, width: int, glyphs: Glyphs
) -> Line:
    """Return the line of one span: what it is, how it stands, and how long, flush right."""
    state = node.state
    style = state_style(state)
    mark = Segment(f"{glyphs.states[state]} ", _pulse(now_ns) if state == "running" else style)
    named = Segment(
        shown_name(node), "error" if state == "error" else ("root" if not prefix else "name")
    )
    extras = _extras(tree, node, state, glyphs, root=not prefix)
    if note:
        extras.append(Segment(note, "muted"))
    return compose(prefix, mark, named, extras, span_time(node, now_ns), style, width)


def compose(
    prefix: str,
    mark: Segment,
    named: Segment,
    extras: Sequence[Segment],
    took: str,
    took_style: str,
    width: int,
) -> Line:
    """Lay out one line: prefix, mark, name and extras from the left, a duration flush right."""
    if width < cells(took) + _LEAST_NAME:
        took = ""
    line: list[Segment] = []
    room = width - cells(took) - (2 if took else 0)
    left = clip(prefix, max(0, room - 6))
    for segment in (Segment(left, "tree"), mark):
        line.append(segment)
        room -= cells(segment.text)
    name = clip(named.text, max(1, room))
    line.append(Segment(name, named.style))
    room -= cells(name)
    for extra in extras:
        if room < 2 + min(8, cells(extra.text)):
            break
        text = (clip_start if extra.style == "text" else clip)(extra.text, room - 2)
        line.append(Segment(f"  {text}", extra.style))
        room -= 2 + cells(text)
    if took:
        line.append(Segment(" " * (max(0, room) + 2)))
        line.append(Segment(took, took_style if took_style != "ok" else "time"))
    return tuple(segment for segment in line if segment.text)


def shown_name(node: SpanNode) -> str:
    """Return a span's name, or what stands for it if it has none."""
    return escape(node.name) if node.name.strip() else f"span {node.span_id[:8]}"


def state_style(state: str) -> str:
    """Return the style of a state's mark."""
    if state in ("running", "ok", "error", "missing"):
        return state
    return "halted"


def span_time(node: SpanNode, now_ns: int) -> str:
    """Return how long a span took, or has been running, or was seen."""
    start_ns = node.start_ns
    if start_ns is None:
        return ""
    took = node.duration_ns
    if took is not None:
        return duration(took)
    if node.state == "running":
        return ticking(now_ns - start_ns)
    return duration(max(0, node.last_seen_ns - start_ns))


def clock_time(time_ns: int) -> str:
    """Return the local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(time_ns / 1e9))


def error_text(node: SpanNode) -> str:
    """Return an error as one line: the type's last name and the message's first line."""
    error = node.error
    if error is None:
        return "error"
    kind = error.type.rpartition(".")[2]
    first = error.message.strip().split("\n", 1)[0]
    return escape(f"{kind}: {first}" if first else kind)


def outcome_text(node: SpanNode) -> str:
    """Return what became of a span that is over, empty if it simply succeeded."""
    match node.state:
        case "error":
            return error_text(node)
        case "interrupted":
            return f"interrupted, last seen {clock_time(node.last_seen_ns)}"
        case "unended":
            return "unended: its program ended before it"
        case "abandoned":
            return "abandoned: dropped without an end"
        case "cancelled":
            return "cancelled"
        case _:
            return ""


def loss_text(tree: TraceTree) -> str:
    """Return what is known to be missing from a trace, empty if nothing is."""
    parts: list[str] = []
    if tree.lost_count:
        least = "" if all(exact for _, _, exact in tree.losses.values()) else "at least "
        parts.append(f"{least}{count(tree.lost_count)} events lost")
    if tree.truncated:
        left_out = ", ".join(f"{count(n)} {what}" for what, n in sorted(tree.truncated.items()))
        parts.append(f"truncated: {left_out}")
    return "; ".join(parts)


def cost_text(sums: Rollup) -> str:
    """Return what the calls of a span cost, empty while nobody has said."""
    known = cost_usd(sums)
    if known is None:
        return "no price" if sums.unpriced else ""
    return dollars(known) + (f" + {count(sums.unpriced)} without price" if sums.unpriced else "")


def kind_style(kind: str | None) -> str:
    """Return the style of a kind."""
    if kind in ("retrieval", "embedding", "rerank"):
        return "kind.retrieval"
    if kind in ("agent", "task"):
        return "kind.agent"
    return f"kind.{kind}" if kind in ("llm", "tool") else "muted"


def _extras(
    tree: TraceTree, node: SpanNode, state: str, glyphs: Glyphs, *, root: bool
) -> list[Segment]:
    found: list[Segment] = []
    outcome = outcome_text(node)
    if outcome:
        found.append(Segment(outcome, state_style(state)))
    if root:
        losses = loss_text(tree)
        if losses:
            found.append(Segment(losses, "lost"))
        if node.service:
            found.append(Segment(escape(node.service), "muted"))
    if node.kind and node.kind not in node.name.lower():
        found.append(Segment(escape(node.kind), kind_style(node.kind)))
    if state == "missing":
        found.append(Segment("its start has not arrived", "muted"))
    said = node.attributes
    model = next((said[key] for key in MODEL_KEYS if key in said), None)
    if model and isinstance(model, str):
        found.append(Segment(escape(model), "muted"))
    sums = tree.rollup(node.span_id)
    if (sums.input_tokens or sums.output_tokens) and (root or node.call or node.kind == "llm"):
        used = f"{tokens(sums.input_tokens)} in {tokens(sums.output_tokens)} out"
        found.append(Segment(used, "muted"))
        cost = cost_text(sums)
        if cost:
            found.append(Segment(cost, "muted"))
    if state == "running":
        streamed = _streaming(node)
        if streamed:
            found.append(Segment(streamed, "text"))
        elif node.events:
            latest = node.events[max(node.events)]
            found.append(Segment(f"{glyphs.dot} {escape(latest.name)}", "muted"))
    return found


def _streaming(node: SpanNode) -> str:
    """Return the end of what a running span has streamed, in one line."""
    texts = node.texts
    if not texts:
        return ""
    channels = {channel for channel, _ in texts}
    channel = next((c for c in ("output", "reasoning", "tool") if c in channels), None)
    if channel is None:
        return ""
    latest = max(index for c, index in texts if c == channel)
    indices = range(max(0, latest - _TEXT_PIECES), latest + 1)
    pieces = [texts[channel, i].text[-_TEXT_TAIL:] for i in indices if (channel, i) in texts]
    tail = " ".join("".join(pieces)[-_TEXT_TAIL:].split())
    return escape(tail)


def _pulse(now_ns: int) -> str:
    return "running" if now_ns // 600_000_000 % 2 else "running.dim"


# --- styles ----------------------------------------------------------------------------------

STYLES = {
    "root": "bold",
    "name": "",
    "time": "",
    "ok": "dim",
    "running": "bold blue",
    "running.dim": "blue",
    "error": "red",
    "halted": "yellow",
    "lost": "magenta",
    "missing": "dim",
    "muted": "dim",
    "tree": "dim",
    "text": "italic",
    "kind.llm": "magenta",
    "kind.retrieval": "cyan",
    "kind.tool": "yellow",
    "kind.agent": "blue",
}
"""The sixteen colours every terminal has in its own theme: legible on light and dark backgrounds."""

_CODES = {"bold": "1", "dim": "2", "italic": "3"} | {
    colour: str(30 + number)
    for number, colour in enumerate(
        ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
    )
}


def ansi(line: Line) -> str:
    """Return a line with ANSI colour sequences."""
    parts: list[str] = []
    for text, style in line:
        codes = ";".join(_CODES[word] for word in STYLES.get(style, "").split())
        parts.append(f"\x1b[{codes}m{text}\x1b[0m" if codes else text)
    return "".join(parts)
