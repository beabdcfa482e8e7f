// A button that copies text, and says that it did.

import { useEffect, useRef, useState } from "preact/hooks";

const SAID_MS = 1500;

/** `label` names what is copied, for those who do not see the button's place. */
export function Copy({
  text,
  label,
  children,
}: {
  text: () => string;
  label: string;
  children?: string;
}) {
  const [said, say] = useState("");
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async (event: Event) => {
    event.stopPropagation();
    const done = await toClipboard(text());
    say(done ? "Copied" : "Not allowed");
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => say(""), SAID_MS);
  };
  return (
    <button
      type="button"
      class="copy"
      aria-label={`Copy ${label}`}
      title={`Copy ${label}`}
      onClick={copy}
    >
      {children ?? <CopyShape />}
      <span class="copy-said" role="status">
        {said}
      </span>
    </button>
  );
}

function CopyShape() {
  return (
    <svg
      viewBox="0 0 16 16"
      width="14"
      height="14"
      fill="none"
      stroke="currentColor"
      aria-hidden="true"
    >
      <rect x="5.5" y="5.5" width="8" height="8" rx="1.5" />
      <path d="M10.5 5.5v-1.5a1.5 1.5 0 0 0-1.5-1.5h-5a1.5 1.5 0 0 0-1.5 1.5v5a1.5 1.5 0 0 0 1.5 1.5h1.5" />
    </svg>
  );
}

/** Put text on the clipboard; false where the browser forbids it. */
export async function toClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Only secure addresses have a clipboard; a relay behind plain http on another machine has not.
    return selectAndCopy(text);
  }
}

function selectAndCopy(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  const focused = document.activeElement;
  // Inside an open dialog, what lies outside of it cannot be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } finally {
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
  }
}
