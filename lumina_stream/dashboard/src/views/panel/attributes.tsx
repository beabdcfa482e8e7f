// The attributes of a span: sorted, searchable, typed, copyable; long ones folded.

import { Fragment } from "preact";
import { useMemo, useState } from "preact/hooks";

import { count } from "../../model/format";
import { MOST_ATTRIBUTES } from "../../model/detail";
import type { Detail, Value } from "../../model/detail";
import { Copy } from "../copy";
import { Blocks } from "./blocks";
import { Folded } from "./fold";
import { asItIs, marksOf, shown as read } from "./values";

/** A value of more characters takes the whole width, below its name. */
const BLOCK_FROM = 120;
/** So many are found by looking. */
const SEARCHED_FROM = 12;

export function Attributes({ detail }: { detail: Detail | undefined }) {
  const [wanted, setWanted] = useState("");
  const entries = useMemo(
    () => sorted(detail?.values ?? new Map<string, Value>()),
    [detail, detail?.version],
  );
  const words = wanted.trim().toLowerCase();
  const found = words ? entries.filter((entry) => holds(entry, words)) : entries;
  if (entries.length === 0 && !detail?.complete) return <NotHere detail={detail} />;
  if (entries.length === 0) return <p class="muted part-note">This span has no attributes.</p>;
  return (
    <>
      {entries.length >= SEARCHED_FROM && (
        <div class="part-search">
          <input
            type="text"
            placeholder="Find in names and values"
            aria-label="Find attributes"
            value={wanted}
            onInput={(event) => setWanted(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key !== "Escape" || !wanted) return;
              event.stopPropagation();
              setWanted("");
            }}
          />
          <span class="secondary" role="status">
            {words ? `${count(found.length)} of ${count(entries.length)}` : ""}
          </span>
        </div>
      )}
      <Blocks
        items={found}
        estimate={27}
        label="Attributes"
        list="attributes"
        render={([key, { value, marks }]) => (
          <Attribute key={key} name={key} value={value} marks={marks} />
        )}
      />
      {entries.length >= MOST_ATTRIBUTES && (
        <p class="muted part-note">
          No more than {count(MOST_ATTRIBUTES)} attributes of a span are kept.
        </p>
      )}
      {found.length === 0 && <p class="muted part-note">No attribute holds that.</p>}
    </>
  );
}

/** What is shown of a span whose detail is on its way, or did not come. */
export function NotHere({ detail }: { detail: Detail | undefined }) {
  return detail?.failure ? (
    <p class="wrong part-note">Its details could not be loaded: {detail.failure}</p>
  ) : (
    <p class="muted part-note">Loading…</p>
  );
}

type Entry = readonly [string, Value];

function sorted(values: ReadonlyMap<string, Value>): Entry[] {
  return [...values].sort(([a], [b]) => (a < b ? -1 : 1));
}

function holds([key, { value }]: Entry, words: string): boolean {
  return key.toLowerCase().includes(words) || asItIs(value).toLowerCase().includes(words);
}

const MOST_BREAKS = 32;

/** A name that breaks, if it has to, between its parts. */
function Breaking({ name }: { name: string }) {
  const parts = name.split(/(?<=[._])(?=[^._])/, MOST_BREAKS);
  const rest = name.slice(parts.join("").length);
  return (
    <>
      {parts.map((part, place) => (
        <Fragment key={place}>
          {place > 0 && <wbr />}
          {part}
        </Fragment>
      ))}
      {rest}
    </>
  );
}

/** One name with its value. Also of events and links. */
export function Attribute({
  name,
  value,
  marks,
}: {
  name: string;
  value: unknown;
  marks?: Readonly<Record<string, string>> | null;
}) {
  const [isRaw, setRaw] = useState(false);
  const { type, text, pretty } = read(value);
  const said = marks ? marksOf(name, new Map(Object.entries(marks))) : [];
  const isBlock = type === "json" || text.length > BLOCK_FROM || text.includes("\n");
  return (
    <li class={`attribute ${isBlock ? "block" : ""}`}>
      <span class="attribute-name mono" dir="auto">
        <Breaking name={name} />
      </span>
      <span class="attribute-value mono">
        {text === "" ? (
          <span class="muted">empty</span>
        ) : (
          <Folded text={isRaw ? asItIs(value) : text} />
        )}
        {pretty && (
          <button type="button" class="link" aria-pressed={isRaw} onClick={() => setRaw(!isRaw)}>
            As it came
          </button>
        )}
        {said.map(([path, mark]) => (
          <span key={path} class="mark" dir="auto">
            {path ? `${path}: ${mark}` : mark}
          </span>
        ))}
      </span>
      <span class="attribute-type secondary">{type}</span>
      <Copy text={() => asItIs(value)} label={name} />
    </li>
  );
}
