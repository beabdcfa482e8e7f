"""Which traces are meant, and in which order: as a filter of a view, as a query with pages, as SQL. Pure."""

from __future__ import annotations

import base64
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import msgspec

from lumina_stream.model.errors import LuminaError
from lumina_stream.model.node import STATES
from lumina_stream.protocol.frames import Filter, TraceSummary
from lumina_stream.relay.summaries import bound, joined, length

PAGE = 50
"""Traces of a page that nobody sized: two screens of a list."""
LARGEST_PAGE = 1_000
"""Traces of the largest page: some 300 KB of JSON, a few milliseconds of the relay's time."""

Sort: TypeAlias = Literal["start", "duration", "spans", "errors", "last"]
Order: TypeAlias = Literal["asc", "desc"]

COLUMNS: dict[Sort, str] = {
    "start": "start_ns",
    "duration": "length",
    "spans": "spans",
    "errors": "errors",
    "last": "last_ns",
}
"""The column behind each sort; see `length`."""

_GLOB = frozenset("*?[")


class QueryError(LuminaError):
    """A query asks for something that cannot be; the message says what may be asked instead."""


class TraceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for traces; None leaves a condition out.

    `service` is one of the trace's services, `session` and `user` one that a span of it names (see
    `usage.SPELLINGS`), `name` a glob over the root's name (case matters),
    `error` whether any span ended in one. `since_ns` and `until_ns` select what was active in that
    time: running, or its last sign of life not before it, and started not after it.
    `min_duration_ns` counts a running trace by how long it runs so far. Sorted by duration, running
    traces are longer than all others, the earliest start the longest. `cursor` is the `next` of
    the page before, valid for the same sort and order.
    """

    service: str | None = None
    session: str | None = None
    user: str | None = None
    name: str | None = None
    state: str | None = None
    error: bool | None = None
    min_duration_ns: int | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    sort: Sort = "start"
    order: Order = "desc"
    limit: int = PAGE
    cursor: str | None = None


class TracePage(msgspec.Struct, frozen=True):
    """Some traces in the order asked for; `next` is the cursor of what follows, None at the end."""

    traces: tuple[TraceSummary, ...]
    next: str | None = None


def is_selected(selection: Filter, summary: TraceSummary) -> bool:
    """Tell whether a filter selects a trace by its line."""
    return (
        (selection.trace_id is None or selection.trace_id == summary.trace_id)
        and (selection.service is None or selection.service in summary.services)
        and (selection.state is None or selection.state == summary.state)
        and (selection.name is None or fnmatchcase(summary.name, selection.name))
    )


def is_listed(query: TraceQuery, summary: TraceSummary) -> bool:
    """Tell whether a trace that `where` let pass is truly meant: what SQL cannot say exactly."""
    return (
        (query.service is None or query.service in summary.services)
        and (query.session is None or query.session in summary.sessions)
        and (query.user is None or query.user in summary.users)
        and (query.name is None or fnmatchcase(summary.name, query.name))
    )


def where(query: TraceQuery, now_ns: int) -> tuple[str, list[Any]]:
    """Return the conditions of a query as SQL, with their values; at least as wide as meant.

    Raises `QueryError` for a state, limit or cursor that cannot be.
    """
    if not 1 <= query.limit <= LARGEST_PAGE:
        raise QueryError(f"limit is {query.limit}; ask for 1 to {LARGEST_PAGE} traces")
    parts: list[str] = []
    values: list[Any] = []

    def add(condition: str, *given: Any) -> None:
        parts.append(condition)
        values.extend(bound(v) if isinstance(v, int) else v for v in given)

    if query.state is not None:
        if query.state not in STATES:
            raise QueryError(f"no state {query.state!r}; there are {', '.join(STATES)}")
        add("state = ?", query.state)
    if query.error is not None:
        add("errors > 0" if query.error else "errors = 0")
    if query.since_ns is not None:
        add("(open > 0 OR last_ns >= ?)", query.since_ns)
    if query.until_ns is not None:
        add("start_ns <= ?", query.until_ns)
    if query.min_duration_ns is not None:
        add(
            "(duration_ns >= ? OR (open > 0 AND start_ns BETWEEN 1 AND ?))",
            query.min_duration_ns,
            now_ns - query.min_duration_ns,
        )
    if query.service is not None:
        add("instr(services, ?)", joined((query.service,)))
    if query.session is not None:
        add("instr(sessions, ?)", joined((query.session,)))
    if query.user is not None:
        add("instr(users, ?)", joined((query.user,)))
    # SQLite's GLOB differs from fnmatch in brackets, and ends at a NUL: `is_listed` decides those.
    if query.name is not None and "[" not in query.name and "\0" not in query.name:
        exact = not _GLOB.intersection(query.name)
        add("name = ?" if exact else "(name GLOB ? OR instr(name, char(0)))", query.name)
    if query.cursor is not None:
        step = "<" if query.order == "desc" else ">"
        add(f"({COLUMNS[query.sort]}, trace_id) {step} (?, ?)", *_read_cursor(query))
    return " AND ".join(parts) or "1", values


def cursor_after(query: TraceQuery, summary: TraceSummary) -> str:
    """Return the cursor of the page that begins after a trace."""
    key = length(summary) if query.sort == "duration" else getattr(summary, COLUMNS[query.sort])
    data = msgspec.msgpack.encode((query.sort, query.order, key, summary.trace_id))
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _read_cursor(query: TraceQuery) -> tuple[int, str]:
    text = query.cursor or ""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        sort, order, key, trace_id = msgspec.msgpack.decode(data, type=tuple[str, str, int, str])
    except (ValueError, msgspec.DecodeError):
        raise QueryError("cursor is none of ours; take the `next` of the page before") from None
    if (sort, order) != (query.sort, query.order):
        raise QueryError(
            f"cursor belongs to sort={sort} order={order}; keep these, or begin without a cursor"
        )
    return key, trace_id
