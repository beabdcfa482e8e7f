"""What the dashboard's tree is held to: facts, and the tree that `model/tree.py` makes of them.

Written to tests/fixtures/trees by `cd tests && python -m support.tree_fixtures`, one file a case:

    {"name", "trace_id", "max_spans", "ordered",     ordered: it depends on the order, by a limit
     "facts": [[producer_id, seq, event], ...],      events as in JSON frames
     "usage": [[span_id, input, output, cost]],      what calls add, as the relay says it
     "late": [[count, [outline frame, ...]], ...],   the outline after so many facts
     "spans": {span_id: {...}},                      all that a viewer could show of each
     "tree": {...}}                                  what every reader must end with
"""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.node import SpanNode
from lumina_stream.model.tree import TraceTree
from lumina_stream.protocol.wire import JSON
from lumina_stream.relay import outline
from support.tree_cases import Case, Facts, cases
from support.trees import TRACE, Told, canonical, grow, row

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "trees"
SPANS_PER_FRAME = 3
"""Of an outline here, so that small trees come in several pieces."""


def written(case: Case) -> str:
    """Return the file of a case."""
    tree = _tree(case, case.facts)
    lines = [
        f'{{"name": {json.dumps(case.name)}, "trace_id": "{TRACE}",',
        f' "max_spans": {json.dumps(case.max_spans)}, "ordered": {json.dumps(case.ordered)},',
        f' "facts": [{_lines([_fact(fact) for fact in case.facts])}],',
        f' "usage": [{_lines(_usage(tree))}],',
        f' "late": [{_lines([[n, _outline(_tree(case, case.facts[:n]))] for n in case.late])}],',
    ]
    spans = [
        f"  {json.dumps(node.span_id)}: {_dumps(_row(tree, node))}"
        for node in sorted(tree, key=lambda node: node.span_id)
    ]
    lines.append(' "spans": {\n' + ",\n".join(spans) + "},")
    lines.append(f' "tree": {_dumps(_whole(tree))}}}\n')
    return "\n".join(lines)


def main() -> None:
    """Write all files anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for case in cases():
        (FOLDER / f"{case.name}.json").write_text(written(case), encoding="utf-8")


# --- what is written -------------------------------------------------------------------------


def _tree(case: Case, facts: Facts) -> TraceTree:
    tree = (
        TraceTree(TRACE) if case.max_spans is None else TraceTree(TRACE, max_spans=case.max_spans)
    )
    grow(facts, tree)
    for span_id, cost in case.costs.items():
        tree.set_cost(span_id, cost)
    for root in tree.roots:
        tree.rollup(root.span_id)  # works out what calls add
    return tree


def _fact(fact: Told) -> list[Any]:
    return [fact.producer_id, fact.seq, codec.plain(fact.event)]


def _usage(tree: TraceTree) -> list[Any]:
    return sorted(map(list, outline.usage_of(tree.calls.spans.values())))


def _outline(tree: TraceTree) -> list[Any]:
    with mock.patch.object(outline, "SPANS_PER_FRAME", SPANS_PER_FRAME):
        return [json.loads(JSON.encode(f)) for f in outline.outline(1, TRACE, tree)]


def _row(tree: TraceTree, node: SpanNode) -> dict[str, Any]:
    """Return all that a viewer could show of one span, as plain data."""
    found: dict[str, Any] = row(node)
    for field in ("is_open", "duration_ns"):
        del found[field]
    found["error"] = msgspec.to_builtins(found["error"])
    found["attributes"] = codec.tag_value(found["attributes"])
    found["events"] = [[s, name, codec.tag_value(a), m] for s, name, a, m in found["events"]]
    found["links"] = [[t, s, codec.tag_value(a)] for t, s, a in found["links"]]
    sums = tree.rollup(node.span_id)
    found["totals"] = [sums.spans, sums.open, sums.errors]
    found["usage"] = [sums.input_tokens, sums.output_tokens, sums.cost, sums.unpriced]
    if node.call is not None and node.call.is_duplicate:
        found["usage"] = None  # its own sums hold what counts elsewhere
    return found


def _whole(tree: TraceTree) -> dict[str, Any]:
    whole = canonical(tree)
    for field in ("spans", "rollups", "losses", "tokens"):
        del whole[field]
    whole["losses"] = [[list(stamp), *loss] for stamp, loss in sorted(tree.losses.items())]
    totals = tree.totals
    whole["usage"] = [totals.input_tokens, totals.output_tokens, totals.cost, totals.unpriced]
    return whole


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _lines(values: list[Any]) -> str:
    return ",\n  ".join(map(_dumps, values))


if __name__ == "__main__":
    main()
