// The shape of a state: shape first, colour second. ok has none, so that what is wrong stands out.

const LABELS: Record<string, string> = {
  running: "running",
  ok: "ok",
  error: "error",
  cancelled: "cancelled",
  abandoned: "abandoned",
  interrupted: "interrupted",
  unended: "unended",
  missing: "missing",
  silent: "silent",
};

/** Draw a state in a 12 px square. `label`: what it is called for those who do not see it. */
export function Glyph({ state, label }: { state: string; label?: string }) {
  const name = label ?? LABELS[state] ?? state;
  if (state === "ok" && label === undefined) return <span class="visually-hidden">ok</span>;
  return (
    <svg class={`glyph glyph-${LABELS[state] ? state : "other"}`} viewBox="0 0 12 12" role="img" aria-label={name}>
      {shape(state)}
    </svg>
  );
}

function shape(state: string) {
  switch (state) {
    case "running":
      return <circle cx="6" cy="6" r="4" fill="currentColor" />;
    case "error":
      return <path d="M2.5 2.5l7 7M9.5 2.5l-7 7" stroke="currentColor" stroke-width="2" stroke-linecap="round" />;
    case "cancelled":
      return <path d="M2 6h8" stroke="currentColor" stroke-width="2" stroke-linecap="round" />;
    case "interrupted":
      return (
        <g stroke="currentColor" stroke-width="1.5" fill="none">
          <path d="M1.5 6.5l5-5M1.5 10.5l9-9M5.5 10.5l5-5" />
        </g>
      );
    case "unended":
      return <path d="M6 1v10" stroke="currentColor" stroke-width="2" stroke-dasharray="2.5 1.75" />;
    case "silent":
      return <circle cx="6" cy="6" r="3.5" fill="none" stroke="currentColor" stroke-width="1.5" />;
    case "ok":
      return null;
    default:
      return (
        <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.5" stroke-dasharray="2 1.6" />
      );
  }
}

const KINDS: Record<string, string> = {
  llm: "llm",
  retrieval: "retrieval",
  embedding: "retrieval",
  rerank: "retrieval",
  tool: "tool",
  agent: "agent",
  task: "agent",
};

/** Return the CSS variable of a kind's colour. */
export function kindColour(kind: string | null | undefined): string {
  return `var(--kind-${KINDS[kind ?? ""] ?? "other"})`;
}
