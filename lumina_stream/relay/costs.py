"""What calls cost, by service, model, trace or any attribute: one row a call, added up when asked.

Pure: `projection_store` keeps the rows, `projections` draws them. A row holds what its call adds
beyond the spans below it, so that rows may be added without counting anything twice; the same
response id counts once among all of them, for the earliest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from lumina_stream.model.node import SpanNode
from lumina_stream.model.rollup import call_of
from lumina_stream.model.tree import TraceTree
from lumina_stream.model.usage import CALL_KEYS, LABELS, SPELLINGS, label, label_text, usd
from lumina_stream.relay.prices import PriceBook
from lumina_stream.relay.selection import QueryError
from lumina_stream.relay.summaries import bound

ALL_ROWS = 100
"""Calls of a trace that are all drawn again when it changes: what a span above them is marked with
may come later. Of a longer trace, only those that changed are, and all of them once nothing runs."""
ANCESTORS = 64
"""Spans above a call whose attributes it is counted under; past them, only the root's."""
ROW_LABELS = 32
"""Attributes that a call is counted under; the nearest to it first."""
LABEL_LENGTH = 128
"""Longest text that is a label rather than content."""
GROUPS = 1_000
"""Groups in one answer: the costliest; the others are added up as one."""

_LABEL_KEYS = frozenset(key for field in LABELS for key in SPELLINGS[field])
_CONTENT = ("gen_ai.", "llm.", "ai.", "input.", "output.", "embedding.", "retrieval.", "code.")
_AGO = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class CallRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A call, and what it adds. `cost` is in trillionths of a dollar, None: there is no price."""

    time_ns: int
    service: str
    provider: str
    model: str
    response_id: str
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    cost: int | None
    labels: dict[str, str | int | bool]


def price(tree: TraceTree, book: PriceBook) -> tuple[list[str], bool]:
    """Price the calls of a tree that changed; return the touched spans, and whether it is done.

    It is not while the book still has to be loaded.
    """
    touched: list[str] = []
    for span_id in list(tree.calls.changed):
        node = tree.span(span_id)
        call = None if node is None else call_of(node)
        cost = None
        if node is not None and call is not None:
            if call.tokens is not None:
                cost = book.price(call, node.start_ns or node.last_ns)
            if cost is None and not book.is_loaded:
                if not call.tokens:
                    continue  # it will have some: time to load
                return touched, False
        del tree.calls.changed[span_id]
        touched += tree.set_cost(span_id, cost)
    return touched, not tree.calls.changed


def take_changed(tree: TraceTree) -> dict[str, SpanNode]:
    """Return the calls whose share of the sums changed since the last time."""
    if not tree.calls.spans:
        return {}
    _ = tree.totals  # works out every share
    changed = dict(tree.calls.changed_shares)
    tree.calls.changed_shares.clear()
    return changed


def rows_of(tree: TraceTree, changed: dict[str, SpanNode]) -> list[tuple[str, CallRow | None]]:
    """Return the rows of a tree that are new or may have changed, None where a call adds nothing."""
    if len(tree.calls.spans) <= ALL_ROWS or not tree.open_count:
        changed = tree.calls.spans
    return [(span_id, _row(node)) for span_id, node in changed.items()]


def _row(node: SpanNode) -> CallRow | None:
    state, call = node.call, call_of(node)
    share = None if state is None or state.is_duplicate else state.share
    if share is None or call is None or not (share.input or share.output):
        return None
    return CallRow(
        bound(node.start_ns or node.last_ns),
        node.service,
        call.provider,
        call.model,
        call.response_id[:256],
        bound(share.input),
        bound(share.output),
        bound(share.cache_read),
        bound(share.cache_write),
        bound(share.reasoning),
        None if share.cost is None else bound(share.cost),
        _labels(node),
    )


def _labels(node: SpanNode) -> dict[str, str | int | bool]:
    """Return what a call is counted under: its own attributes, then those of the spans above it."""
    found: dict[str, str | int | bool] = {}
    step: SpanNode | None = node
    for _ in range(ANCESTORS):
        if step is None:
            return found
        _add_labels(found, step)
        step = step.parent
    while step is not None and step.parent is not None:
        step = step.parent
    if step is not None:
        _add_labels(found, step)
    return found


def _add_labels(found: dict[str, str | int | bool], node: SpanNode) -> None:
    for key, value in node.attributes.items():
        if len(found) >= ROW_LABELS:
            return
        if key in found or (key not in _LABEL_KEYS and _is_content(key)):
            continue
        if isinstance(value, str):
            if len(value) <= LABEL_LENGTH:
                found[key] = value
        elif type(value) is bool or (type(value) is int and -(1 << 63) <= value < 1 << 63):
            found[key] = value


def _is_content(key: str) -> bool:
    return key in CALL_KEYS or key.startswith(_CONTENT) or len(key) > LABEL_LENGTH


# --- asking ------------------------------------------------------------------------------------


class CostQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for costs. `by` is `service`, `model`, `provider`, `trace`, `session`, `user` or `attribute:KEY`.

    The others select calls: `since` and `until` are times (`10m`, `24h`, `7d` ago, or ISO 8601; a
    call counts by its start, `until` excluded), the same as `since_ns` and `until_ns`.
    """

    by: str = "model"
    since: str | None = None
    until: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    service: str | None = None
    model: str | None = None
    session: str | None = None
    user: str | None = None
    trace_id: str | None = None

    def bounds(self, now_ns: int) -> tuple[int, int]:
        """Return the first time that counts and the first that does not; raises `QueryError`."""
        since = self.since_ns if self.since is None else parse_time(self.since, now_ns)
        until = self.until_ns if self.until is None else parse_time(self.until, now_ns)
        return (
            bound(-(1 << 63) if since is None else since),
            bound((1 << 63) - 1 if until is None else until),
        )


