"""Which traces are meant, and in which order: as a filter of a view, as a query with pages, as SQL. Pure."""

from __future__ import annotations

import base64
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import msgspec

from lumina_stream.model.errors import LuminaError
from lumina_stream.model.limits import NAME_LENGTH
from lumina_stream.model.node import STATES
from lumina_stream.protocol.frames import Filter, TraceSummary
from lumina_stream.relay.attributes import LENGTH, digest_of
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

INDEXED: frozenset[Sort] = frozenset({"start", "duration", "last"})
"""Sorts whose columns have an index."""
MOST_ATTRIBUTES = 8
"""Attributes of one selection: each is looked for in every trace."""

_GLOB = frozenset("*?[")


class QueryError(LuminaError):
    """A query asks for something that cannot be; the message says what may be asked instead."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which traces are meant; None leaves a condition out.

    `service` is one of the trace's services, `session` and `user` one that a span of it names (see
    `usage.SPELLINGS`), `name` a glob over the root's name (case matters), `error` whether any span
    ended in one. `min_duration_ns` and `max_duration_ns` count a running trace by how long it runs
    so far. Each `attribute` is `key=value`: a span of the trace has it (see `attributes`; a value that
    was overwritten may still be found).
    """

    service: str | None = None
    session: str | None = None
    user: str | None = None
    name: str | None = None
    state: str | None = None
    error: bool | None = None
    min_duration_ns: int | None = None
    max_duration_ns: int | None = None
    attribute: tuple[str, ...] = ()


class TraceQuery(Selection, frozen=True, kw_only=True):
    """Ask for traces. `since_ns` and `until_ns` select what was active in that time: running, or its

    last sign of life not before it, and started not after it. Sorted by duration, running traces are
    longer than all others, the earliest start the longest. `cursor` is the `next` of the page
    before, valid for the same sort and order.
    """

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


def selection_of(chosen: Filter) -> dict[str, Any]:
    """Return the fields of a filter that a `Selection` has as well."""
    return {name: getattr(chosen, name) for name in Selection.__struct_fields__}


def check(chosen: Selection | Filter) -> None:
    """Raise `QueryError` for a state, attribute or text that cannot be meant."""
    if chosen.state is not None and chosen.state not in STATES:
        raise QueryError(f"no state {chosen.state!r}; there are {', '.join(STATES)}")
    if len(chosen.attribute) > MOST_ATTRIBUTES:
        raise QueryError(f"{len(chosen.attribute)} attributes; ask for {MOST_ATTRIBUTES} at most")
    for pair in chosen.attribute:
        key, sign, _ = pair.partition("=")
        if not key or not sign:
            raise QueryError(f"attribute is {pair[:LENGTH]!r}; write it as key=value")
        if len(pair) > 2 * LENGTH + 1:
            raise QueryError(
                f"attribute {key[:LENGTH]!r} is too long to be found by: {LENGTH} characters"
            )
    for text in (chosen.service, chosen.name, chosen.session, chosen.user):
        if text is not None and len(text) > NAME_LENGTH:
            raise QueryError(f"a filter of {len(text)} characters; {NAME_LENGTH} are the most")


def is_selected(chosen: Filter, summary: TraceSummary, now_ns: int) -> bool:
    """Tell whether a filter selects a trace by its line; its attributes are not looked at."""
    took = summary.duration_ns
    if took is None and summary.open and summary.start_ns > 0:
        took = now_ns - summary.start_ns
    return (
        (chosen.trace_id is None or chosen.trace_id == summary.trace_id)
        and (chosen.service is None or chosen.service in summary.services)
        and (chosen.state is None or chosen.state == summary.state)
        and (chosen.name is None or fnmatchcase(summary.name, chosen.name))
        and (chosen.error is None or chosen.error == (summary.errors > 0))
        and (
            chosen.min_duration_ns is None or (took is not None and took >= chosen.min_duration_ns)
        )
        and (
            chosen.max_duration_ns is None or (took is not None and took <= chosen.max_duration_ns)
        )
        and (chosen.session is None or chosen.session in summary.sessions)
        and (chosen.user is None or chosen.user in summary.users)
    )


