// What the filter box offers while a person types: the words of the filter, and what was seen.
// Pure.

export type Offer = {
  /** What replaces the word at the caret. */
  text: string;
  hint: string;
  /** A word that is begun by it and wants a value; others are followed by a space. */
  goesOn: boolean;
};

export type Completion = { from: number; to: number; offers: Offer[] };

const WORDS: readonly Offer[] = [
  { text: "service:", hint: "a service that takes part", goesOn: true },
  { text: "name:", hint: "the root's name, * for any text", goesOn: true },
  { text: "state:", hint: "running, ok, error, …", goesOn: true },
  { text: "error", hint: "a span of it failed", goesOn: false },
  { text: "duration:>", hint: "at least so long, such as 2s or 500ms", goesOn: true },
  { text: "duration:<", hint: "at most so long", goesOn: true },
  { text: "session:", hint: "a session that a span names", goesOn: true },
  { text: "user:", hint: "a user that a span names", goesOn: true },
];

const STATES = [
  "running",
  "ok",
  "error",
  "cancelled",
  "abandoned",
  "interrupted",
  "unended",
  "missing",
];
const MOST = 8;

/** What was seen, by the word that takes it. */
export type Seen = { service: readonly string[]; name: readonly string[] };

/** Return what may stand at the caret: words at a word's beginning, values after `word:`. */
export function complete(text: string, caret: number, seen: Seen): Completion {
  const from = wordStart(text, caret);
  let to = caret;
  while (to < text.length && !/\s/.test(text[to])) to++;
  const word = text.slice(from, caret);
  const colon = word.indexOf(":");
  if (colon < 0) {
    const offers = WORDS.filter(
      (offer) => offer.text.startsWith(word.toLowerCase()) && offer.text !== word,
    );
    return { from, to, offers };
  }
  const key = word.slice(0, colon).toLowerCase();
  const begun = word
    .slice(colon + 1)
    .replace(/^"/, "")
    .toLowerCase();
  const values =
    key === "state" ? STATES : key === "service" ? seen.service : key === "name" ? seen.name : [];
  const found = [...new Set(values)].filter((value) => value && value.toLowerCase() !== begun);
  const offers = [
    ...found.filter((value) => value.toLowerCase().startsWith(begun)),
    ...found.filter((value) => value.toLowerCase().indexOf(begun) > 0),
  ].slice(0, MOST);
  return {
    from,
    to,
    offers: offers.map((value) => ({ text: `${key}:${quoted(value)}`, hint: "", goesOn: false })),
  };
}

/** Put an offer into the text; return that and where the caret is then. */
export function accept(
  text: string,
  { from, to }: Completion,
  offer: Offer,
): { text: string; caret: number } {
  const rest = text.slice(to);
  const word = offer.goesOn || /^\s/.test(rest) ? offer.text : `${offer.text} `;
  return { text: text.slice(0, from) + word + rest, caret: from + word.length };
}

/** Write a value so that the filter reads it as one word. */
export function quoted(value: string): string {
  return /[\s"]/.test(value) ? `"${value.replace(/["\\]/g, "\\$&")}"` : value;
}

function wordStart(text: string, caret: number): number {
  let start = 0;
  let inQuotes = false;
  for (let at = 0; at < caret; at++) {
    if (inQuotes && text[at] === "\\") at++;
    else if (text[at] === '"') inQuotes = !inQuotes;
    else if (!inQuotes && /\s/.test(text[at])) start = at + 1;
  }
  return start;
}
