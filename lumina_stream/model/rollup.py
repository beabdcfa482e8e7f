"""Sums over a span and everything below it, kept by difference: a change costs its depth, not its width.

A change forgets the roll-ups from its span upwards (`mark`); a read works out what was forgotten.
A parent keeps what its children add up to, and what each of them last added (`SpanNode.counted`),
so that of ten thousand children only those that changed are looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import msgspec

from lumina_stream.model.node import Rollup, SpanNode, Sums
from lumina_stream.model.usage import CALL_KEYS, Call, CallState, Cost, Share, read_call, usd

STEP_SPANS = 1_000
"""Spans whose sums are worked out at once where something else waits: about two milliseconds."""


def mark(node: SpanNode | None) -> None:
    """Forget roll-ups from a span upwards, as far as they are not forgotten already."""
    while node is not None and node.rollup is not None:
        node.rollup = None
        parent = node.parent
        if parent is not None and parent.sums is not None and node.counted is not None:
            parent.sums.stale[node.span_id] = node
        node = parent


def forget_child(parent: SpanNode, child: SpanNode) -> None:
    """Begin a parent's sums anew: a child left it."""
    child.counted = None
    if parent.sums is not None:
        parent.sums = None
        for other in parent.children or ():
            other.counted = None
    mark(parent)


def roll_up(top: SpanNode) -> Rollup:
    """Return the sums over a span and everything below it."""
    # Iterative: a tree may be 10,000 deep. A node is visited twice: to push what changed below it, then to add it up.
    stack: list[tuple[SpanNode, bool]] = [(top, False)]
    while stack:
        node, added = stack.pop()
        if node.rollup is not None:
            continue
        if not added:
            stack.append((node, True))
            stack.extend((child, False) for child in _changed(node) if child.rollup is None)
            continue
        if node.children:
            _take_in(node)
        _sum(node)
    assert top.rollup is not None
    return top.rollup


def roll_up_steps(top: SpanNode, at_once: int = STEP_SPANS) -> Iterator[None]:
    """Work out most of the same in steps of some spans each; the tree may change between them.

    `roll_up` then has no more to do than a step, and what changed meanwhile.
    """
    nodes = [top]
    for at in itertools.count():
        if at == len(nodes):
            break
        below = _changed(nodes[at]) if nodes[at].rollup is None else ()
        for first in range(0, len(below), at_once):
            nodes += [child for child in below[first : first + at_once] if child.rollup is None]
            yield
    work = 0
    while nodes:
        node = nodes.pop()
        while node.rollup is None and _take_some(node, at_once):
            yield
        roll_up(node)
        work += 1 + len(node.children or ())
        if work >= at_once:
            work = 0
            yield


def total(roots: Iterable[SpanNode]) -> Rollup:
    """Return the sums over whole trees, in which the same response counts once."""
    sums = Sums()
    for root in roots:
        roll_up(root)
        _add(sums, _upward(root), 1)
    return _rollup_of(sums)


def call_of(node: SpanNode) -> Call | None:
    """Return what a span says of a call, None if it says nothing of one."""
    state = node.call
    if state is None:
        return None
    if state.call is None:
        said = {held.key: held.value for held in node.attribute_list() if held.key in CALL_KEYS}
        state.call = read_call(said)
    return state.call


def witness_order(node: SpanNode) -> tuple[bool, int, int, str]:
    """Order the calls of one response: the one that says most of it first."""
    call = call_of(node)
    assert call is not None
    return (not call.model, -call.told, node.start_ns or 0, node.span_id)


def cost_usd(rollup: Rollup) -> Decimal | None:
    """Return what is known of the cost in dollars, None if nothing was priced."""
    return usd(rollup.cost) if rollup.priced else None


def _changed(node: SpanNode) -> Sequence[SpanNode]:
    children, sums = node.children, node.sums
    if not children:
        return ()
    if sums is None:
        return children
    new = children[sums.taken :]
    return (*new, *sums.stale.values()) if sums.stale else new


def _take_in(node: SpanNode) -> None:
    sums, children = node.sums, node.children or []
    if sums is None:
        sums = node.sums = Sums()
    is_bound_gone = False
    for child in _changed(node):
        new, old = _upward(child), child.counted
        if new is old:
            continue
        if old is not None:
            _add(sums, old, -1)
            is_bound_gone = (
                is_bound_gone
                or (old.start_ns == sums.start_ns and new.start_ns != old.start_ns)
                or (old.end_ns == sums.end_ns and new.end_ns < old.end_ns)
            )
        _add(sums, new, 1)
        child.counted = new
    sums.taken = len(children)
    sums.stale.clear()
    if is_bound_gone:
        counted = [child.counted for child in children if child.counted is not None]
        sums.start_ns = min((r.start_ns for r in counted if r.start_ns), default=0)
        sums.end_ns = max((r.end_ns for r in counted), default=0)