class Sum(msgspec.Struct):
    """What some calls add up to; `cost_usd` is None if none of them has a price."""

    key: str | int | bool | None = None
    calls: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None


class Adder:
    """Add up rows: `take` them in the order of their time, then read `answer`."""

    def __init__(self, query: CostQuery) -> None:
        """Raise `QueryError` for what cannot be asked."""
        by, _, key = query.by.partition(":")
        if by == "attribute" and not key:
            raise QueryError(
                "by=attribute:KEY names an attribute, for example attribute:cost_center"
            )
        if by != "attribute" and (
            key or by not in ("service", "model", "provider", "trace", "session", "user")
        ):
            raise QueryError(
                f"by is {query.by!r}; ask by service, model, provider, trace, session, user or attribute:KEY"
            )
        self._query, self._by, self._key = query, by, key
        self._costs: dict[Any, int] = {}
        self._sums: dict[Any, Sum] = {}
        self._seen: set[str] = set()

    def take(self, trace_id: str, row: CallRow) -> None:
        """Take in one row."""
        if not self._is_meant(trace_id, row):
            return
        if row.response_id:
            if row.response_id in self._seen:
                return
            self._seen.add(row.response_id)
        key = self._key_of(trace_id, row)
        known = self._sums.get((type(key), key))
        if known is None:
            known = self._sums[type(key), key] = Sum(key)
        known.calls += 1
        known.input_tokens += row.input
        known.output_tokens += row.output
        known.cache_read_tokens += row.cache_read
        known.cache_write_tokens += row.cache_write
        known.reasoning_tokens += row.reasoning
        if row.cost is None:
            known.unpriced += 1
        else:
            self._costs[type(key), key] = self._costs.get((type(key), key), 0) + row.cost

    def answer(self) -> dict[str, Any]:
        """Return the sums, the costliest first, with their total."""
        for key, cost in self._costs.items():
            self._sums[key].cost_usd = usd(cost)
        found = sorted(self._sums.values(), key=_costliest)
        answer: dict[str, Any] = {"by": self._query.by, "groups": found[:GROUPS]}
        if len(found) > GROUPS:
            answer["others"] = _whole(found[GROUPS:])
        answer["total"] = _whole(found)
        return answer

    def _is_meant(self, trace_id: str, row: CallRow) -> bool:
        query = self._query
        return (
            (query.trace_id is None or query.trace_id == trace_id)
            and (query.service is None or query.service == row.service)
            and (query.model is None or query.model == row.model)
            and (query.session is None or query.session == label(row.labels, "session"))
            and (query.user is None or query.user == label(row.labels, "user"))
        )

    def _key_of(self, trace_id: str, row: CallRow) -> str | int | bool | None:
        match self._by:
            case "service":
                return row.service or None
            case "model":
                return row.model or None
            case "provider":
                return row.provider or None
            case "trace":
                return trace_id
            case "session" | "user":
                return label(row.labels, self._by)
            case _:
                return row.labels.get(self._key)


def parse_time(text: str, now_ns: int) -> int:
    """Return a time in nanoseconds from `10m` (ago) or ISO 8601; raises `QueryError`."""
    compact = text.strip()
    parts = _AGO.findall(compact)
    if parts and not _AGO.sub("", compact):
        return now_ns - int(sum(float(n) * _UNITS_S[unit] for n, unit in parts) * 1e9)
    try:
        when = datetime.fromisoformat(compact)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return int(when.timestamp() * 1_000_000) * 1_000
    except (ValueError, OverflowError):
        raise QueryError(
            f"{label_text(text)!r} is no time; write 10m, 24h, 7d or 2026-01-31"
        ) from None


def _costliest(one: Sum) -> tuple[Any, ...]:
    return (one.cost_usd is None, -(one.cost_usd or 0), -one.input_tokens, str(one.key))


def _whole(sums: Iterable[Sum]) -> dict[str, Any]:
    whole = Sum()
    for one in sums:
        for field in Sum.__struct_fields__[1:-1]:
            setattr(whole, field, getattr(whole, field) + getattr(one, field))
        if one.cost_usd is not None:
            whole.cost_usd = (whole.cost_usd or Decimal(0)) + one.cost_usd
    fields = msgspec.structs.asdict(whole)
    del fields["key"]
    return fields
