// A trace's facts as lines of a log: which ones are shown, and what each says. Pure.

import type { Event, Fact } from "./wire";

export const TOPICS = ["all", "events", "texts", "spans", "attributes"] as const;
export type Topic = (typeof TOPICS)[number];

/** Facts by number. */
export type Facts = { readonly count: number; fact(k: number): Fact };

/** What a fact is about; a fact of no span is about "events". */
export function topicOf(event: Event): Topic {
  switch (event.type) {
    case "span_started":
    case "span_ended":
    case "span_updated":
      return "spans";
    case "attribute_set":
    case "attributes_set":
      return "attributes";
    case "text_streamed":
      return "texts";
    default:
      return "events";
  }
}

/** The lines of a topic, each as its first fact; pieces of one text that follow each other are one
 *  line. Returns the first facts, and behind them how many there are. */
export function linesOf(facts: Facts, topic: Topic): Int32Array {
  const lines = new Int32Array(facts.count + 1);
  let count = 0;
  let before = "";
  for (let k = 0; k < facts.count; k++) {
    const { event } = facts.fact(k);
    if (topic !== "all" && topicOf(event) !== topic) continue;
    const text = event.type === "text_streamed" ? `${event.span_id} ${event.channel}` : "";
    if (text !== "" && text === before) continue;
    before = text;
    lines[count++] = k;
  }
  return lines.slice(0, count);
}

/** A text from its piece `k` on, as far as its pieces follow each other, and it is no longer than
 *  `most`; and of how many pieces it is. */
export function textFrom(
  facts: Facts,
  k: number,
  topic: Topic,
  most: number,
): { text: string; pieces: number } {
  const first = facts.fact(k).event;
  if (first.type !== "text_streamed") return { text: "", pieces: 0 };
  let text = "";
  let pieces = 0;
  for (let at = k; at < facts.count && text.length < most; at++) {
    const { event } = facts.fact(at);
    if (topic !== "all" && topicOf(event) !== topic) continue;
    if (event.type !== "text_streamed") break;
    if (event.span_id !== first.span_id || event.channel !== first.channel) break;
    text += event.text;
    pieces++;
  }
  return { text: text.slice(0, most), pieces };
}

/** What a fact says, in a word or two, and in its own words. */
export function say(event: Event, most: number): { what: string; said: string } {
  switch (event.type) {
    case "span_started":
      return { what: "started", said: event.kind ?? "" };
    case "span_ended": {
      const { error } = event;
      const why = error ? `${error.type}${error.message ? `: ${error.message}` : ""}` : "";
      return { what: event.status ?? "ok", said: why.slice(0, most) };
    }
    case "span_updated":
      return { what: "updated", said: (event.name ?? "").slice(0, most) };
    case "attribute_set":
      return { what: "attribute", said: `${event.key} = ${valueText(event.value, most)}` };
    case "attributes_set":
      return { what: "attributes", said: mapText(event.attributes, most) };
    case "event_added":
      return {
        what: "event",
        said: `${event.name} ${mapText(event.attributes ?? {}, most)}`.trim(),
      };
    case "text_streamed":
      return { what: event.channel, said: event.text.slice(0, most) };
    case "events_lost":
      return {
        what: "lost",
        said: `${event.exact === false ? "at least " : ""}${event.count}: ${event.reason}`,
      };
    case "producer_started":
      return { what: "producer", said: `connected${event.service ? `: ${event.service}` : ""}` };
    case "producer_lost":
      return { what: "producer", said: "lost" };
    case "producer_returned":
      return { what: "producer", said: "came back" };
    case "producer_ended":
      return { what: "producer", said: "ended" };
  }
}

function mapText(map: Readonly<Record<string, unknown>>, most: number): string {
  let text = "";
  for (const key of Object.keys(map)) {
    if (text.length > most) break;
    text += `${text ? ", " : ""}${key} = ${valueText(map[key], most)}`;
  }
  return text.slice(0, most);
}

function valueText(value: unknown, most: number): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return text.slice(0, most);
}
