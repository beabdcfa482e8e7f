// Where one can go from a span: its parent, its children, the traces that it is linked to.

import { duration } from "../../model/format";
import { NONE } from "../../model/tree";
import { traceHref } from "../../state/route";
import { Glyph } from "../glyph";
import { Attribute } from "./attributes";
import { Blocks } from "./blocks";
import type { Shown } from "./panel";
import { select } from "./panel";
import { endOf } from "./timing";

export function linkCount({ tree, span, detail }: Shown): number {
  const hasParent = tree.parent[span] !== NONE || tree.parentId(span) !== null;
  return (hasParent ? 1 : 0) + tree.childCount[span] + (detail?.links.length ?? 0);
}

export function Links({ shown }: { shown: Shown }) {
  const { tree, span, detail } = shown;
  const parent = tree.parent[span];
  const named = tree.parentId(span);
  const children: number[] = [];
  for (let child = tree.firstChild[span]; child !== NONE; child = tree.nextSibling[child])
    children.push(child);
  const links = detail?.links ?? [];
  return (
    <div class="links">
      {(parent !== NONE || named) && (
        <section>
          <h3 class="secondary">Parent</h3>
          {parent !== NONE ? (
            <SpanLink shown={shown} to={parent} />
          ) : (
            <p class="mono link-line">
              {named} <span class="muted">is not in this trace</span>
            </p>
          )}
        </section>
      )}
      {children.length > 0 && (
        <section>
          <h3 class="secondary">Children</h3>
          <Blocks
            items={children}
            estimate={28}
            render={(child) => <SpanLink key={child} shown={shown} to={child} />}
          />
        </section>
      )}
      {links.length > 0 && (
        <section>
          <h3 class="secondary">Linked</h3>
          {links.map((link, place) => (
            <div key={place} class="linked">
              <a class="mono link-line" href={traceHref(link.trace_id, link.span_id)}>
                {link.trace_id === tree.traceId ? `span ${link.span_id}` : `trace ${link.trace_id}`}
              </a>
              <ul class="attributes">
                {Object.entries(link.attributes ?? {}).map(([key, value]) => (
                  <Attribute key={key} name={key} value={value} />
                ))}
              </ul>
            </div>
          ))}
        </section>
      )}
    </div>
  );
}

function SpanLink({ shown, to }: { shown: Shown; to: number }) {
  const { tree, nowNs } = shown;
  const state = tree.state(to);
  const end = endOf(tree, to, nowNs() - tree.baseNs);
  return (
    <a
      class="link-line span-link"
      href={traceHref(tree.traceId, tree.id(to))}
      onClick={(event) => {
        // A new tab has an address of its own.
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        select(tree.id(to)); // keeps the view
      }}
    >
      <span class="state">
        <Glyph state={state} />
      </span>
      <span class={`cut state-${state}`} dir="auto">
        {tree.name(to) || tree.id(to)}
      </span>
      <span class="number muted">{duration(end - tree.start[to])}</span>
    </a>
  );
}
