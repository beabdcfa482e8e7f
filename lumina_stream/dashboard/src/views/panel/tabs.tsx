// The parts of a span's panel, one at a time. Which one: that which the person chose last, else
// what there is to see: the error, the conversation, the attributes.

import { useId, useRef } from "preact/hooks";
import type { ComponentChildren } from "preact";

import { count } from "../../model/format";
import { Atom, useAtom } from "../../state/atom";
import { Attributes } from "./attributes";
import { Conversation } from "./conversation";
import { ErrorPart } from "./error";
import { Events } from "./events";
import { Links, linkCount } from "./links";
import { conversation } from "./messages";
import type { Conversation as Said } from "./messages";
import type { Shown } from "./panel";

const NAMES = ["conversation", "error", "attributes", "events", "links"] as const;
type Name = (typeof NAMES)[number];

const TITLES: Record<Name, string> = {
  conversation: "Conversation",
  error: "Error",
  attributes: "Attributes",
  events: "Events",
  links: "Links",
};

const chosen = new Atom<Name | null>(null);

export function Tabs({ shown }: { shown: Shown }) {
  const wanted = useAtom(chosen);
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const { tree, span, detail } = shown;
  const said = useConversation(shown);
  const counts: Record<Name, number> = {
    conversation: said.messages.length,
    error: tree.state(span) === "error" || detail?.error ? 1 : 0,
    attributes: detail?.values.size ?? 0,
    events: detail?.events.length ?? 0,
    links: linkCount(shown),
  };
  const there = NAMES.filter((name) => counts[name] > 0 || name === "attributes");
  const first = counts.error ? "error" : (there[0] ?? "attributes");
  const open = wanted && there.includes(wanted) ? wanted : first;
  const choose = (name: Name) => {
    chosen.set(name);
    list.current?.querySelector<HTMLElement>(`[data-tab="${name}"]`)?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    choose(there[(there.indexOf(open) + step + there.length) % there.length]);
  };
  return (
    <div class="panel-main">
      <div
        ref={list}
        class="tabs"
        role="tablist"
        aria-label="Parts of the span"
        onKeyDown={onKeyDown}
      >
        {there.map((name) => (
          <button
            key={name}
            type="button"
            role="tab"
            data-tab={name}
            id={`${id}-${name}`}
            aria-selected={name === open}
            aria-controls={`${id}-part`}
            tabIndex={name === open ? 0 : -1}
            onClick={() => choose(name)}
          >
            {TITLES[name]}
            {name !== "conversation" && name !== "error" && counts[name] > 0 && (
              <span class="muted">{count(counts[name])}</span>
            )}
          </button>
        ))}
      </div>
      <Part name={open} id={id}>
        {open === "conversation" && <Conversation said={said} />}
        {open === "error" && <ErrorPart detail={detail} />}
        {open === "attributes" && <Attributes detail={detail} />}
        {open === "events" && <Events shown={shown} />}
        {open === "links" && <Links shown={shown} />}
      </Part>
    </div>
  );
}

function Part({ name, id, children }: { name: Name; id: string; children: ComponentChildren }) {
  return (
    <div
      key={name}
      class="panel-body focus-inside"
      role="tabpanel"
      id={`${id}-part`}
      aria-labelledby={`${id}-${name}`}
      tabIndex={0}
    >
      {children}
    </div>
  );
}

const CHANNELS = ["input", "output", "reasoning", "tool"] as const;

/** Read the conversation anew only when the span said more. */
function useConversation({ tree, span, detail }: Shown): Said {
  const last = useRef<{ detail: unknown; version: number; isOpen: boolean; said: Said }>(null);
  const isOpen = tree.state(span) === "running";
  const version = detail?.version ?? 0;
  const known = last.current;
  if (known && known.detail === detail && known.version === version && known.isOpen === isOpen)
    return known.said;
  const texts = Object.fromEntries(
    CHANNELS.filter((channel) => detail?.channels.includes(channel)).map((channel) => [
      channel,
      detail!.text(channel),
    ]),
  );
  const said = conversation({
    attributes: detail?.attributes ?? new Map(),
    marks: detail?.marks ?? new Map(),
    events: detail?.events ?? [],
    texts,
    isOpen,
  });
  last.current = { detail, version, isOpen, said };
  return said;
}
