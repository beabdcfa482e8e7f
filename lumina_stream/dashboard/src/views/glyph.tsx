// The shape of a state: shape first, colour second. ok has none, so that what is wrong stands out.

import { KIND_GROUPS, kindGroup } from "../model/kinds";
import type { State } from "../model/wire";

/** Draw a state (or "silent") in a 12 px square. `label`: what those hear who do not see it;
 * "" where the text beside it says so. */
export function Glyph({ state, label }: { state: State | "silent"; label?: string }) {
  if (state === "ok" && label === undefined) return <span class="visually-hidden">ok</span>;
  const named =
    label === "" ? { "aria-hidden": true } : { role: "img" as const, "aria-label": label ?? state };
  return (
    <svg class={`glyph glyph-${state}`} viewBox="0 0 12 12" {...named}>
      {shape(state)}
    </svg>
  );
}

function shape(state: State | "silent") {
  switch (state) {
    case "running":
      return <circle cx="6" cy="6" r="4" fill="currentColor" />;
    case "error":
      return (
        <path
          d="M2.5 2.5l7 7M9.5 2.5l-7 7"
          stroke="currentColor"
          stroke-width="2"
          stroke-linecap="round"
        />
      );
    case "cancelled":
      return <path d="M2 6h8" stroke="currentColor" stroke-width="2" stroke-linecap="round" />;
    case "interrupted":
      return (
        <g stroke="currentColor" stroke-width="1.5" fill="none">
          <path d="M1.5 6.5l5-5M1.5 10.5l9-9M5.5 10.5l5-5" />
        </g>
      );
    case "unended":
      return (
        <path d="M6 1v10" stroke="currentColor" stroke-width="2" stroke-dasharray="2.5 1.75" />
      );
    case "silent":
      return <circle cx="6" cy="6" r="3.5" fill="none" stroke="currentColor" stroke-width="1.5" />;
    case "ok":
      return null;
    default:
      return (
        <circle
          cx="6"
          cy="6"
          r="4"
          fill="none"
          stroke="currentColor"
          stroke-width="1.5"
          stroke-dasharray="2 1.6"
        />
      );
  }
}

/** Return the CSS variable of a kind's colour. */
export function kindColour(kind: string | null | undefined): string {
  return `var(--kind-${KIND_GROUPS[kindGroup(kind ?? "")]})`;
}
