"""What a line of the list shows of a trace beside its figures: what it was asked, and a tiny waterfall.

Both are drawn each time a trace changed, so the work is bounded whatever its size.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any, TypeAlias, cast

import msgspec

from lumina_stream.model.node import SpanNode
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.frames import Bar

PREVIEW_LENGTH = 160
"""Characters: what fits beside the name on a wide screen."""
READ_LENGTH = 16 << 10
"""Characters of a message list as JSON text that are read for its question."""
BARS = 16
"""A line is some 120 pixels wide: more could not be told apart."""
LOOKED_AT = 64
"""Spans from which the longest are chosen; of more they are picked evenly."""
FEW = 4
"""Children up to which their own children are drawn too: a trace is often one span in another."""
KIND_LENGTH = 32

_MESSAGES = "gen_ai.input.messages"
_INPUTS = ("input.value", "user_query", "query", "question", "input", "prompt")


def preview(tree: TraceTree) -> str:
    """Return the beginning of what a trace's root was given, empty if it does not say."""
    root = tree.root
    values = {} if root is None else root.attributes
    if _MESSAGES in values:
        text = _last_question(values[_MESSAGES])
        if text:
            return _short(text)
    for key in _INPUTS:
        text = _text(values[key]) if key in values else ""
        if text:
            return _short(text)
    return ""


def bars(tree: TraceTree, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
    """Return the longest of the root's children, and of few children their own, in start order.

    Times are thousandths of the time from `start_ns` to `end_ns`.
    """
    root = tree.root
    if root is None or not root.children or end_ns <= start_ns:
        return ()
    nodes = _some(root.children, LOOKED_AT)
    if len(nodes) <= FEW:
        each = LOOKED_AT // len(nodes)
        nodes += [below for node in nodes for below in _some(node.children or [], each)]
    found: list[_Found] = []
    for node in nodes:
        start = node.start_ns
        if start is not None:
            end = node.end_ns
            if end is None:
                end = _end(node, end_ns)
            found.append((start - end if end > start else 0, start, node.span_id, node))
    if len(found) > BARS:
        found.sort(key=_longest)
        del found[BARS:]
    found.sort(key=_earliest)
    return _drawn(found, start_ns, end_ns - start_ns)


_Found: TypeAlias = tuple[int, int, str, SpanNode]
"""How long a span took, below zero; its start, id, and itself."""
_longest = itemgetter(0, 1, 2)
_earliest = itemgetter(1, 0, 2)


def _end(node: SpanNode, now_ns: int) -> int:
    return now_ns if node.is_open else node.last_seen_ns


def _drawn(found: list[_Found], start_ns: int, whole: int) -> tuple[Bar, ...]:
    drawn: list[Bar] = []
    for minus, start, _, node in found:
        at = start - start_ns
        left = at * 1_000 // whole
        left = 0 if left < 0 else left if left < 1_000 else 1_000
        kind, state = node.kind, node.status or node.state
        if kind is not None and len(kind) > KIND_LENGTH:
            kind = None
        if state == "running":
            drawn.append((left, -1, kind, state))
            continue
        right = -(-(at - minus) * 1_000 // whole)
        right = right if right < 1_000 else 1_000
        drawn.append((left, right - left if right > left else 0, kind, state))
    return tuple(drawn)


def _some(nodes: list[SpanNode], most: int) -> list[SpanNode]:
    """Return the nodes, or so many of them from all over, the first and the last included."""
    if len(nodes) <= most:
        return list(nodes)
    if most < 2:
        return nodes[-1:]
    last = len(nodes) - 1
    return [nodes[i * last // (most - 1)] for i in range(most)]


def _last_question(messages: Any) -> str:
    """Return the last text of a user among messages as OpenTelemetry has them, or older ones."""
    if isinstance(messages, str):
        if len(messages) > READ_LENGTH:
            return ""
        try:
            messages = msgspec.json.decode(messages)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return ""
    for message in reversed(_dicts(messages)):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str) and content:
            return content
        for part in reversed(_dicts(message.get("parts") or content)):
            text = part.get("content") or part.get("text")
            if part.get("type") == "text" and isinstance(text, str) and text:
                return text
    return ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [item for item in cast("Iterable[Any]", value) if isinstance(item, dict)]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return "" if not value else msgspec.json.encode(value).decode()  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    return "" if value is None else str(value)


def _short(text: str) -> str:
    return " ".join(text[: 8 * PREVIEW_LENGTH].split())[:PREVIEW_LENGTH]
