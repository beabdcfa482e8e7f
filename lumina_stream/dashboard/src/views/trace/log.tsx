// The log: what was recorded of the trace, in order.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { tickLabel } from "../../model/axis";
import { count } from "../../model/format";
import { TOPICS, linesOf, say, textFrom, topicOf } from "../../model/lines";
import type { Topic } from "../../model/lines";
import type { TraceEvents } from "../../model/replay";
import { NONE } from "../../model/tree";
import { useAtom } from "../../state/atom";
import { useRange } from "../virtual";
import { cut } from "./canvas";
import type { Sight } from "./sight";
import { select } from "./walk";

const SAID: Record<Topic, string> = {
  all: "All",
  events: "Events",
  texts: "Texts",
  spans: "Starts and ends",
  attributes: "Attributes",
};
const ROW_HEIGHT = 24;
const MOST_TEXT = 400;
/** A live trace's log is read again after so long at least, and so many times what that took. */
const AGAIN_MS = 1000;
const AGAIN_TIMES = 10;

/** The events, read again while the trace goes on. */
function useEvents(sight: Sight): { events: TraceEvents | null; loaded: number; failed: string } {
  const [events, setEvents] = useState<TraceEvents | null>(null);
  const [loaded, setLoaded] = useState(0);
  const [failed, setFailed] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    const read = async () => {
      const begun = performance.now();
      const { offset } = sight.live;
      try {
        const found = await sight.live.events(setLoaded, stop.signal);
        if (stop.signal.aborted) return;
        setEvents(found);
        setFailed("");
      } catch (error) {
        if (stop.signal.aborted) return;
        setFailed(error instanceof Error ? error.message : String(error));
      }
      const wait = Math.max(AGAIN_MS, (performance.now() - begun) * AGAIN_TIMES);
      timer = window.setTimeout(() => again(offset), wait);
    };
    const again = (offset: number) => {
      if (sight.live.offset !== offset && !document.hidden) void read();
      else timer = window.setTimeout(() => again(offset), AGAIN_MS);
    };
    void read();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [sight]);
  return { events, loaded, failed };
}

export function LogView({ sight }: { sight: Sight }) {
  const { events, loaded, failed } = useEvents(sight);
  const [topic, setTopic] = useState<Topic>("all");
  const selected = useAtom(sight.selected);
  const upto = useAtom(sight.film.position);
  const isReplay = useAtom(sight.film.state) !== "off" && sight.film.isOn;
  useEffect(
    () =>
      sight.paint(() => {
        document.documentElement.dataset.paintedOffset = String(sight.live.offset);
        return false;
      }),
    [sight],
  );
  return (
    <div class="log">
      <div class="log-head">
        <span class="switch" role="group" aria-label="Topic">
          {TOPICS.map((each) => (
            <button
              key={each}
              type="button"
              aria-pressed={each === topic}
              onClick={() => setTopic(each)}
            >
              {SAID[each]}
            </button>
          ))}
        </span>
        <span class="muted" role="status">
          {failed
            ? `The log could not be read: ${failed}`
            : events
              ? ""
              : `Reading${loaded ? `: ${count(loaded)} events` : ""}`}
        </span>
        {events?.isCut && <span class="trace-warning">The first {count(events.count)} events</span>}
      </div>
      {events && (
        <Lines
          sight={sight}
          events={events}
          topic={topic}
          selected={selected}
          upto={isReplay ? upto : Infinity}
        />
      )}
    </div>
  );
}

type LinesProps = {
  sight: Sight;
  events: TraceEvents;
  topic: Topic;
  selected: string | null;
  upto: number;
};

function Lines({ sight, events, topic, selected, upto }: LinesProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const lines = useMemo(() => linesOf(events, topic), [events, topic]);
  const range = useRange(scroller, lines.length, ROW_HEIGHT);
  // Who is at the end stays there as more comes.
  const isAtEnd = useRef(true);
  useEffect(() => {
    const box = scroller.current;
    if (box && isAtEnd.current && sight.tree.openCount > 0) box.scrollTop = box.scrollHeight;
  }, [lines]);
  const onScroll = () => {
    const box = scroller.current!;
    isAtEnd.current = box.scrollTop + box.clientHeight >= box.scrollHeight - ROW_HEIGHT;
  };
  if (lines.length === 0) return <p class="log-none muted">The trace has none of these.</p>;
  const { tree } = sight;
  const zero = events.timeAt(0);
  // Milliseconds; of what is over in one, microseconds.
  const step = events.timeAt(events.count - 1) - zero > 1e9 ? 1e6 : 1e3;
  return (
    <div
      class="log-lines focus-inside"
      ref={scroller}
      tabIndex={0}
      onScroll={onScroll}
      role="region"
      aria-label="Log"
    >
      <div
        role="table"
        aria-label="Log"
        aria-rowcount={lines.length}
        style={{ height: `${lines.length * ROW_HEIGHT}px` }}
      >
        <div role="rowgroup" style={{ transform: `translateY(${range.first * ROW_HEIGHT}px)` }}>
          {Array.from(lines.subarray(range.first, range.last), (k, n) => {
            const { event, service } = events.fact(k);
            const span = "span_id" in event ? event.span_id : null;
            const i = span === null ? NONE : tree.find(span);
            const isText = event.type === "text_streamed";
            const { what, said } = say(event, MOST_TEXT);
            const { text, pieces } = isText
              ? textFrom(events, k, topic, MOST_TEXT)
              : { text: said, pieces: 1 };
            const name = i === NONE ? "" : tree.name(i);
            return (
              <div
                key={k}
                class={`log-line topic-${topicOf(event)} what-${what}${span !== null && span === selected ? " is-selected" : ""}${k >= upto ? " is-later" : ""}`}
                role="row"
                aria-rowindex={range.first + n + 1}
                onClick={() => select(sight, span)}
              >
                <span role="cell" class="log-time">
                  +{tickLabel(events.timeAt(k) - zero, step)}
                </span>
                <span role="cell" class="log-service cut muted" dir="auto">
                  {service}
                </span>
                <span role="cell" class="log-span cut" dir="auto">
                  {span === null ? (
                    ""
                  ) : (
                    <button type="button" class="figures-name cut focus-inside">
                      {cut(name, 200) || span}
                    </button>
                  )}
                </span>
                <span role="cell" class="log-what">
                  {what}
                  {pieces > 1 && <span class="muted"> ×{count(pieces)}</span>}
                </span>
                <span role="cell" class={`log-said cut${isText ? " mono" : ""}`} dir="auto">
                  {text}
                </span>
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
