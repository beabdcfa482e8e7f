// The filter box: words to a filter of the API, and back.
//
//   service:rag state:running error duration:>2s session:x user:y key=value name:syn* "free text"

import { STATES } from "./states";
import type { State } from "./wire";

export type Filter = {
  service?: string;
  /** A glob over the root's name. */
  name?: string;
  state?: State;
  error?: boolean;
  minDurationNs?: number;
  maxDurationNs?: number;
  session?: string;
  user?: string;
  attributes?: readonly (readonly [key: string, value: string])[];
};

export type FilterError = {
  /** Where in the text the word begins and ends. */
  at: number;
  end: number;
  message: string;
};

const UNITS: ReadonlyMap<string, number> = new Map([
  ["ns", 1],
  ["us", 1e3],
  ["µs", 1e3],
  ["ms", 1e6],
  ["s", 1e9],
  ["m", 60e9],
  ["min", 60e9],
  ["h", 3600e9],
  ["d", 86400e9],
]);

/** Read a filter; what cannot be read is left out of it, and said where and why. Never throws. */
export function parse(text: string): { filter: Filter; errors: FilterError[] } {
  const filter: Filter = {};
  const errors: FilterError[] = [];
  const attributes: [string, string][] = [];
  const free: string[] = [];
  for (const word of words(text)) {
    const message = take(word, filter, attributes, free);
    if (message) errors.push({ at: word.at, end: word.end, message });
  }
  if (free.length > 0) {
    if (filter.name === undefined) filter.name = `*${free.map(literal).join("*")}*`;
    else
      errors.push({ at: 0, end: text.length, message: "Free text and name: cannot be combined." });
  }
  if (attributes.length > 0) filter.attributes = attributes;
  return { filter, errors };
}

/** Write a filter as words; `parse` gives it back. */
export function write(filter: Filter): string {
  const said: string[] = [];
  if (filter.service !== undefined) said.push(`service:${quoted(filter.service)}`);
  if (filter.name !== undefined) said.push(nameWord(filter.name));
  if (filter.state !== undefined) said.push(`state:${filter.state}`);
  if (filter.error !== undefined) said.push(filter.error ? "error" : "error:false");
  if (filter.minDurationNs !== undefined) said.push(`duration:>${span(filter.minDurationNs)}`);
  if (filter.maxDurationNs !== undefined) said.push(`duration:<${span(filter.maxDurationNs)}`);
  if (filter.session !== undefined) said.push(`session:${quoted(filter.session)}`);
  if (filter.user !== undefined) said.push(`user:${quoted(filter.user)}`);
  for (const [key, value] of filter.attributes ?? []) said.push(`${quoted(key)}=${quoted(value)}`);
  return said.join(" ");
}

/** As parameters of `GET /v1/traces` and `/v1/rates`. */
export function toParams(filter: Filter): URLSearchParams {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(toWire(filter))) {
    for (const one of Array.isArray(value) ? value : [value]) params.append(name, String(one));
  }
  return params;
}

/** As the filter of a subscription. */
export function toWire(filter: Filter): Record<string, string | number | boolean | string[]> {
  const { minDurationNs, maxDurationNs, attributes, ...same } = filter;
  const wire: Record<string, string | number | boolean | string[]> = {};
  for (const [key, value] of Object.entries(same)) if (value !== undefined) wire[key] = value;
  if (minDurationNs !== undefined) wire.min_duration_ns = minDurationNs;
  if (maxDurationNs !== undefined) wire.max_duration_ns = maxDurationNs;
  if (attributes?.length) wire.attribute = attributes.map(([key, value]) => `${key}=${value}`);
  return wire;
}

// --- reading -----------------------------------------------------------------------------------

/** One word: `key` and what follows a `:` or `=`, or a value alone. */
type Word = {
  at: number;
  end: number;
  key: string;
  sign: "" | ":" | "=";
  value: string;
  isQuoted: boolean;
  isOpen: boolean;
};

