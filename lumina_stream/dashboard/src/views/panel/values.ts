// An attribute's value as a person reads and copies it, and what was done to it on the way. Pure.
//
// On the wire, what JSON cannot carry is a tagged string (`!int 9007199254740993`, `!bytes aGk=`);
// the model may have read the tags already: both are understood, and a bigint is an integer.

export type Type = "text" | "number" | "bool" | "none" | "list" | "map" | "bytes" | "json";

export type Shown = {
  type: Type;
  /** One line or many, the whole value; what Copy copies. */
  text: string;
  /** True where the text was written anew: a string that holds JSON, which can be seen as it is
   * too. */
  pretty: boolean;
};

const TAG = /^!(int|float|bytes|str) /;

/** Return a value as text with its type. `json`: a string that says a list or a map, written in
 * lines. */
export function shown(value: unknown): Shown {
  if (value === null || value === undefined) return { type: "none", text: "none", pretty: false };
  if (typeof value === "boolean") return { type: "bool", text: String(value), pretty: false };
  if (typeof value === "number" || typeof value === "bigint") {
    return { type: "number", text: String(value), pretty: false };
  }
  if (typeof value === "string") return shownText(value);
  const type = Array.isArray(value) ? "list" : "map";
  return { type, text: lines(value), pretty: false };
}

/** Return a string as it came, without looking for JSON in it. */
export function asItIs(value: unknown): string {
  return typeof value === "string" ? untagged(value).text : lines(value);
}

function shownText(value: string): Shown {
  const plain = untagged(value);
  if (plain.type !== "text") return { ...plain, pretty: false };
  if (/^\s*[[{]/.test(plain.text) && /[\]}]\s*$/.test(plain.text)) {
    const text = indented(plain.text);
    if (text !== undefined) return { type: "json", text, pretty: true };
  }
  return { ...plain, pretty: false };
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s"{}[\]:,]+/g;
const DEEPEST = 64;

/** Write JSON text in lines, its numbers and names as they stand there; undefined where it is
 * none. */
function indented(json: string): string | undefined {
  try {
    JSON.parse(json);
  } catch {
    return undefined; // it only begins like JSON
  }
  const tokens = json.match(TOKEN) ?? [];
  let at = 0;
  const read = (indent: string, depth: number): string | undefined => {
    const token = tokens[at++];
    if (token !== "{" && token !== "[") return token;
    if (depth > DEEPEST) return undefined;
    const items: string[] = [];
    while (tokens[at] !== "}" && tokens[at] !== "]") {
      const name = token === "{" ? `${tokens[at]}: ` : "";
      if (name) at += 2;
      const item = read(`${indent}  `, depth + 1);
      if (item === undefined) return undefined;
      items.push(name + item);
      if (tokens[at] === ",") at++;
    }
    at++;
    return wrapped(token, items, indent);
  };
  return read("", 0);
}

/** So many characters of a list or map stand in one line. */
const SHORT = 48;

function wrapped(open: "{" | "[", items: readonly string[], indent: string): string {
  const close = open === "{" ? "}" : "]";
  const short = open + items.join(", ") + close;
  if (short.length <= SHORT && !short.includes("\n")) return short;
  return `${open}\n${items.map((item) => `${indent}  ${item}`).join(",\n")}\n${indent}${close}`;
}

/** A string without the tag that says that it is one. */
export function untagged(value: string): { type: Type; text: string } {
  const tag = TAG.exec(value)?.[1];
  if (!tag) return { type: "text", text: value };
  const text = value.slice(tag.length + 2);
  return { type: tag === "str" ? "text" : tag === "bytes" ? "bytes" : "number", text };
}

/** Write a list or map in lines, as JSON; numbers that JSON cannot carry stand as they are. */
export function lines(value: unknown, indent = ""): string {
  if (typeof value === "string") {
    const { type, text } = untagged(value);
    return type === "number" ? text : JSON.stringify(text);
  }
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const deeper = `${indent}  `;
  if (Array.isArray(value))
    return wrapped(
      "[",
      value.map((item) => lines(item, deeper)),
      indent,
    );
  const items = Object.entries(value).map(
    ([key, item]) => `${JSON.stringify(key)}: ${lines(item, deeper)}`,
  );
  return wrapped("{", items, indent);
}

/** Say what a mark means: `cut:9000` is "cut, 9,000 characters in all". */
export function markText(mark: string): string {
  return mark
    .split(/ (?=cut:|converted:|redacted|unreadable)/)
    .map((one) => {
      const [kind, rest] = [one.split(":", 1)[0], one.slice(one.indexOf(":") + 1)];
      if (kind === "cut") {
        return /^\d+$/.test(rest)
          ? `cut, ${Number(rest).toLocaleString("en")} in all`
          : `cut, ${rest}`;
      }
      if (kind === "converted") return `was ${rest}`;
      if (kind === "unreadable") return "could not be read";
      return one;
    })
    .join("; ");
}

/** Collect the marks of one attribute: its own, and those of places inside it. */
export function marksOf(
  key: string,
  marks: ReadonlyMap<string, string>,
): [path: string, text: string][] {
  const found: [string, string][] = [];
  for (const [path, mark] of marks) {
    if (path === key) found.unshift(["", markText(mark)]);
    else if (path.startsWith(key) && /^[.[]/.test(path.slice(key.length))) {
      found.push([path.slice(key.length).replace(/^\./, ""), markText(mark)]);
    }
  }
  return found;
}
