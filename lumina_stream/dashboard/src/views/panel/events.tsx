// The events of a span: where they lie in its time, and what they say.

import { useMemo, useRef } from "preact/hooks";

import { clock, duration } from "../../model/format";
import type { DetailEvent } from "../../model/detail";
import { Attribute } from "./attributes";
import { Blocks } from "./blocks";
import type { Shown } from "./panel";
import { endOf } from "./timing";
import { markText } from "./values";

/** Places of the time line: more events share one. */
const PLACES = 120;

export function Events({ shown }: { shown: Shown }) {
  const { tree, span, detail, nowNs } = shown;
  const box = useRef<HTMLDivElement>(null);
  const events = detail?.events ?? [];
  const start = tree.start[span];
  const end = endOf(tree, span, nowNs() - tree.baseNs);
  const first = Math.min(start, events[0]?.stamp.time ?? start);
  const last = Math.max(end, events.at(-1)?.stamp.time ?? end);
  const places = useMemo(() => placesOf(events, first, last), [events.length, first, last]);
  const base = Number.isNaN(start) ? (events[0]?.stamp.time ?? 0) : start;
  return (
    <div ref={box}>
      <svg
        class="events-line"
        viewBox={`0 0 ${PLACES} 16`}
        preserveAspectRatio="none"
        aria-hidden="true"
      >
        <rect x="0" y="7" width={PLACES} height="2" class="events-span" />
        {places.map(([place, isWrong]) => (
          <rect
            key={place}
            x={place}
            y="1"
            width="0.6"
            height="14"
            class={isWrong ? "events-wrong" : "events-mark"}
          />
        ))}
      </svg>
      <Blocks
        items={events}
        estimate={60}
        label="Events"
        list="events"
        render={(event, place) => (
          <EventLine key={place} event={event} base={base} wall={tree.baseNs + event.stamp.time} />
        )}
      />
    </div>
  );
}

/** Which places of the line hold an event, and whether one of them is an exception. */
function placesOf(
  events: readonly DetailEvent[],
  first: number,
  last: number,
): [number, boolean][] {
  const found = new Map<number, boolean>();
  const whole = Math.max(1, last - first);
  for (const event of events) {
    const place = Math.min(PLACES - 1, Math.floor(((event.stamp.time - first) / whole) * PLACES));
    if (place >= 0) found.set(place, (found.get(place) ?? false) || event.name === "exception");
  }
  return [...found].sort(([a], [b]) => a - b);
}

function EventLine({ event, base, wall }: { event: DetailEvent; base: number; wall: number }) {
  const attributes = Object.entries(event.attributes);
  const passed = event.stamp.time - base;
  const named = event.marks?.["@name"];
  return (
    <li class={`event ${event.name === "exception" ? "wrong-event" : ""}`}>
      <div class="event-head">
        <span class="event-name" dir="auto">
          {event.name || "(no name)"}
          {named && <span class="mark">{markText(named)}</span>}
        </span>
        <time class="secondary number" title={clock(wall, true)}>
          {passed < 0 ? duration(passed) : `+${duration(passed)}`}
        </time>
      </div>
      {attributes.length > 0 && (
        <ul class="attributes">
          {attributes.map(([key, value]) => (
            <Attribute key={key} name={key} value={value} marks={event.marks} />
          ))}
        </ul>
      )}
    </li>
  );
}