def is_listed(chosen: Selection, summary: TraceSummary) -> bool:
    """Tell whether a trace that `where` let pass is truly meant: what SQL cannot say exactly."""
    return (
        (chosen.service is None or chosen.service in summary.services)
        and (chosen.session is None or chosen.session in summary.sessions)
        and (chosen.user is None or chosen.user in summary.users)
        and (chosen.name is None or fnmatchcase(summary.name, chosen.name))
    )


def is_exact(chosen: Selection) -> bool:
    """Tell whether `where` lets nothing pass that is not meant."""
    texts = (chosen.service, chosen.session, chosen.user)
    return is_plain_name(chosen.name) and not any(t is not None and "\x1f" in t for t in texts)


def is_plain_name(name: str | None) -> bool:
    """Tell whether SQLite reads a pattern as fnmatch does: it differs in brackets, and ends at a NUL."""
    return name is None or ("[" not in name and "\0" not in name)


def where(chosen: Selection, now_ns: int) -> tuple[str, list[Any]]:
    """Return the conditions of a selection as SQL, with their values; at least as wide as meant.

    Of a `TraceQuery` its times, too. Raises `QueryError` for what cannot be.
    """
    check(chosen)
    parts: list[str] = []
    values: list[Any] = []

    def add(condition: str, *given: Any) -> None:
        parts.append(condition)
        values.extend(bound(v) if isinstance(v, int) else v for v in given)

    if chosen.state is not None:
        add("state = ?", chosen.state)
    if chosen.error is not None:
        add("errors > 0" if chosen.error else "errors = 0")
    if chosen.min_duration_ns is not None:
        add(
            "(duration_ns >= ? OR (open > 0 AND start_ns BETWEEN 1 AND ?))",
            chosen.min_duration_ns,
            now_ns - chosen.min_duration_ns,
        )
    if chosen.max_duration_ns is not None:
        add(
            "(duration_ns <= ? OR (open > 0 AND start_ns > 0 AND start_ns >= ?))",
            chosen.max_duration_ns,
            now_ns - chosen.max_duration_ns,
        )
    if chosen.service is not None:
        add("instr(services, ?)", joined((chosen.service,)))
    if chosen.session is not None:
        add("instr(sessions, ?)", joined((chosen.session,)))
    if chosen.user is not None:
        add("instr(users, ?)", joined((chosen.user,)))
    if chosen.name is not None and is_plain_name(chosen.name):
        exact = not _GLOB.intersection(chosen.name)
        add("name = ?" if exact else "(name GLOB ? OR instr(name, char(0)))", chosen.name)
    for pair in chosen.attribute:
        add("instr(digests, ?)", digest_of(pair))
    if isinstance(chosen, TraceQuery):
        if not 1 <= chosen.limit <= LARGEST_PAGE:
            raise QueryError(f"limit is {chosen.limit}; ask for 1 to {LARGEST_PAGE} traces")
        if chosen.since_ns is not None:
            add("(open > 0 OR last_ns >= ?)", chosen.since_ns)
        if chosen.until_ns is not None:
            add("start_ns <= ?", chosen.until_ns)
    return " AND ".join(parts) or "1", values


def cursor_after(query: TraceQuery, summary: TraceSummary) -> str:
    """Return the cursor of the page that begins after a trace."""
    key = length(summary) if query.sort == "duration" else getattr(summary, COLUMNS[query.sort])
    data = msgspec.msgpack.encode((query.sort, query.order, key, summary.trace_id))
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_cursor(query: TraceQuery) -> tuple[int, str] | None:
    """Return the place after which a page begins, None at the beginning; raises `QueryError`."""
    text = query.cursor
    if text is None:
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        sort, order, key, trace_id = msgspec.msgpack.decode(data, type=tuple[str, str, int, str])
    except (ValueError, msgspec.DecodeError):
        raise QueryError("cursor is none of ours; take the `next` of the page before") from None
    if (sort, order) != (query.sort, query.order):
        raise QueryError(
            f"cursor belongs to sort={sort} order={order}; keep these, or begin without a cursor"
        )
    return bound(key), trace_id