/** Cut a text into words: at white space, but not inside of double quotes. */
function* words(text: string): Generator<Word> {
  let at = 0;
  while (at < text.length) {
    if (/\s/.test(text[at])) {
      at++;
      continue;
    }
    const word: Word = {
      at,
      end: at,
      key: "",
      sign: "",
      value: "",
      isQuoted: false,
      isOpen: false,
    };
    while (at < text.length && !/\s/.test(text[at])) {
      const char = text[at];
      if (char === '"') {
        const { value, end } = unquoted(text, at);
        word.isOpen = end > text.length;
        word.isQuoted = true;
        word.value += value;
        at = Math.min(end, text.length);
      } else if (word.sign === "" && (char === ":" || char === "=") && word.value !== "") {
        word.key = word.value;
        word.sign = char;
        word.value = "";
        word.isQuoted = false;
        at++;
      } else {
        word.value += char;
        at++;
      }
    }
    word.end = at;
    yield word;
  }
}

/** The text in the quotes that open at `at`, and where it goes on; beyond the text if they stay
 *  open. */
function unquoted(text: string, at: number): { value: string; end: number } {
  let value = "";
  let i = at + 1;
  for (; i < text.length && text[i] !== '"'; i++) {
    if (text[i] === "\\" && i + 1 < text.length) i++;
    value += text[i];
  }
  return { value, end: i < text.length ? i + 1 : text.length + 1 };
}

/** Put a word into the filter; return what is wrong with it. */
function take(word: Word, filter: Filter, attributes: [string, string][], free: string[]): string {
  const { key, sign, value } = word;
  if (word.isOpen) return 'A quote is not closed: "';
  if (sign === "") {
    if (value === "error" && !word.isQuoted) return once(filter, "error", true);
    if (value !== "") free.push(value);
    return "";
  }
  if (sign === "=") {
    if (value === "" && !word.isQuoted) return `${key}= what?`;
    attributes.push([key, value]);
    return "";
  }
  if (value === "" && !word.isQuoted) return `${key}: what?`;
  switch (key) {
    case "service":
    case "name":
    case "session":
    case "user":
      return once(filter, key, value);
    case "state": {
      const state = STATES.find((known) => known === value);
      return state ? once(filter, key, state) : `There is no state ${value}: ${STATES.join(", ")}.`;
    }
    case "error":
      if (value !== "true" && value !== "false") return "error, error:true or error:false.";
      return once(filter, key, value === "true");
    case "duration":
      return duration(filter, value);
    default:
      return `There is no ${key}: here. For an attribute write ${key}=${value}, for text "${key}:${value}".`;
  }
}

function once<Key extends keyof Filter>(filter: Filter, key: Key, value: Filter[Key]): string {
  if (filter[key] !== undefined) return "This is here twice.";
  filter[key] = value;
  return "";
}

function duration(filter: Filter, value: string): string {
  const [, sign, text] = /^([<>]=?)?(.*)$/s.exec(value) as unknown as [string, string?, string?];
  if (!sign) return "duration:>2s or duration:<500ms.";
  const ns = nanoseconds(text ?? "");
  if (ns === null) return `${text || "Nothing"} is no duration: 500ms, 2s, 1.5m, 1h.`;
  return once(filter, sign.startsWith(">") ? "minDurationNs" : "maxDurationNs", ns);
}

/** "1m30s" in ns, null if it is none. */
function nanoseconds(text: string): number | null {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)([a-zµ]+)/gy)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) return null;
  let sum = 0;
  for (const [, number, unit] of parts) {
    const each = UNITS.get(unit);
    if (each === undefined) return null;
    sum += Number(number) * each;
  }
  return Math.round(sum);
}

/** Free text as part of a glob: `*` is what it is there, the rest stands for itself. */
function literal(text: string): string {
  return text.replace(/[?[]/g, "[$&]");
}

// --- writing -----------------------------------------------------------------------------------

function quoted(text: string): string {
  return text !== "" && !/[\s"\\:=]/.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`;
}

function nameWord(glob: string): string {
  const free = /^\*([^*?[\s"\\:=]+)\*$/.exec(glob);
  return free && free[1] !== "error" ? free[1] : `name:${quoted(glob)}`;
}

function span(ns: number): string {
  for (const unit of ["h", "m", "s", "ms", "us"]) {
    const each = UNITS.get(unit) as number;
    if (ns >= each && Number.isInteger(ns / each)) return `${ns / each}${unit}`;
  }
  return `${ns}ns`;
}