def _take_some(node: SpanNode, most: int) -> bool:
    """Add up some new children whose sums are known; False if that is for `_take_in`."""
    children = node.children or []
    taken = 0 if node.sums is None else node.sums.taken
    new = children[taken : taken + most]
    if len(new) < most or any(child.rollup is None for child in new):
        return False
    sums = node.sums = node.sums or Sums()
    for child in new:
        child.counted = _upward(child)
        _add(sums, child.counted, 1)
    sums.taken += most
    return True


def _add(sums: Sums, rollup: Rollup, sign: int) -> None:
    sums.spans += sign * rollup.spans
    sums.open += sign * rollup.open
    sums.errors += sign * rollup.errors
    if rollup.has_calls:
        sums.calls += sign
        sums.input += sign * rollup.input_tokens
        sums.output += sign * rollup.output_tokens
        sums.cache_read += sign * rollup.cache_read_tokens
        sums.cache_write += sign * rollup.cache_write_tokens
        sums.reasoning += sign * rollup.reasoning_tokens
        sums.cost += sign * rollup.cost
        sums.priced += sign * rollup.priced
        sums.unpriced += sign * rollup.unpriced
    if sign > 0:
        if rollup.start_ns and (not sums.start_ns or rollup.start_ns < sums.start_ns):
            sums.start_ns = rollup.start_ns
        if rollup.end_ns > sums.end_ns:
            sums.end_ns = rollup.end_ns


def _upward(node: SpanNode) -> Rollup:
    """Return what a span adds to its parent: without its own usage, if that counts elsewhere."""
    rollup = node.rollup
    assert rollup is not None
    state = node.call
    if state is None or not state.is_duplicate or state.share is None:
        return rollup
    if node.counted is not None and node.counted.of is rollup:
        return node.counted
    sums = node.sums
    if sums is None or not sums.calls:
        bare = Rollup(rollup.spans, rollup.open, rollup.errors, rollup.start_ns, rollup.end_ns)
    else:
        bare = msgspec.structs.replace(_rollup_of(sums), spans=rollup.spans, open=rollup.open)
        bare = msgspec.structs.replace(
            bare, errors=rollup.errors, start_ns=rollup.start_ns, end_ns=rollup.end_ns
        )
    return msgspec.structs.replace(bare, of=rollup)


def _sum(node: SpanNode) -> None:
    sums = node.sums
    spans, errors = int(node.start_ns is not None), int(node.status == "error")
    running = int(node.is_open)
    start_ns, end_ns = max(0, node.start_ns or 0), max(0, node.end_ns or 0)
    if sums is not None:
        spans += sums.spans
        running += sums.open
        errors += sums.errors
        if sums.start_ns and (not start_ns or sums.start_ns < start_ns):
            start_ns = sums.start_ns
        end_ns = max(end_ns, sums.end_ns)
    if node.call is None and (sums is None or not sums.calls):
        node.rollup = Rollup(spans, running, errors, start_ns, end_ns)
        return
    below = sums or Sums()
    tokens = None if node.call is None else _share(node, node.call, below)
    own, cost = tokens or Share(0, 0, 0, 0, 0, 0), 0
    priced, unpriced = below.priced, below.unpriced
    if tokens is not None and node.call is not None and node.call.cost is not None:
        if tokens.cost is None:
            unpriced += 1
        elif own.input or own.output:
            priced += 1
            cost = tokens.cost
    node.rollup = Rollup(
        spans,
        running,
        errors,
        start_ns,
        end_ns,
        below.input + own.input,
        below.output + own.output,
        below.cache_read + own.cache_read,
        below.cache_write + own.cache_write,
        below.reasoning + own.reasoning,
        below.cost + cost,
        priced,
        unpriced,
        True,
    )


def _share(node: SpanNode, state: CallState, below: Sums) -> Share | None:
    """Return what a span has beyond the spans below it: an agent's span often repeats their sum."""
    call = call_of(node)
    tokens = None if call is None else call.tokens
    if tokens is None:
        if state.share is not None:
            state.share = None
            state.changed[node.span_id] = node
        return None
    more_in = max(0, tokens.input - below.input)
    more_out = max(0, tokens.output - below.output)
    share = Share(
        more_in,
        more_out,
        max(0, tokens.cache_read - below.cache_read),
        max(0, tokens.cache_write - below.cache_write),
        max(0, tokens.reasoning - below.reasoning),
        _part_of(state.cost, tokens.input, tokens.output, more_in, more_out),
    )
    if share != state.share:
        state.share = share
        state.changed[node.span_id] = node
    return share


def _part_of(
    cost: Cost | None, all_in: int, all_out: int, more_in: int, more_out: int
) -> int | None:
    if not more_in and not more_out:
        return 0
    if cost is None or not cost.known:
        return None
    found = cost.input * more_in // all_in if all_in else cost.input
    return found + (cost.output * more_out // all_out if all_out else cost.output)


def _rollup_of(sums: Sums) -> Rollup:
    return Rollup(
        sums.spans,
        sums.open,
        sums.errors,
        sums.start_ns,
        sums.end_ns,
        sums.input,
        sums.output,
        sums.cache_read,
        sums.cache_write,
        sums.reasoning,
        sums.cost,
        sums.priced,
        sums.unpriced,
        sums.calls > 0,
    )
