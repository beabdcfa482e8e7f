// Text that may be long: folded until it is asked for, copyable, never markup.

import { useState } from "preact/hooks";

import { count } from "../../model/format";

/** Characters, and lines, that are shown of a folded text. */
const FOLD_LENGTH = 600;
const FOLD_LINES = 12;
/** Text is cut into pieces of about so many characters: a browser lays out one at a time. */
const PIECE = 4000;

export function isLong(text: string): boolean {
  if (text.length > FOLD_LENGTH) return true;
  let lines = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1))
    if (++lines >= FOLD_LINES) return true;
  return false;
}

/** `opened`: shown whole to begin with. */
export function Folded({
  text,
  class: name = "",
  opened = false,
}: {
  text: string;
  class?: string;
  opened?: boolean;
}) {
  const [isOpen, setOpen] = useState(opened);
  const long = isLong(text);
  return (
    <>
      <div class={`long ${name} ${long && !isOpen ? "folded" : ""}`} dir="auto">
        <Pieces text={long && !isOpen ? text.slice(0, 4 * FOLD_LENGTH) : text} />
      </div>
      {long && (
        <button type="button" class="link" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {isOpen ? "Fold" : `Show all, ${count(text.length)} characters`}
        </button>
      )}
    </>
  );
}

/** A text in pieces that end at line ends where there are any: what grows changes the last one
 * only. */
export function Pieces({ text }: { text: string }) {
  if (text.length <= PIECE) return <>{text}</>;
  const pieces = [];
  for (let at = 0; at < text.length;) {
    const line = text.indexOf("\n", at + PIECE);
    // A text without line ends stays one flow: cut by length it would break within a word.
    const end = line < 0 ? text.length : line + 1;
    // The line end is the block's own.
    pieces.push(
      <div key={at}>
        {text.slice(at, end < text.length || text.endsWith("\n") ? end - 1 : end) || "\n"}
      </div>,
    );
    at = end;
  }
  return <>{pieces}</>;
}
